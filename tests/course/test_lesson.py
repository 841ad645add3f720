"""Exercises: what a student is told; and each exercise has its place and its solution."""

from dataclasses import replace

import nbformat
import numpy as np
import pytest
import torch

import nni_widgets as nni
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
        ["1", "2", "-4"],
        list(torch.tensor([1.0, 2.0, -4.0], requires_grad=True)),
        list(torch.tensor([[1.0], [2.0], [-4.0]], requires_grad=True)),
    ],
)
@pytest.mark.filterwarnings("error")
def test_a_right_answer_in_any_form(told, answer):
    assert told("99.1", answer) == "right. Well done."


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ([2, 4, -8], "not yet: twice too much."),
        ([-1, -2, 4], "not yet: the size is right, the sign is not; hint('99.1') may help."),
        ([1, 2, 4], "not yet: 2 of 3 numbers are right; hint('99.1') may help."),
        ([1, 2, -4.1], "not yet: 2 of 3 numbers are right; hint('99.1') may help."),
        ([np.nan, 2, 4], "not yet: it is nan, not a number, in places; hint('99.1') may help."),
        ([1, 2], "not yet: the answer should be 3 numbers, this is 2 numbers."),
        (1, "not yet: the answer should be 3 numbers, this is one number."),
        ("1, 2", "not yet: the answer should be 3 numbers, this is a word in quotes."),
        (object(), "not yet: the answer should be 3 numbers, this is something else."),
        ([[1], [2, 3]], "not yet: the answer should be 3 numbers, this is something else."),
        (["one", 2, -4], "not yet: the answer should be 3 numbers, this is something else."),
    ],
)
def test_a_wrong_answer_gets_the_best_words_there_are(told, answer, words):
    assert told("99.1", answer) == words


def test_words(told):
    assert told("99.2", " yes ") == "right."
    assert told("99.2", "nni.Yes()") == "right."
    assert told("99.2", "No") == "not yet: no is not it."
    assert told("99.2", "perhaps") == "not yet: hint('99.2') may help."
    assert told("99.2", 3) == "not yet: the answer should be a word in quotes, this is one number."


def test_functions(told):
    assert told("99.3", lambda x: x * x) == "right."
    assert told("99.3", lambda x: x + x) == "not yet: hint('99.3') may help."
    assert told("99.3", lambda x: 1 / 0).startswith("not yet: it stops with ZeroDivisionError: ")
    assert told("99.3", 9.0).startswith("not yet: it stops with TypeError: ")


def test_a_check_draws_no_random_numbers_of_the_lesson(told):
    before = torch.get_rng_state()
    assert told("99.3", lambda x: torch.rand(1) + x) == "not yet: hint('99.3') may help."
    assert torch.equal(torch.get_rng_state(), before)


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


def z_plus_minus(z_before, up, down):
    """Exercise 09.2, with an array for an answer."""
    start, both = max(z_before, 0.0), max(z_before + up + down, 0.0)
    up_alone, down_alone = max(z_before + up, 0.0), max(z_before + down, 0.0)
    by_up = (up_alone - start + both - down_alone) / 2
    by_down = (down_alone - start + both - up_alone) / 2
    return np.array([by_up / up, by_down / down])


def strongest_of_a_map(a, channel):
    """Exercise 10.3, with an array for an answer."""
    kept = np.zeros(a.shape)
    row, column = divmod(int(a[0, channel].argmax()), 7)
    kept[0, channel, row, column] = a[0, channel, row, column]
    return kept.astype(np.float32)


def shaken(shape, add=True):
    """Exercise 14.2, with noise of a shape of its own, which is added to the picture or not."""

    def noisy(x, level, n):
        generator = torch.Generator().manual_seed(0)
        noise = level * (x.max() - x.min()) * torch.randn(shape(n), generator=generator)
        return x + noise if add else noise

    return noisy


def five_rather_than_8():
    """Exercise 06.5, with an Explanation for an answer."""
    x, _ = nni.data.digits("test")[8:9]
    return nni.explain(nni.models.load("digits-cnn"), x, target=nni.Difference(5, 8))


def relu6_of_the_neuron(a, w, b):
    """Exercise 08.3, where what is shared is cut off above 6 too."""
    v = a - np.where(w > 0, 0.0, 6.0)
    return w * v / (w @ v) * np.clip(w @ a + b, 0, 6)


WAYS = {
    "an explanation": ("06.5", five_rather_than_8(), "right."),
    "cut off at 6": ("08.3", relu6_of_the_neuron, "right."),
    "an array of multipliers": ("09.2", z_plus_minus, "right."),
    "an array of maps": ("10.3", strongest_of_a_map, "right."),
    "a map alone": ("10.3", lambda a, c: a[:, c], "not yet: it stops with ValueError: keep must"),
    "an array of signals": ("12.3", lambda z, R: (R * (z > 0) * (R > 0)).numpy(), "right."),
    "a list of copies": ("14.2", lambda *of: list(shaken(lambda n: (n, 3, 32, 32))(*of)), "right."),
    "one noise for all": ("14.2", shaken(lambda n: (1, 3, 32, 32)), "not yet: it stops with Value"),
    "grey noise": ("14.2", shaken(lambda n: (n, 1, 32, 32)), "not yet: all channels"),
    "no picture": ("14.2", shaken(lambda n: (n, 3, 32, 32), add=False), "not yet: this is the noi"),
}


@pytest.mark.parametrize("way", WAYS)
def test_what_students_hand_in_is_read_as_what_it_is(way):
    name, answer, words = WAYS[way]
    assert told_about(name, answer).startswith(words)


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
