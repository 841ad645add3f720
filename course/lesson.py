"""Exercises that check themselves: for the notebooks of this course, and only about teaching.

    answer = ...               # the student replaces the dots
    check("06.2", answer)      # right, or what is wrong about it; never what would be right
    hint("06.2")               # a first hint; hint("06.2", 2) is the next one

The exercises of lesson 06 live in ``exercises/06.py``, which defines ``EXERCISES``: for each number
the fields of an :class:`Exercise`. Right answers are computed by the library, not written down.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

FOLDER = Path(__file__).with_name("exercises")
_FEW = 6


@dataclass(frozen=True)
class Exercise:
    """One exercise: what is asked, what is right, and what to say about known mistakes.

    ``right()`` makes the right answer: a word, a number or an array. Each of ``mistakes`` is a
    function that makes a wrong answer, and the sentence that explains it. ``then`` is said after a
    right answer. If the answer is a function, ``tried(answer)`` calls it and returns what counts.
    Numbers may differ by the share ``tolerance`` of the largest.
    """

    asks: str
    right: Callable[[], Any]
    then: str = ""
    mistakes: Sequence[tuple[Callable[[], Any], str]] = ()
    hints: Sequence[str] = ()
    tried: Callable[[Any], Any] = lambda answer: answer
    tolerance: float = 0.01


def check(name: str, answer: object) -> None:
    """Print whether the answer to an exercise is right and, if it can be told, what is wrong."""
    with torch.random.fork_rng(devices=[]):
        print(f"{name} {_verdict(name, _exercise(name), answer)}")


def hint(name: str, n: int = 1) -> None:
    """Print the n-th hint for an exercise, or how many there are."""
    hints = _exercise(name).hints
    if n in range(1, len(hints) + 1):
        print(f"{name} hint {n} of {len(hints)}: {hints[n - 1]}")
    else:
        print(f"{name} has {len(hints)} hints, from 1 to {len(hints)}: there is no hint {n!r}.")


@cache
def exercises_of(lesson: str) -> dict[str, Exercise]:
    """The exercises of a lesson by their names, such as ``06.2``."""
    path = FOLDER / f"{lesson}.py"
    if not path.exists():
        known = ", ".join(sorted(file.stem for file in FOLDER.glob("*.py")))
        raise ValueError(f"course: the lesson must be one of {known}; got {lesson!r}. Correct it.")
    spec = importlib.util.spec_from_file_location(f"exercises_of_{lesson}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {f"{lesson}.{number}": Exercise(**what) for number, what in module.EXERCISES.items()}


def _exercise(name: str) -> Exercise:
    known = exercises_of(name.partition(".")[0])
    if name not in known:
        names = ", ".join(known)
        raise ValueError(f"course: the exercise must be one of {names}; got {name!r}. Correct it.")
    return known[name]


def _verdict(name: str, exercise: Exercise, answer: object) -> str:
    unanswered = f"not answered yet: {exercise.asks}"
    if answer is ... or answer is None:
        return unanswered
    try:
        given = exercise.tried(answer)
    except Exception as error:  # noqa: BLE001 - whatever a student's code raises is told
        return f"not yet: it stops with {type(error).__name__}: {error}."
    if given is ... or given is None:
        return unanswered
    right = _value(exercise.right())
    try:
        value = _value(given)
    except (TypeError, ValueError):
        value = None
    if not _alike(value, right):
        return f"not yet: the answer should be {_kind(right)}, this is {_kind(value)}."
    if _near(value, right, exercise.tolerance):
        return f"right. {exercise.then}".rstrip()
    for wrong, sentence in exercise.mistakes:
        if _near(value, _value(wrong()), exercise.tolerance):
            return f"not yet: {sentence}"
    return f"not yet: {_closeness(value, right, exercise.tolerance)}hint({name!r}) may help."


def _closeness(value: str | np.ndarray, right: str | np.ndarray, tolerance: float) -> str:
    if isinstance(value, str) or isinstance(right, str):
        return ""
    if np.isnan(value).any():
        return "it is nan, not a number, in places; " if value.size > 1 else "it is nan; "
    if _near(-value, right, tolerance):
        return "the size is right, the sign is not; "
    if 1 < right.size <= _FEW:
        least = tolerance * np.abs(right).max()
        return f"{int((np.abs(value - right) <= least).sum())} of {right.size} numbers are right; "
    return ""


def _value(answer: Any) -> str | np.ndarray:
    """A word, or numbers as a float64 array without axes of length 1."""
    return _word(answer) if isinstance(answer, str) else np.squeeze(_numbers(answer))


def _word(typed: str) -> str:
    """A word or a name of the library, however it is typed: its letters and digits."""
    return re.sub(r"[\W_]", "", typed.strip().casefold().removeprefix("nni."))


def _numbers(answer: Any) -> np.ndarray:
    if isinstance(answer, torch.Tensor):
        answer = answer.detach().cpu()
    elif isinstance(answer, Sequence) and not isinstance(answer, str):
        answer = [_numbers(part) for part in answer]
    return np.asarray(answer, dtype=np.float64)


def _alike(value: str | np.ndarray | None, right: str | np.ndarray) -> bool:
    if value is None or isinstance(value, str) or isinstance(right, str):
        return isinstance(value, str) and isinstance(right, str)
    return value.shape == right.shape


def _near(value: str | np.ndarray, other: str | np.ndarray, tolerance: float) -> bool:
    if isinstance(value, str) or isinstance(other, str):
        return isinstance(value, str) and value == other
    if value.shape != other.shape or not np.isfinite(value).all():
        return False
    return bool(np.abs(value - other).max() <= tolerance * np.abs(other).max())


def _kind(value: str | np.ndarray | None) -> str:
    if value is None:
        return "something else"
    if isinstance(value, str):
        return "a word in quotes"
    if value.ndim == 0:
        return "one number"
    return f"numbers of shape {value.shape}" if value.ndim > 1 else f"{value.size} numbers"
