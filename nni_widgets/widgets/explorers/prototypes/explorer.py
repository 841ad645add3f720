"""The Prototypes explorer: what a network takes for a class, grown from several starts."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import ipywidgets as widgets
import torch
from torch import Tensor, nn

from nni_widgets.engine.composites import layers
from nni_widgets.engine.synthesis import ActivationMaximization, Logit, Synthesis
from nni_widgets.errors import invalid
from nni_widgets.pictures.explain import output_names
from nni_widgets.pictures.prototype import levels_of
from nni_widgets.pictures.render import Level, picture_png
from nni_widgets.widgets.bases.studio import Stage, Studio
from nni_widgets.widgets.explorers.prototypes.beginnings import MEAN, Beginnings
from nni_widgets.widgets.explorers.prototypes.experts import (
    NOBODY,
    Density,
    experts_as_code,
    experts_for,
)
from nni_widgets.widgets.explorers.prototypes.recipes import CLASS_MEAN, ZERO, Recipe
from nni_widgets.widgets.parts.classes import ClassPicker, ForAClass
from nni_widgets.widgets.parts.controls import SIDE, SIDE_STYLE
from nni_widgets.widgets.parts.copied import Names
from nni_widgets.widgets.parts.files import npz
from nni_widgets.widgets.parts.film import Film
from nni_widgets.widgets.parts.maps import BLANK
from nni_widgets.widgets.parts.objective import ObjectiveCurve, marked, short, without_state
from nni_widgets.widgets.parts.panel import ParameterPanel
from nni_widgets.widgets.parts.quiet import Quiet
from nni_widgets.widgets.parts.weights import weights_of
from nni_widgets.zoo import models

_WHO = "PrototypesExplorer"
_WIDTH, _MAGNIFIED = "168", 6


@dataclass(frozen=True, eq=False)
class Setting:
    """What stays while prototypes are made: the model, its starts, and the experts to be asked.

    ``own_experts`` are those that were given, ``code`` the first arguments of copied code,
    ``preparation`` the lines before it.
    """

    model: nn.Module
    classes: tuple[str, ...]
    beginnings: Beginnings
    starts: tuple[str, ...]
    experts: Mapping[str, Callable[[], Density]]
    code: tuple[str, ...]
    own_experts: Mapping[str, Density] | None = None
    preparation: str = ""
    large: bool = False

    @cached_property
    def choices(self) -> dict[str, tuple[str, ...]]:
        """What the controls offer that depends on the model."""
        try:
            labels = tuple(layers(self.model, self.beginnings.grey()))
        except NotImplementedError:  # what cannot be recorded still has classes
            labels = ()
        centers = (ZERO, CLASS_MEAN) if MEAN in self.beginnings.offered else (ZERO,)
        return {"layer": ("", *labels), "center": centers, "expert": (NOBODY, *self.experts)}

    def expert(self, name: str) -> Density:
        """The density of this name. Raises ``ValueError`` if there is none."""
        if name not in self.experts:
            expected = f"one of {', '.join(map(repr, (NOBODY, *self.experts)))}"
            raise invalid(_WHO, "expert", expected, repr(name), "Give your own as experts={...}")
        return self.experts[name]()


@dataclass(frozen=True)
class Chosen:
    """What is selected: a class and a recipe."""

    target: int
    recipe: Recipe


class PrototypesExplorer(ForAClass, Studio[Synthesis]):
    """Lets prototypes of a class grow, one from each start; made by :func:`explore_prototypes`.

    ``target`` is the class, ``recipe`` all parameters; ``set(l2=0.1, n_steps=100)`` changes some.
    ``made`` is the Synthesis on the screen, one picture for each of ``starts``.
    """

    opener = "nni.explore_prototypes"

    def __init__(self, about: Setting, target: int | str | None, recipe: Recipe) -> None:
        self._about, self._first = about, recipe
        self.starts = about.starts
        self._quiet = Quiet()
        last = len(about.classes) - 1
        self._first_target = min(3, last) if target is None else target
        self._picker = ClassPicker(_WHO, about.classes, self._first_target, self._ask, self._refuse)
        self._scored = widgets.Dropdown(
            description="from", options=self.starts, style=SIDE_STYLE, layout=SIDE
        ).add_class("nn-scored")
        self._scored.observe(lambda _: None if self._quiet else self._look(), "value")
        self._panels = [
            ParameterPanel(part, lambda _: self._ask(), self._refuse, about.choices)
            for part in (recipe.aim, recipe.priors, recipe.making)
        ]
        self._columns = [Column(name, number) for number, name in enumerate(self.starts)]
        self._formula = widgets.HTML().add_class("nn-formula")
        self._curve = ObjectiveCurve(len(self.starts))
        super().__init__(about.large)
        self._begin()

    @property
    def recipe(self) -> Recipe:
        """All parameters: ``recipe.aim``, ``recipe.priors`` and ``recipe.making``."""
        return Recipe(*(panel.value for panel in self._panels))  # type: ignore[arg-type]

    def set(self, **parameters: Any) -> None:
        """Change parameters, those of :func:`explore_prototypes`. Raises ``ValueError``."""
        self._show_recipe(self.recipe.with_parameters(_WHO, parameters))
        self._ask()

    def _stage(self) -> Stage:
        columns = widgets.HBox([column.view for column in self._columns]).add_class("nn-row")
        aim, priors, making = (panel.box.add_class("nn-recipe") for panel in self._panels)
        return Stage(
            pictures=[widgets.VBox([columns, self._formula]), self._curve.widget],
            choices=[widgets.VBox([self._picker.widget, self._scored])],
            controls=[widgets.VBox([aim, priors]), making],
        )

    def _captions(self) -> Mapping[str, str]:
        return {column.name: f"prototype grown from {column.start}" for column in self._columns}

    def _selected(self) -> Chosen:
        return Chosen(self.target, self.recipe)

    def _frames(self, selected: Chosen, last: Synthesis | None) -> Iterator[Synthesis]:
        about, making = self._about, selected.recipe.making
        target, model = selected.target, about.model
        method = selected.recipe.method(
            target, lambda: about.beginnings.mean_of(target), about.expert
        )
        if last is not None:
            return method.resume_steps(model, last)
        box = method.image.box(model)
        start = about.beginnings.batch(self.starts, target, making.picture, making.seed, box)
        return method.steps(model, start)

    def _weights(self) -> Any:
        return weights_of(self._about.model)

    def _paint_frame(self, frame: Synthesis, film: Film[Synthesis]) -> None:
        low, high = levels_of(frame, self._about.model)
        name, shares = self._scored_class(frame, film.selected)
        for column, image, share, reached in zip(
            self._columns, frame.images, shares, frame.objective[-1], strict=True
        ):
            column.paint(image, low, high, f"p({name}) {share:.2f}, objective {short(reached)}")
        self._formula.value = f"<p>maximized: {html.escape(self._said_formula(film.selected))}</p>"
        self._picker.show(frame.probabilities[self.starts.index(self._scored.value)])
        self._curve.show(frame, film)

    def _said_formula(self, chosen: Chosen) -> str:
        return chosen.recipe.formula(self._about.classes[chosen.target])

    def _scored_class(self, frame: Synthesis, chosen: Chosen) -> tuple[str, Tensor]:
        """The class that a film was made for, by name, and its probability in each picture."""
        return self._about.classes[chosen.target], frame.probabilities[:, chosen.target]

    def _said(self, frame: Synthesis) -> str:
        name, shares = self._scored_class(frame, self._made_for)
        each = (f"{p:.2f} from {start}" for p, start in zip(shares, self.starts, strict=True))
        return f"p({name}): {', '.join(each)}"

    def _digest_of(self, frame: Synthesis) -> str:
        name, shares = self._scored_class(frame, self._made_for)
        rows = [
            f"from {start}: p({name}) {share:.2f}, objective {short(value)}"
            for start, share, value in zip(self.starts, shares, frame.objective[-1], strict=True)
        ]
        return "\n".join([f"maximized: {self._said_formula(self._made_for)}", *rows])

    def _frame_pngs(self, frame: Synthesis) -> dict[str, bytes]:
        low, high = levels_of(frame, self._about.model)
        side_by_side = torch.cat(tuple(frame.images), -1)
        words = {"prototypes": self._digest_of(frame), "step": str(frame.step)}
        return {"prototypes.png": picture_png(side_by_side, low, high, _MAGNIFIED, words)}

    def _frame_npzs(self, frame: Synthesis) -> dict[str, bytes]:
        numbers = npz(images=frame.images, logits=frame.logits, objective=frame.objective)
        return {"prototypes.npz": numbers}

    def _kept(self, frame: Synthesis) -> Synthesis:
        return without_state(frame)

    def _bytes_of(self, frame: Synthesis) -> int:
        return frame.images.nbytes + frame.objective.nbytes * (1 + len(frame.terms))

    def _arguments(self, names: Names) -> list[str]:
        own = self._about.own_experts
        experts = [] if own is None else [f"experts={experts_as_code(own, names)}"]
        return [*self._about.code, *experts, f"target={self.target}", *self.recipe.code(names)]

    def _preparation(self) -> str:
        return self._about.preparation

    def _at_work(self) -> str:
        return ActivationMaximization.title

    def _forget(self) -> None:
        self._picker.set(self._first_target)
        with self._quiet:
            self._scored.value = self.starts[0]
        self._show_recipe(self._first)

    def _show_recipe(self, recipe: Recipe) -> None:
        parts = (recipe.aim, recipe.priors, recipe.making)
        for panel, part in zip(self._panels, parts, strict=True):
            panel.reset(part)


class Column:
    """A picture, what it grew from, and how far it has come; ``view`` is the widget."""

    def __init__(self, start: str, number: int) -> None:
        self.start, self.name = start, f"nn-prototype-{number}"
        self._picture = widgets.Image(value=BLANK, width=_WIDTH).add_class("nn-px")
        self._picture.add_class(self.name)
        self._words = widgets.HTML().add_class("nn-words")
        title = widgets.HTML(marked(f"from {start}", number)).add_class("nn-title")
        self.view = widgets.VBox([title, self._picture, self._words]).add_class("nn-view")
        self.view.add_class("nn-column")

    def paint(self, image: Tensor, low: Level, high: Level, words: str) -> None:
        """Show an image without its batch dimension; what has no picture is left out."""
        self._picture.value = picture_png(image, low, high) if image.ndim <= 3 else BLANK
        self._words.value = f"<p>{html.escape(words)}</p>"


def explore_prototypes(
    model: nn.Module | None = None,
    target: int | str | None = None,
    x: Tensor | None = None,
    y: Tensor | None = None,
    *,
    starts: Sequence[str] | None = None,
    experts: Mapping[str, Density] | None = None,
    names: tuple[str, str, str] = ("model", "x", "y"),
    large: bool = False,
    **parameters: Any,
) -> PrototypesExplorer:
    """Explore what a model takes for a class: pictures grow that are most of it, under priors.

    ``model``: any classifier, ``digits-cnn`` unless given; ``target``: a class, by number or name.
    ``x``, ``y``: pictures ``(N, ...)`` and their classes, for starts and class means; digits are
    known. ``starts``: some of ``"noise"``, ``"picture"``, ``"class mean"``, ``"grey"``, all unless
    given. ``experts``: functions that give log p(x), by name, for a model of other pictures than
    digits. ``names``: what model, x and y are called in copied code; ``large``: large type.

    Further parameters say where the controls stand at first: ``objective``
    (``nni.LogProbability()``, ``nni.Logit()``, ``nni.Unit(...)``, ``nni.Channel(...)`` or any
    other), ``l2``, ``center`` (``"zero"`` or ``"class mean"``), ``total_variation``, ``expert``,
    ``expert_weight``, ``n_steps``, ``step_size``, ``image`` (``nni.Pixels()``, ``nni.Fourier()``),
    ``robust``, ``picture``, ``seed``.

    Raises ``ValueError`` for a model whose pictures have no known shape, and for what is not legal.
    """
    if len(names) != 3:
        expected, action = "three, of model, x and y", "Try names=('model', 'x', 'y')"
        raise invalid(_WHO, "names", expected, repr(names), action)
    code, preparation = [names[0]], ""
    if model is None:
        model, preparation = (
            models.load("digits-cnn"),
            f'{names[0]} = nni.models.load("digits-cnn")\n',
        )
    code += [f"{key}={name}" for key, name, given in zip("xy", names[1:], (x, y), strict=True)
             if given is not None]  # fmt: skip
    beginnings = Beginnings(_WHO, model, x, y)
    grey = beginnings.grey()
    logits = next(ActivationMaximization(Logit(0)).steps(model, grey)).logits
    about = Setting(
        model,
        output_names(model, logits.shape[1]),
        beginnings,
        beginnings.checked(starts),
        experts_for(_WHO, grey.shape[1:], experts),
        tuple(code + ([f"starts={list(starts)!r}"] if starts is not None else [])),
        experts,
        preparation,
        large,
    )
    return PrototypesExplorer(about, target, Recipe().with_parameters(_WHO, parameters))
