"""The Uncertainty explorer: move a picture until the model does not know it any more."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import ipywidgets as widgets
from torch import Tensor, nn

from nni_widgets.engine.methods.base import AnyMethod, as_method
from nni_widgets.engine.uncertainty import Prediction, Source, UncertainAttribution
from nni_widgets.errors import invalid
from nni_widgets.params import as_code
from nni_widgets.pictures.explain import default_method, output_names, picture_range
from nni_widgets.pictures.numbers import number
from nni_widgets.pictures.render import picture_png
from nni_widgets.session import Outcome
from nni_widgets.widgets.explorers.uncertainty import told
from nni_widgets.widgets.explorers.uncertainty.asking import Asking
from nni_widgets.widgets.explorers.uncertainty.beside import Beside, beside
from nni_widgets.widgets.explorers.uncertainty.cloud import Cloud
from nni_widgets.widgets.explorers.uncertainty.curve import AngleCurve
from nni_widgets.widgets.explorers.uncertainty.maps import Maps
from nni_widgets.widgets.explorers.uncertainty.reliability import (
    Belief,
    ReliabilityView,
    fitted,
)
from nni_widgets.widgets.explorers.uncertainty.settings import (
    Explained,
    Question,
    checked_target,
    source_for,
)
from nni_widgets.widgets.explorers.uncertainty.work import Doubted, HeldOut
from nni_widgets.widgets.parts.controls import button
from nni_widgets.widgets.parts.files import npz
from nni_widgets.widgets.parts.maps import PictureView
from nni_widgets.widgets.parts.subject import Subject, subject
from nni_widgets.zoo import models

_MODEL = "digits-dropout"


class UncertaintyExplorer(Asking):
    """Shows how sure a model is of a picture, and why; made by :func:`explore_uncertainty`.

    ``angle``, ``right``, ``down``, ``morph`` and ``towards`` (the number of the other picture) move
    the picture; ``source``, ``method``, ``doubt``, ``target`` and ``temperature`` are what is
    asked; ``fit()`` fits the temperature. ``prediction`` and ``attribution`` are what is shown.
    """

    opener = "nni.explore_uncertainty"
    captions: ClassVar[Mapping[str, str]] = {
        "nn-input": "the picture as it is",
        "nn-moved": "the picture as it is moved, which the model sees",
        "nn-other": "the other picture, which is morphed towards",
        "nn-cloud": "chart: the probability that each sample gives to each class",
        "nn-angle-curve": "chart: probabilities and doubt at every angle",
        "nn-reliability": "chart: accuracy against confidence",
        "nn-confidence": "chart: how many pictures have which confidence",
        "nn-mean-map": "heatmap: the mean of the samples' maps",
        "nn-deviation-map": "heatmap: the standard deviation of the samples' maps",
        "nn-agreement-map": "heatmap: the share of the samples that agree with the sign",
        "nn-doubt-map": "heatmap: orange raises the entropy, purple lowers it",
        "nn-scale": "the scale of the heatmap",
    }

    def __init__(
        self, subject: Subject, question: Question, target: Explained, pictures: Beside
    ) -> None:
        self._moved = PictureView("moved", "nn-moved")
        self._cloud, self._curve = Cloud(), AngleCurve()
        self._cloud_words, self._curve_words = (
            widgets.HTML().add_class("nn-words").add_class(f"nn-{name}-words")
            for name in ("cloud", "curve")
        )
        self._pictured = Maps()
        self._maps = self._pictured.views
        self._reliability = ReliabilityView(self._fit)
        super().__init__(subject, question, target, pictures)
        self.add_class("nn-uncertainty")
        self._source.connect(self._ask, self._cancel)
        self._begin()

    # what can be asked and told from code

    def fit(self) -> None:
        """Set the temperature that fits every other picture held out; the rest judges it.

        Raises ``ValueError`` without such pictures, and as :func:`fit_temperature`.
        """
        held_out = self._held_out or self.drain()._held_out
        if held_out is None:
            expected, action = "given to fit a temperature", "Give held_out=(pictures, labels)"
            raise invalid("UncertaintyExplorer", "held_out", expected, "none", action)
        self.temperature = float(f"{fitted(held_out):.4g}")

    @property
    def _held_out(self) -> HeldOut | None:
        return None if self._outcome is None else self._outcome.value.held_out

    @property
    def prediction(self) -> Prediction | None:
        """The answers of all samples at this temperature; ``None`` while there is no picture."""
        outcome = self._outcome
        return None if outcome is None else self._tempered(outcome.value.prediction)

    @property
    def attribution(self) -> UncertainAttribution | None:
        """The statistics of the samples' maps, as far as they are there."""
        return None if self._outcome is None else self._outcome.value.maps

    # where it all stands

    def _layout(self) -> list[widgets.Widget]:
        other = widgets.HBox([self._other.widget, self._other_picture])
        moving = widgets.VBox([self._motion.box, other, self._cloud_words])
        turning = widgets.VBox([self._curve.widget, self._curve_words]).add_class("nn-curve")
        question = widgets.VBox([self._target, self._question.box]).add_class("nn-controls")
        calibration = widgets.VBox([self._calibration.box, self._reliability.widget])
        return self._stacked(
            [
                [self._source.widget, self._moved.view, moving.add_class("nn-compact")],
                [self._cloud.widget, turning],
                [widgets.HBox([view.view for view in self._maps]).add_class("nn-four")],
            ],
            [question, calibration.add_class("nn-compact")],
            first=[button("Cancel", self._cancel)],
        )

    # from a change to a picture

    def _show(self, outcome: Outcome[Doubted]) -> None:
        with self._painting:
            if self._source.current() is not None:
                super()._show(outcome)

    def _tempered(self, prediction: Prediction) -> Prediction:
        if self.temperature == 1:
            return prediction
        return replace(prediction, logits=prediction.logits / self.temperature)

    def _paint(self, shown: Doubted) -> None:
        prediction = self._tempered(shown.prediction)
        self._offer(output_names(self._model, prediction.logits[0].shape[1]))
        self._moved.entitle(str(shown.motion))
        levels = picture_range(self._model, shown.x)
        self._moved.paint(shown.x[0], *levels)
        if self._beside.towards is not None and shown.x.ndim == 4:
            other = self._beside.towards[self._other.value]
            self._other_picture.value = picture_png(other, *levels)
        self._cloud.show(prediction, shown.dirichlet, self._classes)
        self._cloud_words.value = _paragraphs(self._answers(shown))
        self._pictured.show(shown, self._classes)
        self._paint_curve(shown)
        self._paint_reliability(shown)

    def _paint_curve(self, shown: Doubted) -> None:
        self._curve.mark(shown.motion.angle)
        self._curve.dim(shown.curve is None)
        if shown.curve is not None:
            lines = self._lines(shown, shown.curve)
            self._curve.show(*lines, self._classes)
            self._curve_words.value = _paragraphs([told.turning(*lines, self._classes)])

    def _paint_reliability(self, shown: Doubted) -> None:
        if shown.held_out is not None:
            self._reliability.show(Belief.of(shown.held_out, self.temperature))

    def _lines(self, shown: Doubted, curve: Prediction) -> tuple[Tensor, Tensor, str]:
        """The probabilities at every angle, the doubt there from 0 to 1, and its name."""
        curve = self._tempered(curve)
        if shown.curve_dirichlet is not None:
            return curve.probabilities, shown.curve_dirichlet.uncertainty.double().cpu(), "u"
        share = told.share_of_entropy(curve)
        return curve.probabilities, share, "H / log K"

    def _answers(self, shown: Doubted) -> list[str]:
        prediction = self._tempered(shown.prediction)
        said = [told.answer(prediction, self._classes), told.doubt(prediction, len(self._classes))]
        if shown.dirichlet is not None:
            said.append(told.evidence(shown.dirichlet, self._classes))
        if self.temperature != 1:
            said.append(f"At temperature {number(self.temperature)}; the maps are those at 1.")
        return said

    def _show_nothing(self) -> None:
        self._moved.clear()
        self._cloud.clear()
        self._curve.clear()
        self._pictured.clear()
        self._cloud_words.value = self._curve_words.value = ""
        self._status.say(self._source.empty)

    def _size_of(self, shown: Doubted) -> int:
        maps = 0 if shown.maps is None else 8 * shown.maps.mean.numel()
        curve = 0 if shown.curve is None else shown.curve.logits.numel()
        return 8 * (maps + curve + shown.prediction.logits.numel() + 4 * shown.x.numel())

    # words

    def _tell(self, outcome: Outcome[Doubted]) -> None:
        answer = told.answer(self._tempered(outcome.value.prediction), self._classes)
        when = f"{1000 * outcome.elapsed:.0f} ms" if outcome.finished else "more is coming"
        self._status.say(f"{answer} · {when}", outcome.generation)

    def _text_of(self, shown: Doubted) -> str:
        lines = [f"{as_code(shown.question.cause)}, {shown.motion}", *self._answers(shown)]
        lines += self._pictured.digest(shown, self._classes)
        if shown.curve is not None:
            lines.append(told.turning(*self._lines(shown, shown.curve), self._classes))
        if shown.held_out is not None:
            lines.append(str(Belief.of(shown.held_out, self.temperature)))
        return "\n".join(lines)

    def _advance(self, outcome: Outcome[Doubted]) -> None:
        self._status.advance(self._at_work(), outcome.done, outcome.of, outcome.elapsed)

    def _say_cancelled(self) -> None:
        if self._source.current() is not None:
            self._status.say("Cancelled. What is shown is what was ready.")
            self._dim()

    def _dim(self) -> None:
        self._pictured.dim()

    # what the user does

    def _retouch(self) -> None:
        """The temperature has changed: nothing is computed again."""
        self._look()
        if self._outcome is not None and not self._status.refused:
            self._tell(self._outcome)

    def _fit(self) -> None:
        try:
            self.fit()
        except ValueError as error:
            self._refuse(error)

    def _hover(self, number: int, x: float, y: float) -> None:
        if number < len(self._maps):
            self._maps[number].hover(x, y)

    def _pngs(self, shown: Doubted) -> dict[str, bytes]:
        words = ". ".join(self._answers(shown))
        levels = picture_range(self._model, shown.x)
        return {"uncertainty.png": self._pictured.png(shown, self._classes, words, levels)}

    def _npzs(self, shown: Doubted) -> dict[str, bytes]:
        kept = {"x": shown.x, "logits": shown.prediction.logits}
        if shown.maps is not None:
            kept |= {"mean": shown.maps.mean, "deviation": shown.maps.deviation}
            kept |= {"agreement": shown.maps.agreement}
        if shown.entropy is not None:
            kept["entropy"] = shown.entropy.attribution
        return {"uncertainty.npz": npz(**kept)}


def _paragraphs(lines: Sequence[str]) -> str:
    return "".join(f"<p>{html.escape(line)}</p>" for line in lines)


def explore_uncertainty(
    model: nn.Module | None = None,
    x: Tensor | None = None,
    source: Source | None = None,
    method: AnyMethod | None = None,
    target: Explained = None,
    *,
    towards: Tensor | None = None,
    held_out: Sequence[Any] | None = None,
    strokes: Sequence[Any] = (),
    labels: Sequence[int] | Tensor | None = None,
    names: tuple[str, str] = ("model", "x"),
    large: bool = False,
) -> UncertaintyExplorer:
    """Explore how sure a model is of a picture that is turned, shifted or mixed with another.

    ``x``: pictures ``(N, ...)``; without them a pad to draw on, with ``strokes`` to begin with, and
    ``digits-dropout`` as the model unless given. ``source``: what makes the model uncertain; unless
    given, its members, its dropout, or noise in the picture. A model that names its ``evidence`` is
    read as evidential. ``method`` explains each sample, ``target``: a class, ``"each"`` for what
    each sample predicts, ``None`` for the class of the mean prediction. ``towards``: pictures to
    mix with, the others of x unless given; ``held_out``: pictures that no training has seen and
    their classes, for the reliability diagram. For a reader of digits both are test digits unless
    given. ``labels``, ``names`` and ``large`` are those of :func:`explore`.

    Raises ``ValueError`` for what is no batch of pictures; what the model cannot do is said in the
    explorer.
    """
    who, preparation = "explore_uncertainty", ""
    if model is None and x is None:
        model = models.load(_MODEL)
        preparation = f'model = nni.models.load("{_MODEL}")\n'
    about = subject(who, model, x, None, strokes=strokes, labels=labels, names=names, large=large)
    about = replace(about, preparation=about.preparation or preparation)
    _, picture = about.source.current() or (None, None)
    question = Question(
        cause=source_for(about.model, picture) if source is None else source,
        method=default_method(about.model) if method is None else as_method(method, who),
    )
    pictures = beside(about.model, x, names[1], towards, held_out)
    return UncertaintyExplorer(about, question, checked_target(target), pictures)
