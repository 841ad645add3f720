"""The frozen values that travel between an explorer and its worker."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Generic, TypeVar

from nni_widgets.errors import invalid, sentence

T = TypeVar("T")


@dataclass(frozen=True)
class Step(Generic[T]):
    """A result so far: ``done`` of ``of`` parts of the work are in ``value``."""

    value: T
    done: int = 1
    of: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.done <= self.of:
            raise invalid(
                "Step",
                "done",
                f"from 1 to of = {self.of}",
                self.done,
                "Yield a step only when it has a value to show.",
            )

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.done == self.of


@dataclass(frozen=True)
class Request(Generic[T]):
    """What is asked: two requests with equal keys ask for the same.

    ``work`` is called in the worker's thread; the last step it yields is a finished one. Between
    two steps the worker may leave the work, and closes it if it is a generator: short steps make
    a quick cancel.
    """

    key: Hashable
    work: Callable[[], Iterator[Step[T]]] = field(compare=False, repr=False)

    def __post_init__(self) -> None:
        try:
            hash(self.key)
        except TypeError as error:
            given = type(self.key).__name__
            action = "Use a tuple or a frozen dataclass of what determines the result."
            raise TypeError(sentence("Request", "key", "hashable", given, action)) from error


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """A step as it is shown.

    ``generation`` counts the requests of a worker and never falls from one outcome to the next.
    ``elapsed`` is the time in seconds from the beginning of the work to this value, also when the
    value comes from the cache: then it tells what it had cost.
    """

    key: Hashable
    value: T
    done: int
    of: int
    generation: int
    elapsed: float
    from_cache: bool = False

    @property
    def finished(self) -> bool:
        """Whether this is the last outcome of its request."""
        return self.done == self.of


class Phase(Enum):
    """Where a request stands. One replaced by a newer request just says no more."""

    QUEUED = "queued"
    WORKING = "working"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"


@dataclass(frozen=True)
class Status:
    """A change of phase, or progress in it; ``of`` is 0 as long as it is not known."""

    phase: Phase
    generation: int
    done: int = 0
    of: int = 0
