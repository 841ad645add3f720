"""The Quality explorer: the pixel-flipping game, and continuity under a slide."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import ipywidgets as widgets
from torch import Tensor, nn

from nni_widgets.engine.methods import GradientTimesInput, IntegratedGradients, Saliency
from nni_widgets.engine.methods.base import AnyMethod, as_method
from nni_widgets.engine.methods.fills import Fill, as_fill
from nni_widgets.engine.targets import Target
from nni_widgets.errors import invalid
from nni_widgets.params import as_code, params
from nni_widgets.pictures.explain import Explanation, default_method
from nni_widgets.pictures.numbers import number
from nni_widgets.session import Outcome, Request, Step
from nni_widgets.widgets.bases.scaffold import Parts, Scaffold
from nni_widgets.widgets.explorers.quality.charts import COLOURS
from nni_widgets.widgets.explorers.quality.game import (
    WHO,
    Game,
    Methods,
    Played,
    Referee,
)
from nni_widgets.widgets.explorers.quality.game_view import GameView
from nni_widgets.widgets.explorers.quality.slide import Rail, Slid, Slide
from nni_widgets.widgets.explorers.quality.slide_view import SlideView
from nni_widgets.widgets.explorers.quality.told import digest_of, npz_of, still_of
from nni_widgets.widgets.parts.closing import close_all
from nni_widgets.widgets.parts.copied import Names
from nni_widgets.widgets.parts.fitting import patch_for
from nni_widgets.widgets.parts.maps import MapView
from nni_widgets.widgets.parts.panes import labelled
from nni_widgets.widgets.parts.patches import Place
from nni_widgets.widgets.parts.quiet import Quiet
from nni_widgets.widgets.parts.subject import Subject, subject

MOST_METHODS = len(COLOURS)

Tab = Literal["flipping", "continuity"]
_TABS: dict[str, Tab] = {"Pixel flipping": "flipping", "Continuity": "continuity"}


@dataclass(frozen=True)
class Selected:
    """All that determines the numbers of a tab."""

    tab: Tab
    rules: Game | Slide
    moves: tuple[Any, ...]


class QualityExplorer(Scaffold[Played | Slid]):
    """Shows how good explanations are; made by :func:`explore_quality`.

    ``tab`` is ``"flipping"`` or ``"continuity"``. Flipping: ``chosen`` are the (row, column) of the
    patches that the user has removed, in their order, ``revealed`` the name of the method whose
    order is shown, ``game`` the rules. Continuity: ``shift`` in pixels, ``seen`` the shifts that
    were visited, ``slide`` how the picture slides.
    """

    opener = "nni.explore_quality"
    captions: ClassVar[Mapping[str, str]] = {
        "nn-tabs": "the experiment",
        "nn-left": "what is left of the picture",
        "nn-left-grid": "a grid over the picture, and the order of a method",
        "nn-race": "f over the number of removed patches, for you, each method and random orders",
        "nn-moved": "the picture, moved",
        "nn-changes": "how far each map has changed; pale: the largest change so far",
    }

    def __init__(self, subject: Subject, methods: Methods, game: Game) -> None:
        self._methods, self._quiet = methods, Quiet()
        self._key: Hashable = None
        names = [name for name, _ in methods]
        self._game = GameView(names, game, self._ask, self._revealed, self._refuse)
        self._slide = SlideView(names, self._ask, self._refuse)
        self._views = [MapView(name, f"nn-map-{at}") for at, name in enumerate(names)]
        self._row, self._numbers = widgets.HBox([each.view for each in self._views]), widgets.HBox()
        self._row.add_class("nn-four")
        for row in (self._row, self._numbers):
            row.add_class("nn-row").add_class("nn-last")
        self._tabs = widgets.ToggleButtons(options=_TABS, style={"button_width": "130px"})
        self._tabs.add_class("nn-tabs")
        self._tabs.observe(lambda _: None if self._quiet else self._turned(), "value")
        self._referee, self._rail = Referee(subject.model), Rail(subject.model)
        self._shown, self._controls = widgets.VBox(), widgets.VBox()
        self._show_tab()
        super().__init__(subject)

    @property
    def tab(self) -> Tab:
        """Which of the two is shown."""
        return self._tabs.value  # type: ignore[no-any-return]

    @tab.setter
    def tab(self, tab: Tab) -> None:
        if tab not in _TABS.values():
            expected = " or ".join(map(repr, _TABS.values()))
            raise invalid(WHO, "tab", expected, repr(tab), "Correct it")
        self._tabs.value = tab

    @property
    def game(self) -> Game:
        """The rules of the game; they are set by the controls, or when it is opened."""
        return self._game.game

    @property
    def chosen(self) -> tuple[Place, ...]:
        """The patches that the user has removed, as (row, column), the first one first."""
        return self._game.chosen

    @chosen.setter
    def chosen(self, places: Sequence[Place]) -> None:
        self._game.chosen = places
        self._ask()

    @property
    def revealed(self) -> str | None:
        """The name of the method whose order is on the board; ``None`` while none is."""
        return self._game.revealed

    @revealed.setter
    def revealed(self, name: str | None) -> None:
        self._game.revealed = name

    @property
    def slide(self) -> Slide:
        """How the picture slides, what moves in, and whether maps are scaled."""
        return self._slide.slide

    @property
    def along(self) -> str:
        """The way the picture slides: ``"across"`` or ``"down"``."""
        return self.slide.along

    @along.setter
    def along(self, way: str) -> None:
        self._set_slide(along=way)

    @property
    def border(self) -> str:
        """What moves in behind the picture: ``"edge"``, ``"wrap"`` or ``"black"``."""
        return self.slide.border

    @border.setter
    def border(self, border: str) -> None:
        self._set_slide(border=border)

    @property
    def scaled(self) -> bool:
        """Whether each map is divided by Σ|R(x)|."""
        return self.slide.scaled

    @scaled.setter
    def scaled(self, scaled: bool) -> None:
        self._set_slide(scaled=scaled)

    @property
    def shift(self) -> int:
        """By how many pixels the picture is moved."""
        return self.seen[-1]

    @shift.setter
    def shift(self, shift: int) -> None:
        self.seen = (*self.seen, shift)

    @property
    def seen(self) -> tuple[int, ...]:
        """The shifts that count for the largest change, the present one last."""
        return self._slide.seen

    @seen.setter
    def seen(self, shifts: Sequence[int]) -> None:
        self._slide.seen = tuple(shifts)
        self._ask()

    def _set_slide(self, **changes: Any) -> None:
        self._slide.slide = self.slide.replace(**changes)
        self._ask()

    # what the scaffold asks for

    def _parts(self) -> Parts:
        pictures = [self._shown, self._numbers, self._row]
        return Parts(maps=self._views, pictures=pictures, controls=[self._controls])

    def _request(self) -> Request[Played | Slid] | None:
        """Another picture is another game."""
        current = self._source.current()
        key = None if current is None else current[0]
        if key != self._key:
            self._key = key
            self._game.begin_again()
            self._slide.forget_shifts()
        return super()._request()

    def _selected(self) -> Selected:
        if self.tab == "flipping":
            return Selected(self.tab, self.game, self.chosen)
        return Selected(self.tab, self.slide, self.seen)

    def _work(self, x: Tensor, target: Target, selected: Selected) -> Iterator[Step[Played | Slid]]:
        play = self._referee.play if isinstance(selected.rules, Game) else self._rail.go
        work = play(x, target, self._methods, selected.rules, selected.moves)  # type: ignore[arg-type]
        yield from (Step(*step) for step in work)

    def _explained(self, shown: Played | Slid) -> Sequence[Explanation]:
        return shown.made

    def _scored(self, shown: Played | Slid) -> Explanation:
        return shown.left if isinstance(shown, Played) else shown.moved

    def _paint(self, shown: Played | Slid) -> None:
        if isinstance(shown, Played):
            self._game.paint(shown)
        else:
            self._slide.paint(shown)
        self._show_maps()
        for at, (view, made) in enumerate(zip(self._views, shown.made, strict=False)):
            view.paint(made, made.heatmap(), words=None if isinstance(shown, Played) else
                       f"changed by {number(shown.change(at))}")  # fmt: skip
        for view in self._views[len(shown.made) :]:
            view.dim()

    def _tell(self, outcome: Outcome[Played | Slid]) -> None:
        shown = outcome.value
        answer = self._scored(shown)
        self._scores.show(answer)
        cost = f"{shown.passes:g} passes, {1000 * outcome.elapsed:.0f} ms"
        words = [
            f"predicted {answer.predicted[0]} ({float(answer.probabilities[0].max()):.2f})",
            f"explained: {answer.target_names[0]}",
            f"{self._at_work()}: {cost if outcome.finished else 'a first picture'}",
        ]
        self._status.say(" · ".join(words), outcome.generation)

    def _advance(self, outcome: Outcome[Played | Slid]) -> None:
        self._status.advance(self._at_work(), outcome.done, outcome.of, outcome.elapsed)

    def _text_of(self, shown: Played | Slid) -> str:
        return digest_of(shown)

    def _pngs(self, shown: Played | Slid) -> dict[str, bytes]:
        if isinstance(shown, Slid):
            return super()._pngs(shown)
        return {"flipping.png": still_of(shown), **super()._pngs(shown)}

    def _npzs(self, shown: Played | Slid) -> dict[str, bytes]:
        name = "flipping.npz" if isinstance(shown, Played) else "continuity.npz"
        return {name: npz_of(shown), **super()._npzs(shown)}

    def _arguments(self, names: Names) -> list[str]:
        methods = [
            names.method(method, f"method_{at}") for at, (_, method) in enumerate(self._methods)
        ]
        inside = ", ".join(methods) + ("," if len(methods) == 1 else "")
        return [f"({inside})", *self._rules_as_code(names)]

    def _rules_as_code(self, names: Names) -> list[str]:
        """The rules that are not the usual ones; the patch always, for it depends on the size."""
        game, usual = self.game, Game()
        given = {each.name: getattr(game, each.name) for each in params(game)}
        codes = {**{name: as_code(value) for name, value in given.items() if name != "fill"},
                 "fill": names.method(as_fill(WHO, game.fill))}  # fmt: skip
        return [
            f"{name}={codes[name]}"
            for name, value in given.items()
            if name == "patch" or value != getattr(usual, name)
        ]

    def _settings(self, names: Names) -> dict[str, str]:
        wanted = {
            "tab": "flipping",
            "chosen": (),
            "revealed": None,
            "along": "across",
            "border": "edge",
            "scaled": False,
            "seen": (0,),
        }
        now = {name: getattr(self, name) for name in wanted}
        return {name: as_code(value) for name, value in now.items() if value != wanted[name]}

    def _at_work(self) -> str:
        return "Pixel flipping" if self.tab == "flipping" else "Continuity"

    def _blank(self) -> None:
        self._game.clear()
        self._slide.clear()

    def _forget(self) -> None:
        self._game.forget()
        self._slide.forget()

    def _turned(self) -> None:
        self._show_tab()
        self._ask()

    def _revealed(self) -> None:
        self._show_maps()
        self._look()

    def _show_tab(self) -> None:
        """Show what belongs to the tab, alone: bqplot cannot draw where it is hidden."""
        view = self._game if self.tab == "flipping" else self._slide
        self._shown.children = [self._tabs, view.picture]
        self._numbers.children = [view.numbers]
        self._controls.children = [view.controls]
        self._show_maps()

    def _show_maps(self) -> None:
        """Show the maps of the methods, unless they would give away their orders."""
        there = self.tab == "continuity" or self.revealed is not None
        self._row.layout.display = None if there else "none"

    def close(self) -> None:
        """End the worker and close every widget, those of the tab that is not shown too."""
        super().close()
        for view in (self._game, self._slide):
            for part in (view.picture, view.numbers, view.controls):
                close_all(part)


def checked(methods: Any) -> Methods:
    """The methods by name; raises ``ValueError`` unless there are one to six."""
    given = tuple(methods) if isinstance(methods, (tuple, list)) else (methods,)
    if not 0 < len(given) <= MOST_METHODS:
        expected = f"1 to {MOST_METHODS} methods"
        raise invalid(WHO, "methods", expected, f"{len(given)}", "Try (nni.LRP(), nni.Saliency())")
    return tuple(labelled(as_method(method, WHO) for method in given).items())


def usual_methods(model: nn.Module) -> tuple[AnyMethod, ...]:
    """Methods of different kinds, for any model."""
    return default_method(model), IntegratedGradients(), GradientTimesInput(), Saliency()


def explore_quality(
    model: nn.Module | None = None,
    x: Tensor | None = None,
    methods: Sequence[AnyMethod] | None = None,
    target: Target = None,
    *,
    patch: int | None = None,
    n_patches: int = 12,
    fill: Fill = 0.0,
    of: Literal["logit", "probability"] = "logit",
    strokes: Sequence[Any] = (),
    labels: Sequence[int] | Tensor | None = None,
    names: tuple[str, str] = ("model", "x"),
    large: bool = False,
) -> QualityExplorer:
    """Explore quality: remove what matters most, as methods do; slide the picture, maps follow.

    ``methods``: one to six, LRP, integrated gradients, gradient times input and saliency unless
    given. ``patch``: the side of a patch in pixels, a seventh of the picture unless given;
    ``n_patches``: how many are removed, 20 at most; ``fill`` and ``of`` are those of `Selectivity`.

    ``x``: pictures ``(N, ...)``; without them a pad to draw on, with ``strokes`` to begin with, and
    ``digits-cnn`` as the model unless given. ``target``, ``labels``, ``names`` and ``large`` are
    those of :func:`explore`.
    """
    who = "explore_quality"
    about = subject(who, model, x, target, strokes=strokes, labels=labels, names=names, large=large)
    chosen = checked(usual_methods(about.model) if methods is None else methods)
    if patch is None:
        patch = patch_for(x) if x is not None else Game().patch
    return QualityExplorer(about, chosen, Game(patch=patch, n_patches=n_patches, fill=fill, of=of))
