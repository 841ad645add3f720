"""How sure a model is of a picture, found out step by step: the answer first, then the reasons."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from nni_widgets.engine.checks import check_input
from nni_widgets.engine.methods.base import model_lock
from nni_widgets.engine.uncertainty import (
    Averaged,
    Dirichlet,
    Ensemble,
    Entropy,
    Prediction,
    Source,
    UncertainAttribution,
    dirichlet,
    uncertain_steps,
)
from nni_widgets.engine.uncertainty.evidential import EVIDENCE
from nni_widgets.engine.uncertainty.thinning import Around
from nni_widgets.errors import invalid
from nni_widgets.pictures.explain import Explanation, explanations, picture_range
from nni_widgets.session import Step
from nni_widgets.widgets.explorers.uncertainty.motion import Motion
from nni_widgets.widgets.explorers.uncertainty.settings import Question, Selected
from nni_widgets.widgets.parts.last import Last

ANGLES = tuple(range(-180, 181, 10))
_NETWORKS_OF_THE_CURVE = 20
_ANGLES_AT_ONCE = 4
_HELD_OUT_AT_ONCE, _NUMBERS_AT_ONCE = 200, 2**20
_WHOLE = 100
_MAPS_FROM, _DOUBT_FROM, _CURVE_FROM, _HELD_OUT_FROM = 15, 50, 60, 85


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Answers to pictures that no training has seen, and their true classes; on the CPU."""

    logits: Tensor
    labels: Tensor


@dataclass(frozen=True, eq=False)
class Doubted:
    """What is known so far about one moved picture.

    ``dirichlet`` is there for an evidential model; ``maps``, ``entropy``, ``curve`` (the
    prediction for each of ``ANGLES``), ``curve_dirichlet`` and ``held_out`` come later.
    """

    x: Tensor
    motion: Motion
    question: Question
    prediction: Prediction
    dirichlet: Dirichlet | None = None
    maps: UncertainAttribution | None = None
    entropy: Explanation | None = None
    curve: Prediction | None = None
    curve_dirichlet: Dirichlet | None = None
    held_out: HeldOut | None = None


Stage = Generator[Step[Doubted], None, Doubted]


class Believed(Around):
    """An evidential model as one whose softmax is what it believes: its logits are log α/S."""

    def forward(self, x: Tensor) -> Tensor:
        """The logarithm of the mean probabilities."""
        logits = self.model(x)
        evidence = EVIDENCE[str(getattr(self.model, "evidence", "softplus"))]
        alpha = evidence(logits) + 1
        return (alpha / alpha.sum(1, keepdim=True)).log()


class Work:
    """Everything that is computed about pictures; only the explorer's thread uses it.

    What has not changed since the last picture is not computed again.
    """

    def __init__(
        self, model: nn.Module, towards: Tensor | None, held_out: tuple[Tensor, Tensor] | None
    ) -> None:
        self._model, self._towards, self._pictures = model, towards, held_out
        self.evidential = isinstance(getattr(model, "evidence", None), str)
        self._answering = Believed(model) if self.evidential else model
        self._prediction: Last[Prediction] = Last(model)
        self._maps: Last[UncertainAttribution] = Last(model)
        self._entropy: Last[Explanation] = Last(model)
        self._curve: Last[tuple[Prediction, Dirichlet | None]] = Last(model)
        self._last_held_out: Last[HeldOut] = Last(model)

    def __call__(self, x: Tensor, selected: Selected) -> Iterator[Step[Doubted]]:
        """The steps, the first one soon."""
        other = None if self._towards is None else self._towards[selected.other, None]
        mixed = selected.motion.mixed(x, other)
        shown = yield from self._answered(mixed, selected)
        shown = yield from self._explained(shown, selected)
        if shown.curve is None and mixed.ndim == 4:
            shown = yield from self._turned_round(shown, mixed)
        for share in self._ask_held_out(mixed):
            yield Step(shown, _part(_HELD_OUT_FROM, _WHOLE - 1, share), _WHOLE)
        yield Step(replace(shown, held_out=self._held_out), _WHOLE, _WHOLE)

    @property
    def _held_out(self) -> HeldOut | None:
        """The answers to the pictures held out, if they are known."""
        return None if self._pictures is None else self._last_held_out.get(None, self._pictures[1])

    def _answered(self, mixed: Tensor, selected: Selected) -> Stage:
        """The answers of the samples to the turned picture, and what is known from before."""
        motion, question = selected.motion, selected.question
        black, _ = picture_range(self._model, mixed)
        moved = motion.turned(mixed, black)
        belief = self._believed(moved)
        known = self._curve.get(_all_but_the_angle(motion, question.cause), mixed)
        curve, curve_belief = known or (None, None)
        for prediction in self._predictions(moved, question.cause):
            check_classes(prediction)
            shown = Doubted(
                moved,
                motion,
                question,
                prediction,
                belief,
                curve=curve,
                curve_dirichlet=curve_belief,
                held_out=self._held_out,
            )
            yield Step(shown, _part(0, _MAPS_FROM, prediction.done / prediction.of), _WHOLE)
        return shown

    def _explained(self, shown: Doubted, selected: Selected) -> Stage:
        """The maps of the samples, then that of the entropy."""
        for maps in self._maps_of(shown.x, selected, int(shown.prediction.predicted)):
            shown = replace(shown, maps=maps)
            yield Step(shown, _part(_MAPS_FROM, _DOUBT_FROM, maps.done / maps.of), _WHOLE)
        for entropy in self._entropies(shown.x, selected.question):
            shown = replace(shown, entropy=entropy)
            share = entropy.result.done / entropy.result.of
            yield Step(shown, _part(_DOUBT_FROM, _CURVE_FROM, share), _WHOLE)
        return shown

    def _turned_round(self, shown: Doubted, mixed: Tensor) -> Stage:
        """The answers at every angle."""
        for share, curve, belief in self._curves(mixed, shown.motion, shown.question.cause):
            shown = replace(shown, curve=curve, curve_dirichlet=belief)
            yield Step(shown, _part(_CURVE_FROM, _HELD_OUT_FROM, share), _WHOLE)
        return shown

    def _asked(self, source: Source) -> nn.Module:
        """The model whose softmax is the probability; an ensemble knows its members itself."""
        return self._model if isinstance(source, Ensemble) else self._answering

    def _believed(self, x: Tensor) -> Dirichlet | None:
        if not self.evidential:
            return None
        with model_lock:
            return dirichlet(self._model, x)

    def _predictions(self, x: Tensor, source: Source) -> Iterator[Prediction]:
        known = self._prediction.get(source, x)
        if known is not None:
            yield known
            return
        for prediction in source.steps(self._asked(source), x):
            yield prediction
        self._prediction.keep(source, x, prediction)

    def _maps_of(
        self, x: Tensor, selected: Selected, predicted: int
    ) -> Iterator[UncertainAttribution]:
        question = selected.question
        target = predicted if selected.target is None else selected.target
        key = question.method, question.cause, target
        known = self._maps.get(key, x)
        if known is not None:
            yield known
            return
        for maps in uncertain_steps(self._model, x, question.method, question.cause, target):
            yield maps
        self._maps.keep(key, x, maps)

    def _entropies(self, x: Tensor, question: Question) -> Iterator[Explanation]:
        key = question.doubt, question.cause
        known = self._entropy.get(key, x)
        if known is not None:
            yield known
            return
        averaged = Averaged(self._asked(question.cause), question.cause)
        for entropy in explanations(averaged, x, question.doubt, Entropy()):
            yield entropy
        self._entropy.keep(key, x, entropy)

    def _curves(
        self, mixed: Tensor, motion: Motion, source: Source
    ) -> Iterator[tuple[float, Prediction | None, Dirichlet | None]]:
        """Share of the work, and the prediction at every angle as soon as it is complete."""
        black, _ = picture_range(self._model, mixed)
        few = _with_few_samples(source)
        logits, alphas = [], []
        for start in range(0, len(ANGLES), _ANGLES_AT_ONCE):
            some = ANGLES[start : start + _ANGLES_AT_ONCE]
            turned = torch.cat([motion.replace(angle=angle).turned(mixed, black) for angle in some])
            share = (start + len(some)) / (len(ANGLES) + 1)
            for prediction in few.steps(self._asked(source), turned):
                answers = prediction.logits
                yield share, None, None
            logits.append(answers)
            believed = self._believed(turned)
            alphas += [] if believed is None else [believed.alpha]
        together = torch.cat(logits, 1)
        made = (
            Prediction(together, len(together)),
            Dirichlet(torch.cat(alphas)) if alphas else None,
        )
        self._curve.keep(_all_but_the_angle(motion, source), mixed, made)
        yield 1.0, *made

    def _ask_held_out(self, like: Tensor) -> Iterator[float]:
        """The model's answers to the pictures held out, once; yields the share that is done."""
        if self._held_out is not None or self._pictures is None:
            return
        pictures, labels = self._pictures
        logits: list[Tensor] = []
        together = min(_HELD_OUT_AT_ONCE, max(1, _NUMBERS_AT_ONCE // pictures[0].numel()))
        for some in pictures.split(together):
            given = some.to(like)
            check_input("explore_uncertainty, held_out", self._model, given)
            with model_lock, torch.inference_mode(False), torch.no_grad():
                answers = self._answering(given)
                logits.append(answers.detach().to("cpu", torch.float64))
            check_labels(labels, answers.shape[1])
            yield sum(map(len, logits)) / len(pictures)
        self._last_held_out.keep(None, labels, HeldOut(torch.cat(logits), labels))


def check_classes(prediction: Prediction) -> None:
    """Raise ``ValueError`` for a model with one logit: it is sure of everything."""
    if prediction.logits.shape[2] == 1:
        expected, action = "several logits", "Give it a logit for each of its two answers"
        raise invalid("UncertaintyExplorer", "the model's output", expected, "one", action)


def check_labels(labels: Tensor, count: int) -> None:
    """Raise ``ValueError`` unless the labels of the pictures held out are among so many classes."""
    wrong = labels[(labels < 0) | (labels >= count)].tolist()
    if wrong:
        expected, action = f"from 0 to {count - 1}", "Give the labels that the model has"
        raise invalid("explore_uncertainty", "the labels held out", expected, wrong[0], action)


def _all_but_the_angle(motion: Motion, source: Source) -> tuple[object, ...]:
    """What a curve over the angle depends on, besides the picture."""
    return motion.right, motion.down, source


def _with_few_samples(source: Source) -> Source:
    """The source with as many samples as a curve needs."""
    if not hasattr(source, "n_samples"):
        return source
    made: Source = source.replace(n_samples=min(source.n_samples, _NETWORKS_OF_THE_CURVE))
    return made


def _part(start: int, end: int, share: float) -> int:
    return max(1, start + int((end - start) * share))
