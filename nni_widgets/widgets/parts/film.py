"""A film: the frames of something that is made step by step, as far as they are made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, Self, TypeVar


class Frame(Protocol):
    """What a studio needs of a frame: ``step`` of ``of`` are done in it."""

    @property
    def step(self) -> int:
        """How many steps led to it; the first frame may be before any."""

    @property
    def of(self) -> int:
        """How many steps there will be."""


F = TypeVar("F", bound=Frame)


@dataclass(frozen=True, eq=False)
class Film(Generic[F]):
    """The frames made so far of what was ``selected``; ``at`` is the one that plays.

    ``weights`` tell those that it was begun with from later ones. ``begun`` is the step at which
    the work of now began.
    """

    selected: Any
    weights: Any = ()
    frames: tuple[F, ...] = ()
    at: int = -1
    begun: int = 0

    @property
    def last(self) -> F | None:
        """The last frame so far."""
        return self.frames[-1] if self.frames else None

    @property
    def finished(self) -> bool:
        """Whether the film is complete."""
        return bool(self.frames) and self.frames[-1].step == self.frames[-1].of

    def grown(self, frame: F, kept: Callable[[F], F]) -> Self:
        """This film with one more frame, which plays; of the one before it only this is kept."""
        before = [kept(each) for each in self.frames[-1:]]
        return replace(self, frames=(*self.frames[:-1], *before, frame), at=len(self.frames))
