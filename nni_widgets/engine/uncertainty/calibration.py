"""Whether a model's confidence can be believed, and how one temperature mends it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from nni_widgets.engine.uncertainty.thinning import describe_as
from nni_widgets.errors import invalid
from nni_widgets.params import is_whole

_TOLERANCE = 1e-3


def nll(logits: Tensor, labels: Tensor) -> float:
    """The mean negative log-likelihood of the labels, ``−1/N Σ log softmax(z)_y``, in nats.

    Lower is better; a guess among K classes has log K. Shapes: logits (N, K), labels (N,).
    Raises ``ValueError`` for other shapes, no row, NaN, or a label that is no class.
    """
    logits, labels = _checked("nll", logits, labels)
    return float(nn.functional.cross_entropy(logits, labels))


def brier(probabilities: Tensor, labels: Tensor) -> float:
    """The Brier score ``1/N Σ_n Σ_k (p_nk − [k = y_n])²``, from 0 (sure and right) to 2.

    Shapes: probabilities (N, K), labels (N,). Raises as :func:`reliability`.
    Source: Brier 1950, eq. 2.
    """
    p, labels = _probabilities("brier", probabilities, labels)
    return float((p - nn.functional.one_hot(labels, p.shape[1])).square().sum(1).mean())


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature T > 0 by which softmax(z / T) makes the labels likeliest.

    The negative log-likelihood is convex in 1/T, so its one minimum is found by halving an interval
    of 1/T in float64. T > 1: the model was too sure. Fit it on pictures on which neither the model
    was trained nor the result is reported. No prediction changes: the order of the logits stays.

    Shapes: logits (N, K), labels (N,). Raises ``ValueError`` as :func:`nll`, where all labels are
    one class, and where there is no minimum: every label has the largest logit (any smaller T would
    be likelier), or the logits know no better than a guess (T would be infinite).
    Source: Guo et al. 2017, sec. 4.2.
    """
    logits, labels = _checked("fit_temperature", logits, labels)
    if len(labels.unique()) == 1:
        expected, given = "pictures of several classes", f"{len(labels)} of class {int(labels[0])}"
        raise _refused("the calibration set", expected, given, "Take a mixed set")
    if not bool((logits.amax(1) > logits.gather(1, labels[:, None])[:, 0]).any()):
        expected, given = "a set with at least one error", f"{len(labels)} answers, all right"
        raise _refused("the calibration set", expected, given, "Take more pictures")
    if _slope(logits, labels, 0.0) >= 0:
        expected, given = "logits that know more than a guess", "logits that do not"
        raise _refused("the logits", expected, given, "Check that the labels belong to them")
    hot, cold = 0.0, 1.0
    while _slope(logits, labels, cold) < 0:
        cold *= 2
    while hot < (middle := (hot + cold) / 2) < cold:
        hot, cold = (middle, cold) if _slope(logits, labels, middle) < 0 else (hot, middle)
    return 2 / (hot + cold)


class Tempered(nn.Module):
    """A model whose logits are divided by a temperature; the model itself stays as it is.

    It has the model's ``classes``, ``low`` and ``high``, where there are some. Raises
    ``ValueError`` unless it is a module and the temperature a finite number above zero.
    """

    def __init__(self, model: nn.Module, temperature: float) -> None:
        super().__init__()
        if not isinstance(model, nn.Module):
            given = type(model).__name__
            raise invalid("Tempered", "model", "a torch.nn.Module", given, "Pass the module")
        if not _is_temperature(temperature):
            expected, action = "a finite number above 0", "Fit one by fit_temperature"
            raise invalid("Tempered", "temperature", expected, repr(temperature), action)
        self.model, self.temperature = model, temperature
        self.training = model.training
        describe_as(self, model)

    def forward(self, x: Tensor) -> Tensor:
        """The logits of x, divided by the temperature."""
        return cast(Tensor, self.model(x)) / self.temperature


@dataclass(frozen=True, eq=False)
class Reliability:
    """Confidence against accuracy, in M bins of equal width: what a reliability diagram shows.

    Bin m holds the predictions with a confidence in ((m − 1)/M, m/M]. ``counts``, ``confidence``
    and ``accuracy`` are (M,); an empty bin has NaN in the last two.
    """

    edges: Tensor
    counts: Tensor
    confidence: Tensor
    accuracy: Tensor

    @property
    def ece(self) -> float:
        """The expected calibration error, ``Σ_m n_m/N |acc_m − conf_m|`` (Guo 2017, eq. 3)."""
        return float((self._gaps * self.counts).nansum() / self.counts.sum())

    @property
    def mce(self) -> float:
        """The maximum calibration error, ``max_m |acc_m − conf_m|`` (Guo 2017, eq. 5)."""
        return float(self._gaps.nan_to_num().max())

    @property
    def _gaps(self) -> Tensor:
        return (self.accuracy - self.confidence).abs()


def reliability(probabilities: Tensor, labels: Tensor, n_bins: int = 15) -> Reliability:
    """How often predictions of each confidence are right.

    Confidence is the largest probability of a row. Shapes: probabilities (N, K), labels (N,).
    Raises ``ValueError`` for other shapes, no row, rows that are no probabilities, a label that is
    no class, or no bin. Source: Guo et al. 2017, sec. 2, eq. 1-3.
    """
    p, labels = _probabilities("reliability", probabilities, labels)
    if not is_whole(n_bins) or n_bins < 1:
        expected = "a whole number of at least 1"
        raise invalid("reliability", "n_bins", expected, repr(n_bins), "Try 15")
    confidence, predicted = p.max(1)
    edges = torch.arange(n_bins + 1, dtype=p.dtype, device=p.device) / n_bins
    precision = _precision(probabilities)  # 0.8 is on an edge in the numbers' own
    bins = torch.bucketize(confidence.to(precision), edges[1:-1].to(precision))
    counts = bins.bincount(minlength=n_bins)

    def mean_of(numbers: Tensor) -> Tensor:
        return bins.bincount(numbers, minlength=n_bins) / counts

    right = (predicted == labels).to(p)
    return Reliability(edges, counts, mean_of(confidence), mean_of(right))


def _is_temperature(given: float) -> bool:
    try:
        return math.isfinite(given) and given > 0
    except (TypeError, ValueError):
        return False


def _slope(logits: Tensor, labels: Tensor, inverse: float) -> float:
    """The derivative of the negative log-likelihood of softmax(z · inverse)."""
    expected = ((logits * inverse).softmax(1) * logits).sum(1)
    return float((expected - logits.gather(1, labels[:, None])[:, 0]).mean())


def _checked(who: str, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Both in the form that the formulas take: float64 (N, K) and int64 (N,)."""
    expected = "numbers (N, K) and labels (N,) of at least one picture"
    kinds = [type(each).__name__ for each in (logits, labels)]
    try:
        logits, labels = torch.as_tensor(logits), torch.as_tensor(labels)
    except (TypeError, ValueError, RuntimeError) as error:
        raise invalid(who, "its input", expected, " and ".join(kinds), "Give tensors") from error
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or not len(labels):
        given = " and ".join(f"shape {tuple(each.shape)}" for each in (logits, labels))
        raise invalid(who, "its input", expected, given, "Check shapes")
    if not bool(logits.isfinite().all()):
        action = "Look at the model's weights"
        raise invalid(who, "its input", "finite", "NaN or infinite numbers", action)
    whole = not (labels.is_floating_point() or labels.dtype == torch.bool)
    if not whole or not 0 <= int(labels.min()) <= int(labels.max()) < logits.shape[1]:
        expected = f"whole numbers from 0 to {logits.shape[1] - 1}"
        raise invalid(who, "labels", expected, f"{labels.dtype} {labels.tolist()[:5]}",
                      "Give class indices")  # fmt: skip
    return logits.detach().double(), labels.long().to(logits.device)


def _probabilities(who: str, given: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    p, labels = _checked(who, given, labels)
    tolerance = max(_TOLERANCE, torch.finfo(_precision(given)).eps)
    if bool((p < 0).any()) or bool(((p.sum(1) - 1).abs() > tolerance).any()):
        expected = "rows of probabilities that sum to 1"
        raise invalid(who, "probabilities", expected, f"sums from {p.sum(1).min():.3g} to "
                      f"{p.sum(1).max():.3g}", "Take the softmax of the logits")  # fmt: skip
    return p, labels


def _precision(given: Tensor) -> torch.dtype:
    """The dtype in which these numbers are rounded."""
    given = torch.as_tensor(given)
    return given.dtype if given.is_floating_point() else torch.float64


def _refused(what: str, expected: str, given: str, action: str) -> ValueError:
    return invalid("fit_temperature", what, expected, given, action)
