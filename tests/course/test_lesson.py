"""Exercises: what a student is told; and each exercise has its place and its solution."""

from dataclasses import replace

import nbformat
import numpy as np
import pytest
import torch

from course import lesson
from course.lesson import FOLDER, check, exercises_of, hint

NAMES = [name for file in sorted(FOLDER.glob("*.py")) for name in exercises_of(file.stem)]
MADE_UP = """
EXERCISES = {
    1: {
        "asks": "three numbers",
        "right": lambda: [1.0, 2.0, -4.0],
        "then": "Well done.",
        "mistakes": [(lambda: [2.0, 4.0, -8.0], "twice too much.")],
        "hints": ["look", "look closer"],
    },
    2: {"asks": "a word", "right": lambda: "Yes", "mistakes": [(lambda: "no", "no is not it.")]},
    3: {"asks": "a function", "right": lambda: 9.0, "tried": lambda f: f(3)},
    4: {"asks": "a picture", "right": lambda: [[1.0, 2.0], [3.0, 4.0]]},
}
"""


@pytest.fixture
def told(tmp_path, monkeypatch, capsys):
    """What check prints about an answer to an exercise of a made-up lesson."""
    (tmp_path / "99.py").write_text(MADE_UP)
    monkeypatch.setattr(lesson, "FOLDER", tmp_path)
    exercises_of.cache_clear()

    def check_it(name, answer):
        check(name, answer)
        return capsys.readouterr().out.removeprefix(f"{name} ").rstrip("\n")

    yield check_it
    exercises_of.cache_clear()


@pytest.mark.parametrize("answer", [..., None])
def test_what_is_not_answered_yet_is_asked(told, answer):
    assert told("99.1", answer) == "not answered yet: three numbers"


def test_a_function_without_lines_is_not_answered_yet(told):
    assert told("99.3", lambda x: None) == "not answered yet: a function"


@pytest.mark.parametrize(
    "answer",
    [
        [1, 2, -4],
        (1.0, 2.0, -4.01),
        np.array([[1, 2, -4]]),
        torch.tensor([1.0, 2.0, -4.0], requires_grad=True),
        [torch.tensor(1.0), np.float32(2), -4],
    ],
)
def test_a_right_answer_in_any_form(told, answer):
    assert told("99.1", answer) == "right. Well done."


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ([2, 4, -8], "not yet: twice too much."),
        ([-1, -2, 4], "not yet: the size is right, the sign is not; hint('99.1') may help."),
        ([1, 2, 4], "not yet: 2 of 3 numbers are right; hint('99.1') may help."),
        ([1, 2, -4.1], "not yet: 2 of 3 numbers are right; hint('99.1') may help."),
        ([np.nan] * 3, "not yet: 0 of 3 numbers are right; hint('99.1') may help."),
        ([1, 2], "not yet: the answer should be 3 numbers, this is 2 numbers."),
        (1, "not yet: the answer should be 3 numbers, this is one number."),
        ("1, 2", "not yet: the answer should be 3 numbers, this is a word in quotes."),
        (object(), "not yet: the answer should be 3 numbers, this is something else."),
        ([[1], [2, 3]], "not yet: the answer should be 3 numbers, this is something else."),
    ],
)
def test_a_wrong_answer_gets_the_best_words_there_are(told, answer, words):
    assert told("99.1", answer) == words


def test_words(told):
    assert told("99.2", " yes ") == "right."
    assert told("99.2", "No") == "not yet: no is not it."
    assert told("99.2", "perhaps") == "not yet: hint('99.2') may help."
    assert told("99.2", 3) == "not yet: the answer should be a word in quotes, this is one number."


def test_functions(told):
    assert told("99.3", lambda x: x * x) == "right."
    assert told("99.3", lambda x: x + x) == "not yet: hint('99.3') may help."
    assert told("99.3", lambda x: 1 / 0).startswith("not yet: it stops with ZeroDivisionError: ")
    assert told("99.3", 9.0).startswith("not yet: it stops with TypeError: ")


def test_shapes(told):
    right = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert told("99.4", right[None, None]) == "right."
    assert told("99.4", right[0]).endswith("be numbers of shape (2, 2), this is 2 numbers.")


def test_hints(told, capsys):
    hint("99.1")
    hint("99.1", 2)
    hint("99.1", 3)
    assert capsys.readouterr().out.splitlines() == [
        "99.1 hint 1 of 2: look",
        "99.1 hint 2 of 2: look closer",
        "99.1 has 2 hints, from 1 to 2: there is no hint 3.",
    ]


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: check("99.7", 1), "one of 99.1, 99.2, 99.3, 99.4; got '99.7'. "),
        (lambda: check("98.1", 1), "one of 99; got '98'. "),
    ],
)
def test_a_name_that_does_not_exist(told, call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


def exercise_that_takes_values(name):
    """The exercise, asking for what a student's function returns in place of the function."""
    return replace(exercises_of(name.partition(".")[0])[name], tried=lambda answer: answer)


def test_the_right_answer_is_right(name):
    exercise = exercise_that_takes_values(name)
    assert lesson._verdict(name, exercise, exercise.right()).startswith("right.")


def test_each_known_mistake_gets_its_own_words(name):
    exercise = exercise_that_takes_values(name)
    for wrong, sentence in exercise.mistakes:
        assert lesson._verdict(name, exercise, wrong()) == f"not yet: {sentence}"


def test_there_are_hints(name):
    assert len(exercises_of(name.partition(".")[0])[name].hints) >= 2


NAMED = {
    "23.6": "training_mode",
    "24.2": "GradCAM",
    "24.5": "gradient x input",
    "24.6": "Occlusion",
}


def told_about(name, answer):
    """What check says in a lesson, reading the answer as the lesson does."""
    return lesson._verdict(name, exercises_of(name.partition(".")[0])[name], answer)


@pytest.mark.parametrize(("name", "typed"), NAMED.items())
def test_a_name_is_right_however_it_is_typed(name, typed):
    assert told_about(name, typed).startswith("right.")


@pytest.mark.parametrize("name", NAMED)
def test_a_word_that_is_no_name_of_the_list_is_no_answer(name):
    assert told_about(name, "something else").startswith("not answered yet: ")


@pytest.mark.parametrize("name", NAMED)
def test_a_known_mistake_is_read_as_what_it_says(name):
    for wrong, sentence in exercises_of(name.partition(".")[0])[name].mistakes:
        assert told_about(name, wrong()) == f"not yet: {sentence}"


def printed(folder, name):
    """What the notebook of an exercise's lesson has printed, all cells together."""
    [path] = folder.glob(f"{name.partition('.')[0]}_*.ipynb")
    cells = nbformat.read(path, as_version=4).cells
    return "".join(output.get("text", "") for cell in cells for output in cell.get("outputs", ()))


def test_the_lesson_asks_and_its_solutions_answer(name):
    assert f"{name} not answered yet: " in printed(FOLDER.parent, name)
    assert f"{name} right." in printed(FOLDER.parent / "solutions", name)
