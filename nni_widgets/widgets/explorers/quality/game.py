"""The pixel-flipping game: patches are removed, and f falls; by hand, and as methods say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from nni_widgets.engine.methods.base import Method, Result, logits_of, model_lock
from nni_widgets.engine.methods.baselines import Constant
from nni_widgets.engine.methods.fills import FILLS, Fill, as_fill, filled
from nni_widgets.engine.metrics.base import Subject, places
from nni_widgets.engine.metrics.flipping import Patches
from nni_widgets.engine.targets import Target
from nni_widgets.errors import invalid
from nni_widgets.params import Declared, param
from nni_widgets.pictures.explain import Explanation, explanation_of
from nni_widgets.widgets.parts.last import Last
from nni_widgets.widgets.parts.patches import Place

WHO = "QualityExplorer"
Methods = tuple[tuple[str, Method], ...]
MOST = 20
_ORDERS = 10


class Game(Declared):
    """The rules: how the picture is cut, how many patches go, what is left in their place."""

    patch: int = param(4, "side of a patch, in pixels", low=1, slider=(1, 14))
    n_patches: int = param(12, "how many patches are removed", low=1, high=MOST, slider=(1, MOST))
    fill: Fill = param(Constant(), "what stands in for a removed patch", options=lambda: FILLS)
    of: Literal["logit", "probability"] = param(
        "logit", "what the curves show of the target", choices=("logit", "probability")
    )

    def validate(self) -> None:
        object.__setattr__(self, "fill", as_fill(WHO, self.fill))


@dataclass(frozen=True, eq=False)
class Player:
    """Somebody who removes patches: in this order, and f after each, f(x) first."""

    name: str
    order: tuple[int, ...]
    curve: Tensor

    def after(self, count: int) -> float:
        """What f is when so many patches are gone, or all that are removed."""
        return float(self.curve[min(count, len(self.curve) - 1)])

    def area(self, count: int) -> float:
        """The mean height of the curve over the first ``count`` patches."""
        reached = min(count, len(self.curve) - 1)
        if reached == 0:
            return float(self.curve[0])
        return float(torch.trapezoid(self.curve[: reached + 1])) / reached


@dataclass(frozen=True, eq=False)
class Grid:
    """How a picture is cut: where rows and columns of patches begin, and its height and width."""

    tops: tuple[int, ...]
    lefts: tuple[int, ...]
    side: Place

    @classmethod
    def of(cls, x: Tensor, patch: int) -> Grid:
        """The grid over pictures like x."""
        height, width = (1, *x.shape[min(2, x.ndim - 1) :])[-2:]
        return cls(tuple(range(0, height, patch)), tuple(range(0, width, patch)), (height, width))

    @property
    def count(self) -> int:
        """How many patches there are."""
        return len(self.tops) * len(self.lefts)

    def number(self, place: Place) -> int:
        """The number of the patch at a row and column; raises ``ValueError`` if none is there."""
        if not (0 <= place[0] < len(self.tops) and 0 <= place[1] < len(self.lefts)):
            expected = f"(row, column) of {len(self.tops)} × {len(self.lefts)} patches"
            raise invalid(WHO, "chosen", expected, repr(place), "Correct it")
        return place[0] * len(self.lefts) + place[1]

    def place(self, number: int) -> Place:
        """The row and column of a patch."""
        return divmod(number, len(self.lefts))


@dataclass(frozen=True, eq=False)
class Played:
    """Where the game stands: who has removed what, and what the user has left of the picture.

    ``chance`` is the mean curve of random orders, if it is known already; ``made`` are the
    explanations of the methods that are.
    """

    game: Game
    grid: Grid
    left: Explanation
    mine: Player
    methods: tuple[Player, ...]
    made: tuple[Explanation, ...]
    chance: Player | None
    passes: float

    @property
    def score(self) -> float:
        """f(x)."""
        return float(self.mine.curve[0])

    @property
    def compared(self) -> int:
        """Over how many patches the areas are compared: the user's, if there are any."""
        return len(self.mine.order) or self.most

    @property
    def most(self) -> int:
        """How many patches can be removed."""
        return min(self.game.n_patches, self.grid.count)

    @property
    def players(self) -> tuple[Player, ...]:
        """The user, the methods, and chance."""
        return (self.mine, *self.methods, *([self.chance] if self.chance else []))

    def shared(self, player: Player) -> int:
        """How many of the user's patches are among as many first ones of another."""
        mine = self.mine.order
        return len(set(mine) & set(player.order[: len(mine)]))


class Referee:
    """Plays the game on a model; what the methods did is kept while the user chooses."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._last: Last[_Arena] = Last(model)

    def play(
        self, x: Tensor, target: Target, methods: Methods, game: Game, chosen: Sequence[Place]
    ) -> Iterator[tuple[Played, int, int]]:
        """The user's curve, with that of one method more at every step: (played, done, of)."""
        arena = self._last.get((methods, target, game), x)
        if arena is None:
            arena = _Arena(self._model, x, target, methods, game)
            self._last.keep((methods, target, game), x, arena)
        grid = Grid.of(x, game.patch)
        mine = arena.mine([grid.number(place) for place in chosen])
        left = arena.left(mine)
        for done in arena.prepare():
            known = tuple(arena.players), tuple(arena.made), arena.chance
            passes = arena.passes + len(mine.curve)
            yield Played(game, grid, left, mine, *known, passes), done, arena.of


class _Arena:
    """One picture with all that does not depend on the user's choice."""

    def __init__(
        self, model: nn.Module, x: Tensor, target: Target, methods: Methods, game: Game
    ) -> None:
        if x.ndim > 4:
            expected, action = "pictures (N, C, H, W)", "Choose one slice"
            raise invalid(WHO, "x", expected, f"shape {tuple(x.shape)}", action)
        self._model, self._target, self._methods, self._game = model, target, methods, game
        self._patches = Patches(WHO, x, game.patch)
        self._fill = filled(WHO, game.fill, x)
        with model_lock:
            self._subject = Subject(model, x, methods[0][1], target)
        self._most = min(game.n_patches, self._patches.count)
        self.players: list[Player] = []
        self.made: list[Explanation] = []
        self.chance: Player | None = None
        self.passes, self.of = 1.0, len(methods) + 1

    def prepare(self) -> Iterator[int]:
        """Let the methods play that have not yet, one by one, then chance: how many have."""
        while len(self.players) < len(self._methods):
            self._enter(*self._methods[len(self.players)])
            yield len(self.players)
        if self.chance is None:
            self.chance = self._lots()
        yield self.of

    def mine(self, chosen: Sequence[int]) -> Player:
        """What the user has done."""
        return self._player("you", torch.tensor(chosen[: self._most], dtype=torch.long))

    def left(self, mine: Player) -> Explanation:
        """The model's answer to what the user has left of the picture."""
        order = torch.tensor(mine.order, dtype=torch.long)
        picture = self._without(order, torch.tensor([len(order)]))
        with model_lock:
            logits = logits_of(WHO, self._model, picture)
        result = Result(torch.zeros_like(picture), self._subject.selection, logits, passes=1)
        return explanation_of(self._model, picture, self._subject.method, result)

    def _enter(self, name: str, method: Method) -> None:
        """Let a method explain the picture, and remove the patches in its order."""
        x = self._subject.x
        with model_lock:
            new = Subject(self._model, x, method, self._target) if self.players else self._subject
        relevance = self._patches.sums(places(new.attribution))[0]
        order = relevance.argsort(descending=True, stable=True)[: self._most]
        self.made.append(explanation_of(self._model, x, method, new.result))
        self.players.append(self._player(name, order))
        self.passes += new.result.passes + len(order) + 1

    def _lots(self) -> Player:
        """The mean curve of random orders."""
        orders = [
            torch.randperm(self._patches.count, generator=torch.Generator().manual_seed(seed))
            for seed in range(_ORDERS)
        ]
        curves = torch.stack([self._player("", order[: self._most]).curve for order in orders])
        self.passes += curves.numel()
        return Player("random", (), curves.mean(0))

    def _player(self, name: str, order: Tensor) -> Player:
        """Somebody who removes patches in this order, with f without the first 0, 1, … of them."""
        pictures = self._without(order, torch.arange(len(order) + 1))
        sample = torch.zeros(len(pictures), dtype=torch.long)
        with model_lock:
            curve = self._subject.scores(pictures, sample, self._game.of == "probability")
        return Player(name, tuple(order.tolist()), curve.cpu())

    def _without(self, order: Tensor, counts: Tensor) -> Tensor:
        """The picture without the first patches of an order, for each of these counts."""
        x = self._subject.x
        rank = self._patches.ranks(order.to(x.device)[None])
        gone = self._patches.mask(rank < counts.to(x.device)[:, None])
        return torch.where(gone, self._fill, x)
