"""The Noise explorer: one noisy copy, its map, and the mean of many as it grows."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, cast

import ipywidgets as widgets
import torch
from torch import Tensor, nn

from nni_widgets.engine.methods import SmoothGrad
from nni_widgets.engine.methods.fluctuation import Fluctuation, fluctuation
from nni_widgets.engine.methods.noise import deviation, noise
from nni_widgets.engine.targets import Target
from nni_widgets.errors import invalid
from nni_widgets.params import as_code
from nni_widgets.pictures.explain import Explanation, explanations
from nni_widgets.pictures.numbers import number
from nni_widgets.session import Step
from nni_widgets.widgets.bases.scaffold import Parts, Scaffold
from nni_widgets.widgets.parts.charts import LineChart
from nni_widgets.widgets.parts.controls import Stepper
from nni_widgets.widgets.parts.copied import Names
from nni_widgets.widgets.parts.last import Last
from nni_widgets.widgets.parts.maps import MapView, PictureView
from nni_widgets.widgets.parts.panel import ParameterPanel
from nni_widgets.widgets.parts.subject import Subject, subject

_UNSEEN, _PLACES = 0.01, 50


@dataclass(frozen=True, eq=False)
class Shaken:
    """The mean so far, the noisy copy of this number with its own map, and a gradient that shakes.

    ``line`` follows the gradient while the picture changes by a noise that nobody sees; it comes
    last.
    """

    mean: Explanation
    copy: Explanation
    number: int
    line: Fluctuation | None = None


class NoiseExplorer(Scaffold[Shaken]):
    """Shows what noise does to an attribution; made by :func:`explore_noise`.

    ``method`` is the SmoothGrad that is explored, ``copy`` the number of the noisy copy shown.
    """

    opener = "nni.explore_noise"
    captions: ClassVar[Mapping[str, str]] = {
        "nn-noisy": "the noisy copy of the picture",
        "nn-one-map": "heatmap of the noisy copy alone",
        "nn-mean-map": "heatmap: the mean over the noisy copies",
    }

    def __init__(self, subject: Subject, method: SmoothGrad) -> None:
        self._first = checked(method)
        self._last_mean: Last[Explanation] = Last(subject.model)
        self._last_line: Last[Fluctuation] = Last(subject.model)
        self._panel = ParameterPanel(method, self._changed, self._refuse)
        self._noisy = PictureView("a noisy copy", "nn-noisy")
        self._one = MapView("its map", "nn-one-map")
        self._mean = MapView("the mean", "nn-mean-map")
        self._line = LineChart(1, "nn-fluctuation", heights=(-1.0, 1.0))
        self._line_words = widgets.HTML().add_class("nn-words").add_class("nn-fluctuation-words")
        self._number = Stepper("copy", method.n_samples, self._ask)
        super().__init__(subject)

    @property
    def method(self) -> SmoothGrad:
        """The averaging method with its parameters."""
        return cast(SmoothGrad, self._panel.value)

    @method.setter
    def method(self, method: SmoothGrad) -> None:
        self._panel.show(checked(method))
        self._changed(method)

    @property
    def copy(self) -> int:
        """Which of the noisy copies is shown, from 0."""
        return self._number.value

    @copy.setter
    def copy(self, number: int) -> None:
        self._number.value = number

    def _parts(self) -> Parts:
        line = [self._line.widget, self._line_words]
        noisy = widgets.VBox([self._noisy.view, self._number.widget, *line])
        return Parts(
            maps=[self._one, self._mean],
            pictures=[noisy, self._one.view, self._mean.view],
            controls=[self._panel.box],
        )

    def _selected(self) -> tuple[SmoothGrad, int]:
        return self.method, self.copy

    def _work(
        self, x: Tensor, target: Target, selected: tuple[SmoothGrad, int]
    ) -> Iterator[Step[Shaken]]:
        method, number = selected
        of = method.n_samples + 1
        noisy = noisy_copy(method, x, number)
        copy: Explanation | None = None
        for mean in self._means(x, target, method):
            if copy is None:
                *_, copy = explanations(self._model, noisy, method.of, mean.result.selection)
            shown = Shaken(mean, copy, number)
            yield Step(shown, mean.result.done, of)
        yield Step(replace(shown, line=self._line_of(x, target, method.seed)), of, of)

    def _means(self, x: Tensor, target: Target, method: SmoothGrad) -> Iterator[Explanation]:
        """The growing mean; the last one again if only another copy is to be shown."""
        known = self._last_mean.get((method, target), x)
        if known is not None:
            yield known
            return
        for mean in explanations(self._model, x, method, target):
            yield mean
        self._last_mean.keep((method, target), x, mean)

    def _line_of(self, x: Tensor, target: Target, seed: int) -> Fluctuation:
        line = self._last_line.get((target, seed), x)
        if line is None:
            line = fluctuation(self._model, x, target, _PLACES, _UNSEEN, seed)
            self._last_line.keep((target, seed), x, line)
        return line

    def _explained(self, shown: Shaken) -> Sequence[Explanation]:
        return (shown.mean,)

    def _paint(self, shown: Shaken) -> None:
        mean, copy = shown.mean, shown.copy
        self._noisy.entitle(f"noisy copy {shown.number}, predicted {copy.predicted[0]}")
        self._noisy.paint(copy.x[0], mean.low, mean.high)
        self._one.entitle(f"{copy.name} of copy {shown.number}")
        self._one.paint(copy, copy.heatmap())
        self._mean.entitle(f"{mean.name}: {mean.result.done} of {mean.result.of} copies")
        self._mean.paint(mean, mean.heatmap())
        if shown.line is None:
            self._clear_line()
        else:
            self._line_words.value = f"<small>{html.escape(in_words(shown.line))}</small>"
            self._line.show(shown.line.t.cpu().numpy(), share_of(shown.line)[None].cpu().numpy())

    def _clear_line(self) -> None:
        self._line.clear()
        self._line_words.value = ""

    def _text_of(self, shown: Shaken) -> str:
        line = in_words(shown.line) if shown.line else ""
        return f"{shown.mean.digest()}\ncopy {shown.number}: {shown.copy.digest()}\n{line}"

    def _pngs(self, shown: Shaken) -> dict[str, bytes]:
        copy = f"copy-{shown.number}.png"
        return {"mean.png": shown.mean.png(), copy: shown.copy.png()}

    def _npzs(self, shown: Shaken) -> dict[str, bytes]:
        copy = f"copy-{shown.number}.npz"
        return {"mean.npz": shown.mean.npz(), copy: shown.copy.npz()}

    def _arguments(self, names: Names) -> list[str]:
        return [names.method(self.method)]

    def _settings(self, names: Names) -> dict[str, str]:
        return {"copy": as_code(self.copy)} if self.copy else {}

    def _at_work(self) -> str:
        return self.method.title

    def _blank(self) -> None:
        self._noisy.clear()
        self._clear_line()

    def _forget(self) -> None:
        self._panel.reset(self._first)
        self._number.fit(self._first.n_samples, 0)

    def _changed(self, method: SmoothGrad) -> None:
        self._number.fit(method.n_samples, self.copy)
        self._ask()


def checked(method: Any) -> SmoothGrad:
    """The method, if it is one that averages over noise; else raises ``ValueError``."""
    if not isinstance(method, SmoothGrad):
        expected, action = "one that averages over noise", "Try nni.SmoothGrad()"
        raise invalid("NoiseExplorer", "method", expected, repr(method), action)
    return method


def noisy_copy(method: SmoothGrad, x: Tensor, number: int) -> Tensor:
    """The copy of this number among those whose attributions the method averages."""
    return x + deviation(x, method.noise_level) * noise(torch.tensor([number]), x, method.seed)


def share_of(line: Fluctuation) -> Tensor:
    """The share of the largest gradient ``(T,)``, in the channel where it is largest at first."""
    shares = line.share[0]
    return shares[:, shares[0].abs().argmax()]


def in_words(line: Fluctuation) -> str:
    """How a gradient changes while the picture does not."""
    shares = share_of(line)
    low, high = (number(float(end), largest=1, digits=2) for end in (shares.min(), shares.max()))
    turns = int((shares[1:].sign() != shares[:-1].sign()).sum())
    pixel = ", ".join(map(str, reversed(line.pixel[0].tolist())))
    return (
        f"∂f/∂x of pixel ({pixel}) under a noise of {_UNSEEN:g} that nobody sees: {low} to {high} "
        f"of the largest, changes of sign: {turns}"
    )


def explore_noise(
    model: nn.Module | None = None,
    x: Tensor | None = None,
    method: SmoothGrad | None = None,
    target: Target = None,
    *,
    strokes: Sequence[Any] = (),
    labels: Sequence[int] | Tensor | None = None,
    names: tuple[str, str] = ("model", "x"),
    large: bool = False,
) -> NoiseExplorer:
    """Explore what noise does to an attribution, and what is left of it in the mean.

    ``x``: pictures ``(N, ...)``; without them a pad to draw on, with ``strokes`` to begin with, and
    ``digits-cnn`` as the model unless given. ``method``: a SmoothGrad with any method in it;
    ``target``, ``labels``, ``names`` and ``large`` are those of :func:`explore`.
    """
    about = subject(
        "explore_noise", model, x, target, strokes=strokes, labels=labels, names=names, large=large
    )
    return NoiseExplorer(about, SmoothGrad() if method is None else method)
