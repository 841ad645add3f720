"""The Sanity explorer: layers forget what they learnt, and the maps are seen to care, or not."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, cast

import ipywidgets as widgets
import torch
from torch import Tensor, nn

from nni_widgets.engine.methods import (
    GradientTimesInput,
    GuidedBackprop,
    IntegratedGradients,
    Method,
    Saliency,
)
from nni_widgets.engine.methods.base import AnyMethod, as_method
from nni_widgets.engine.targets import Target
from nni_widgets.errors import invalid
from nni_widgets.params import as_code, params
from nni_widgets.pictures.explain import Explanation, default_method
from nni_widgets.session import Outcome, Step
from nni_widgets.widgets.bases.scaffold import Parts, Scaffold
from nni_widgets.widgets.explorers.sanity.chart import LikenessChart
from nni_widgets.widgets.explorers.sanity.check import Check, Checked, Checks
from nni_widgets.widgets.explorers.sanity.gallery import Column, sheet_of
from nni_widgets.widgets.explorers.sanity.told import (
    answer,
    digest,
    drawn_anew,
    table,
)
from nni_widgets.widgets.parts.controls import Stepper, button
from nni_widgets.widgets.parts.copied import Names
from nni_widgets.widgets.parts.files import npz
from nni_widgets.widgets.parts.panel import ParameterPanel
from nni_widgets.widgets.parts.panes import labelled
from nni_widgets.widgets.parts.subject import Subject, subject

_WHO, _STEPS = "explore_sanity", 16

Methods = Sequence[AnyMethod] | Mapping[str, AnyMethod]
Selected = tuple[Check, int]


class SanityExplorer(Scaffold[Checked]):
    """Shows maps of a network that forgets, from the top down; made by :func:`explore_sanity`.

    ``n_layers`` is how many layers are drawn anew; ``seed``, ``independent``, ``similarity`` and
    ``absolute`` say how, and how two maps are compared. ``methods`` are those that are checked.
    """

    opener = f"nni.{_WHO}"
    captions: ClassVar[Mapping[str, str]] = {
        "nn-likeness": "chart: how like the first map each one stays, over the layers drawn anew"
    }

    def __init__(self, subject: Subject, methods: Methods | None) -> None:
        self._given = methods
        self.methods = named(default_methods(subject.model) if methods is None else methods)
        self._checks = Checks(subject.model, self.methods)
        self._columns = [Column(name, at) for at, name in enumerate(self.methods)]
        self._chart = LikenessChart(len(self.methods), self._choose)
        self._layers = Stepper("layers", 1, self._ask, "nn-n_layers")
        self._panel = ParameterPanel(Check(), lambda _: self._ask(), self._refuse)
        self._words, self._table, self._answer = (
            widgets.HTML().add_class("nn-words").add_class(f"nn-{name}")
            for name in ("drawn-anew", "curves", "answer")
        )
        self._asked = False
        self._scores_of: Explanation | None = None
        super().__init__(subject)

    @property
    def n_layers(self) -> int:
        """How many layers are drawn anew, from the top."""
        return self._layers.value

    @n_layers.setter
    def n_layers(self, number: int) -> None:
        current = self._source.current()
        if current is not None:
            self._layers.fit(len(self._checks.layers_of(current[1])) + 1, self.n_layers)
        self._layers.value = number

    @property
    def check(self) -> Check:
        """How layers are drawn anew, and how maps are compared."""
        return cast(Check, self._panel.value)

    @property
    def seed(self) -> int:
        """The seed of the random weights."""
        return self.check.seed

    @seed.setter
    def seed(self, seed: int) -> None:
        self._set(seed=seed)

    @property
    def independent(self) -> bool:
        """Whether only one layer is drawn anew, the last of ``n_layers``."""
        return self.check.independent

    @independent.setter
    def independent(self, alone: bool) -> None:
        self._set(independent=alone)

    @property
    def similarity(self) -> str:
        """How two maps are compared: ``"rank"`` or ``"ssim"``."""
        return self.check.similarity

    @similarity.setter
    def similarity(self, similarity: str) -> None:
        self._set(similarity=similarity)

    @property
    def absolute(self) -> bool:
        """Whether maps are compared without their signs."""
        return self.check.absolute

    @absolute.setter
    def absolute(self, absolute: bool) -> None:
        self._set(absolute=absolute)

    def _set(self, **values: Any) -> None:
        self._panel.show(self.check.replace(**values))
        self._ask()

    def _parts(self) -> Parts:
        ask = button("Which maps do not care?", self._reveal)
        ask.add_class("nn-which")
        stepped = [self._chart.widget, self._layers.widget, self._words]
        curves = widgets.VBox([*stepped, self._panel.box])
        gallery = widgets.HBox([column.view for column in self._columns]).add_class("nn-row")
        asked = widgets.HBox([ask, self._answer]).add_class("nn-row")
        below = widgets.VBox([gallery, asked, self._table]).add_class("nn-last")
        return Parts(
            maps=[each for column in self._columns for each in column.maps],
            pictures=[curves.add_class("nn-curve-column"), below],
        )

    def _captions(self) -> Mapping[str, str]:
        named = {key: words for column in self._columns for key, words in column.captions.items()}
        return {**super()._captions(), **named}

    def _selected(self) -> Selected:
        return self.check, self.n_layers

    def _work(self, x: Tensor, target: Target, selected: Selected) -> Iterator[Step[Checked]]:
        check, level = selected
        return self._checks.steps(x, target, check, level)

    def _explained(self, shown: Checked) -> Sequence[Explanation]:
        return shown.explained

    def _size_of(self, shown: Checked) -> int:
        return 2 * super()._size_of(shown)

    def _paint(self, shown: Checked) -> None:
        if self._layers.count != len(shown.layers) + 1:
            self._layers.fit(len(shown.layers) + 1, self.n_layers)
        measure = shown.check.measure
        for column, fate in zip(self._columns, shown.fates.values(), strict=True):
            column.show(fate, shown.level, measure)
        self._chart.show([fate.likeness for fate in shown.fates.values()], shown.level)
        self._words.value = f"<p>{html.escape(drawn_anew(shown))}</p>"
        self._table.value = table(shown)
        self._answer.value = f"<p>{html.escape(answer(shown))}</p>" if self._asked else ""

    def _tell(self, outcome: Outcome[Checked]) -> None:
        shown = outcome.value
        made = self._scored(shown)
        if made is not self._scores_of:
            self._scores.show(made)
            self._scores_of = made
        cost = f"{1000 * outcome.elapsed:.0f} ms" if outcome.finished else "a first picture"
        words = [
            f"predicted {made.predicted[0]} ({float(made.probabilities[0].max()):.2f})",
            f"explained: {made.target_names[0]}",
            f"{len(shown.drawn)} of {len(shown.layers)} layers drawn anew",
            f"{len(shown.fates)} methods: {cost}",
        ]
        self._status.say(" · ".join(words), outcome.generation)

    def _advance(self, outcome: Outcome[Checked]) -> None:
        self._status.advance(self._at_work(), outcome.done, outcome.of, outcome.elapsed)

    def _text_of(self, shown: Checked) -> str:
        return digest(shown)

    def _pngs(self, shown: Checked) -> dict[str, bytes]:
        return {"sanity.png": sheet_of(shown)}

    def _npzs(self, shown: Checked) -> dict[str, bytes]:
        fates = [fate for fate in shown.fates.values() if fate.trained and fate.forgetful]
        if not fates:
            return {}
        nothing = float("nan")
        curves = [[nothing if v is None else v for v in fate.likeness] for fate in fates]
        return {
            "sanity.npz": npz(
                trained=torch.cat([fate.trained.attribution for fate in fates if fate.trained]),
                drawn_anew=torch.cat(
                    [fate.forgetful.attribution for fate in fates if fate.forgetful]
                ),
                likeness=torch.tensor(curves, dtype=torch.float64),
            )
        }

    def _arguments(self, names: Names) -> list[str]:
        if self._given is None:
            return []
        codes = {
            name: names.method(method, f"method_{at}")
            for at, (name, method) in enumerate(self.methods.items(), 1)
        }
        if isinstance(self._given, Mapping):
            return [f"{{{', '.join(f'{name!r}: {code}' for name, code in codes.items())}}}"]
        return [f"[{', '.join(codes.values())}]"]

    def _settings(self, names: Names) -> dict[str, str]:
        check = self.check
        changed = {
            each.name: as_code(getattr(check, each.name))
            for each in params(check)
            if getattr(check, each.name) != each.default
        }
        return changed | ({"n_layers": as_code(self.n_layers)} if self.n_layers else {})

    def _at_work(self) -> str:
        return "Sanity check"

    def _blank(self) -> None:
        for column in self._columns:
            column.clear()
        self._chart.clear()
        self._scores_of = None
        self._words.value = self._table.value = self._answer.value = ""

    def _forget(self) -> None:
        self._panel.reset(Check())
        self._layers.fit(self._layers.count, 0)
        self._asked = False

    def _choose(self, level: int) -> None:
        self._layers.value = min(level, self._layers.count - 1)

    def _reveal(self) -> None:
        self._asked = not self._asked
        self._look()


def default_methods(model: nn.Module) -> tuple[Method, ...]:
    """Those that are looked at unless others are given."""
    integrated = IntegratedGradients(n_steps=_STEPS)
    first = Saliency(), GradientTimesInput(), integrated
    return *first, GuidedBackprop(), default_method(model)


def named(methods: Methods) -> dict[str, Method]:
    """The methods by name: their titles, numbered where they are equal, unless names are given."""
    if not isinstance(methods, (Sequence, Mapping)) or isinstance(methods, str):
        expected, action = "several methods", "Try [nni.Saliency(), nni.LRP()]"
        raise invalid(_WHO, "methods", expected, repr(methods), action)
    if not methods:
        raise invalid(_WHO, "methods", "at least one", "none", "Try [nni.Saliency(), nni.LRP()]")
    if isinstance(methods, Mapping):
        return {str(name): as_method(method, _WHO) for name, method in methods.items()}
    return labelled(as_method(method, _WHO) for method in methods)


def explore_sanity(
    model: nn.Module | None = None,
    x: Tensor | None = None,
    methods: Methods | None = None,
    target: Target = None,
    *,
    strokes: Sequence[Any] = (),
    labels: Sequence[int] | Tensor | None = None,
    names: tuple[str, str] = ("model", "x"),
    large: bool = False,
) -> SanityExplorer:
    """Explore which maps change when a network forgets: layers are drawn anew from the top down.

    ``x``: pictures ``(N, ...)``; without them a pad to draw on, with ``strokes`` to begin with, and
    ``digits-cnn`` as the model unless given. ``methods``: a list, or by name, five well-known ones
    unless given; ``target``, ``labels``, ``names`` and ``large`` are those of :func:`explore`.
    The model itself stays as it is: copies of it forget. Source: Adebayo et al. 2018, sec. 3.
    """
    about = subject(_WHO, model, x, target, strokes=strokes, labels=labels, names=names,
                    large=large)  # fmt: skip
    return SanityExplorer(about, methods)
