"""The Method explorer: a picture, a model, a method or two, and why the model decided so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

from torch import Tensor

from nni_widgets.engine.methods import Method, as_method
from nni_widgets.engine.methods.base import AnyMethod
from nni_widgets.engine.targets import Target
from nni_widgets.params import as_code
from nni_widgets.pictures.explain import Explanation, explanations
from nni_widgets.pictures.heatmap import Scale, scale_of
from nni_widgets.session import Step
from nni_widgets.widgets.bases.live import opened
from nni_widgets.widgets.bases.scaffold import Parts, Scaffold
from nni_widgets.widgets.explorers.method.difference import DifferenceView, difference_png
from nni_widgets.widgets.explorers.method.view import View
from nni_widgets.widgets.parts.copied import Names
from nni_widgets.widgets.parts.panes import INPUT, Pane
from nni_widgets.widgets.parts.subject import Subject

Shown = tuple[Explanation, ...]


class Explorer(Scaffold[Shown]):
    """Explains one picture at a time, live; made by :func:`explore` and :func:`draw`.

    ``method``, ``target``, ``compare``, ``one_scale``, ``difference``, ``layer`` and ``overlay``
    can be set; ``drain`` waits until the pictures are there; ``explanation`` is the last one shown;
    ``digest`` is its short text form. Errors are shown in the explorer, which stays usable.
    ``close`` ends its thread and its widgets.
    """

    opener = "nni.explore"
    captions: ClassVar[Mapping[str, str]] = {
        "nn-difference-map": "heatmap: orange where the first method says more than the second"
    }

    def __init__(
        self,
        subject: Subject,
        methods: Sequence[Method],
        method: Method,
        usual: Mapping[str, float],
    ) -> None:
        second = methods[1 % len(methods)]
        self._panes = [
            Pane(methods, each, self._ask, self._refuse, usual) for each in (method, second)
        ]
        self._difference = DifferenceView()
        self._view = View(self._look, self._compared)
        self._show_panes()
        super().__init__(subject)

    @property
    def method(self) -> Method:
        """The selected method with its parameters."""
        return self._panes[0].method

    @method.setter
    def method(self, method: AnyMethod) -> None:
        self._panes[0].set(as_method(method, "Explorer"))
        self._ask()

    @property
    def compare(self) -> Method | None:
        """The method beside the first; ``None`` if there is only one."""
        return self._panes[1].method if self._view.compare else None

    @compare.setter
    def compare(self, method: AnyMethod | None) -> None:
        if method is not None:
            self._panes[1].set(as_method(method, "Explorer"))
        self._view.compare = method is not None
        self._ask()

    @property
    def layer(self) -> str:
        """The layer whose relevance is shown, or ``(input)``. To set it waits for the picture."""
        return self._view.layer

    @layer.setter
    def layer(self, label: str) -> None:
        self.drain()
        self._view.layer = label

    @property
    def overlay(self) -> float:
        """How much the heatmap covers the picture below it, up to 1; 0 shows it alone."""
        return self._view.overlay

    @overlay.setter
    def overlay(self, strength: float) -> None:
        self._view.overlay = strength

    @property
    def one_scale(self) -> bool:
        """Whether two methods that are compared are shown on one scale."""
        return self._view.one_scale

    @one_scale.setter
    def one_scale(self, shared: bool) -> None:
        self._view.one_scale = shared

    @property
    def difference(self) -> bool:
        """Whether A − B is shown while two methods are compared."""
        return self._view.difference

    @difference.setter
    def difference(self, shown: bool) -> None:
        self._view.difference = shown

    def _parts(self) -> Parts:
        maps = [*self._panes, self._difference]
        return Parts(
            maps=maps,
            pictures=[each.view for each in maps],
            choices=[self._view.widget],
            controls=[pane.controls for pane in self._panes],
        )

    @property
    def _active(self) -> list[Pane]:
        return self._panes if self._view.compare else self._panes[:1]

    def _selected(self) -> tuple[Method, ...]:
        return tuple(pane.method for pane in self._active)

    def _work(
        self, x: Tensor, target: Target, selected: tuple[Method, ...]
    ) -> Iterator[Step[Shown]]:
        ready: Shown = ()
        done = 0
        for position, method in enumerate(selected):
            to_come = len(selected) - position - 1
            for made in explanations(self._model, x, method, target):
                result = made.result
                yield Step((*ready, made), done + result.done, done + result.of + to_come)
            ready, done = (*ready, made), done + result.of

    def _explained(self, shown: Shown) -> Shown:
        """The explanations at the layer that is looked at, where the method has relevance there."""
        return tuple(
            made.at(self.layer if self.layer in {row.label for row in made.result.layers} else "")
            for made in shown
        )

    def _paint(self, shown: Shown) -> None:
        self._show_panes()
        self._view.offer([layer.label for layer in reversed(shown[0].result.layers)])
        scale = self._common_scale(shown)
        for pane, made in zip(self._active, shown, strict=False):
            pane.show(made, scale, self.layer, self.overlay)
        for pane in self._active[len(shown) :]:
            pane.dim()
        if len(shown) == 2:
            self._difference.show(*self._explained(shown))
        else:
            self._difference.dim()

    def _common_scale(self, shown: Shown) -> Scale | None:
        if not self._view.one_scale or len(shown) < 2 or self.layer != INPUT:
            return None
        signed = any(made.method.signed for made in shown)
        return scale_of(*(made.heatmap() for made in shown), signed=signed)

    def _pngs(self, shown: Shown) -> dict[str, bytes]:
        if self._common_scale(shown):
            shown = shown[0].share_scale(*shown[1:])
        files = super()._pngs(shown)
        if self.difference and len(shown) == 2:
            both = self._explained(shown)
            picture = difference_png(*both)
            return {**files, "difference.png": picture} if picture else files
        return files

    def _made(self, names: Names, about: list[str]) -> str:
        arguments = [*about, *self._arguments(names), *self._target_as_code(names)]
        settings = self._settings(names)
        if set(settings) <= {"layer"}:
            arguments += [f"layer={layer}" for layer in settings.values()]
            return f"nni.explain({', '.join(arguments)})"
        return opened(f"{self.opener}({', '.join(arguments)})", settings)

    def _arguments(self, names: Names) -> list[str]:
        return [names.method(self.method)]

    def _settings(self, names: Names) -> dict[str, str]:
        look = {}
        if self.compare is not None:
            look["compare"] = names.method(self.compare, otherwise="second_method")
            if not self.one_scale:
                look["one_scale"] = "False"
            if not self.difference:
                look["difference"] = "False"
        if self.layer != INPUT:
            look["layer"] = as_code(self.layer)
        if self.overlay:
            look["overlay"] = as_code(self.overlay)
        return look

    def _at_work(self) -> str:
        return " and ".join(pane.label for pane in self._active)

    def _forget(self) -> None:
        for pane in self._panes:
            pane.reset()
        self._view.reset()
        self._show_panes()

    def _show_panes(self) -> None:
        second = self._panes[1]
        for part in (second.view, second.controls):
            part.layout.display = None if self._view.compare else "none"
        self._difference.view.layout.display = None if self.difference else "none"

    def _compared(self) -> None:
        for of_before in (self._panes[1], self._difference):
            of_before.clear()
        self._show_panes()
        self._ask()
