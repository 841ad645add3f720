"""What makes a model's answer uncertain: dropout, the choice of the network, noisy pictures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Sequence
from typing import Any, ClassVar, Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from nni_widgets.engine.checks import check_input, check_logits, check_model, run
from nni_widgets.engine.memory import counting
from nni_widgets.engine.methods.base import final, model_lock
from nni_widgets.engine.methods.chunks import rows_without_graph
from nni_widgets.engine.methods.noise import deviation, noise
from nni_widgets.engine.uncertainty.prediction import Prediction
from nni_widgets.engine.uncertainty.thinning import Thinned
from nni_widgets.errors import invalid
from nni_widgets.params import Declared, is_whole, param

Mixing = Literal["always", "in order", "never"]
Models = nn.Module | Sequence[nn.Module]

_BUDGET = 8 * 2**20
_LEAST, _MOST = 4, 1024
_TOGETHER = 16
_bytes_per_answer: WeakKeyDictionary[nn.Module, dict[Hashable, int]] = WeakKeyDictionary()


class Versions(ABC):
    """The T versions of a model and its pictures that a source makes.

    ``mixing`` says whether a method may be asked about rows of several versions in one batch:
    always, if it keeps the rows in their order, or never. ``first`` is one of the models.
    """

    mixing: Mixing
    first: nn.Module

    def __init__(self, who: str, number: int) -> None:
        self.who, self.number = who, number

    @abstractmethod
    def logits(self, x: Tensor, which: Tensor) -> Tensor:
        """What these versions answer to x: ``(len(which), N, K)``, differentiable in x."""

    @abstractmethod
    def asked(self, x: Tensor, which: Tensor, sample: Tensor) -> tuple[nn.Module, Tensor]:
        """A model and the pictures to give it: these versions of the samples with these numbers.

        The model is to be used before the next are asked for.
        """

    def rows_at_once(self, x: Tensor) -> int:
        """How many answers fit into memory together."""
        return rows_without_graph(self.who, self.first, x)

    def _answers(self, model: nn.Module, x: Tensor) -> Tensor:
        logits: Tensor = run(self.who, model, x.clone())
        check_logits(self.who, logits)
        return logits


class Source(Declared):
    """Base of what makes a model uncertain; called as ``source(model, x)`` for a `Prediction`.

    A subclass declares its parameters and says in ``versions`` what T models and pictures it makes.
    """

    title: ClassVar[str] = ""

    def __call__(self, model: Models, x: Tensor) -> Prediction:
        """The answers of all samples to x.

        Raises ``ValueError`` for a model or input that does not suit, as a method does.
        """
        return final(self.steps(model, x))

    def steps(self, model: Models, x: Tensor) -> Iterator[Prediction]:
        """Predictions from more and more samples; stop iterating to stop the work."""
        with model_lock, torch.inference_mode(False), torch.no_grad():
            versions = self.versions(model, x)
            x = x.clone() if x.is_inference() else x.detach()
            rows = versions.rows_at_once(x)
        pictures = x.split(max(1, rows // _TOGETHER))
        done = []
        for which in torch.arange(versions.number).split(max(1, rows // len(pictures[0]))):
            with model_lock, torch.inference_mode(False), torch.no_grad():
                done.append(torch.cat([versions.logits(part, which) for part in pictures], 1))
            yield Prediction(torch.cat(done), versions.number)

    def versions(self, model: Models, x: Tensor) -> Versions:
        """The versions of the model and of pictures like x. Raises as a call does."""
        raise NotImplementedError


def check_source(who: str, source: object) -> None:
    """Raise ``ValueError`` unless it is a source; a class is none."""
    if not isinstance(source, Source):
        expected, action = "a source of uncertainty", "Try nni.MCDropout()"
        raise invalid(who, "source", expected, repr(source), action)


class MCDropout(Source):
    """Monte Carlo dropout: the answers of many thinned networks, dropout being left on.

    Sample t is one random network, the same for every picture (`Thinned`): a batch gives what its
    pictures give alone, and a picture that is turned a little meets the same networks. Only dropout
    is random: batch-norm stays as it is, the model's mode and torch's random state are not touched.

    Shape: logits ``(n_samples, N, K)``. Raises ``ValueError`` for a model without dropout.
    Cost: n_samples forward passes of what comes after the first dropout, 1 of what comes before;
    of the whole model if it reads again what came before the first dropout.
    Source: Gal, Ghahramani 2016, sec. 4, eq. 6.
    """

    title: ClassVar[str] = "MC dropout"
    n_samples: int = param(
        100, "number of thinned networks", low=1, high=100_000, slider=(1, 1000), log=True
    )
    seed: int = param(0, "seed of the masks", low=0, high=2**31, slider=(0, 20))

    def versions(self, model: Models, x: Tensor) -> Versions:
        module = _one_model(type(self).__name__, model, x)
        return _ThinnedVersions(type(self).__name__, module, x, self.n_samples, self.seed)


class Ensemble(Source):
    """A deep ensemble: the answers of several networks that were trained from other beginnings.

    The model is a module with ``members``, or a list of models.

    Shape: logits ``(members, N, K)``. Raises ``ValueError`` for a model that is no ensemble.
    Cost: 1 forward pass of each member. Source: Lakshminarayanan et al. 2017, sec. 2.4.
    """

    title: ClassVar[str] = "Ensemble"
    n_members: int | None = param(None, "how many of the members, the first ones; None: all")

    def validate(self) -> None:
        given = self.n_members
        if given is not None and not is_whole(given):
            action = "Try None"
            raise invalid("Ensemble", "n_members", "None or a whole number", repr(given), action)

    def versions(self, model: Models, x: Tensor) -> Versions:
        members = list(self._members(model))
        for member in members:
            check_model("Ensemble", member)
            check_input("Ensemble", member, x)
        count = len(members) if self.n_members is None else self.n_members
        if not 1 <= count <= len(members):
            expected = f"from 1 to {len(members)}, the members of the model"
            raise invalid("Ensemble", "n_members", expected, repr(count), "Try None")
        return _MemberVersions("Ensemble", members[:count], x)

    def _members(self, model: Any) -> Sequence[Any]:
        members = getattr(model, "members", model)
        if not isinstance(members, (list, tuple, nn.ModuleList)) or not len(members):
            expected, given = "a module with members, or a list of models", type(model).__name__
            raise invalid("Ensemble", "model", expected, given, "Use MCDropout for one network")
        return members  # type: ignore[return-value]


class InputNoise(Source):
    """The answers to noisy copies of the picture, σ = noise_level · (max x − min x).

    It tells how much the answer hangs on small changes of the picture; the model itself is not in
    doubt. The same noise as that of `SmoothGrad`; every picture of a batch gets the same.

    Shape: logits ``(n_samples, N, K)``. Cost: n_samples forward passes.
    Source: Ayhan, Berens 2018 (test-time augmentation), for the idea.
    """

    title: ClassVar[str] = "Noise in the picture"
    noise_level: float = param(
        0.1, "standard deviation of the noise, as a share of max − min", low=0, slider=(0, 0.5)
    )
    n_samples: int = param(
        100, "number of noisy copies", low=1, high=100_000, slider=(1, 1000), log=True
    )
    seed: int = param(0, "seed of the noise", low=0, high=2**31, slider=(0, 20))

    def versions(self, model: Models, x: Tensor) -> Versions:
        module = _one_model(type(self).__name__, model, x)
        return _NoisyVersions(module, self)


def _one_model(who: str, model: Any, x: Tensor) -> nn.Module:
    check_model(who, model)
    check_input(who, model, x)
    return model  # type: ignore[no-any-return]


class _ThinnedVersions(Versions):
    """Thinned networks; what comes before the first dropout is computed once where that works."""

    mixing = "in order"

    def __init__(self, who: str, model: nn.Module, x: Tensor, number: int, seed: int) -> None:
        super().__init__(who, number)
        self.first, self._thinned = model, Thinned(model, seed=seed)
        known = _bytes_per_answer.setdefault(model, {})
        key = (x.shape[1:], x.dtype)
        if key not in known:
            known[key] = self._tried(x[:1].detach())
        self._bytes = known[key]

    def logits(self, x: Tensor, which: Tensor) -> Tensor:
        if self._bytes:
            self._thinned.choose(which)
            rows: Tensor = self._thinned.each(x.clone())
            check_logits(self.who, rows)
        else:
            self._thinned.choose(which.repeat_interleave(len(x)))
            rows = self._answers(self._thinned, x.repeat(len(which), *[1] * (x.ndim - 1)))
        if self._thinned.met == 0:
            expected, given = "one with dropout (p > 0)", "a model without"
            action = "Use InputNoise or Ensemble, or train one with nn.Dropout"
            raise invalid(self.who, "the model", expected, given, action)
        return rows.reshape(len(which), len(x), -1)

    def asked(self, x: Tensor, which: Tensor, sample: Tensor) -> tuple[nn.Module, Tensor]:
        same = bool((which == which[0]).all())
        self._thinned.choose(which[:1] if same else which)
        return self._thinned, x[sample]

    def rows_at_once(self, x: Tensor) -> int:
        if not self._bytes:
            return super().rows_at_once(x)
        return min(max(_LEAST, _BUDGET // self._bytes), _MOST)

    def _tried(self, one: Tensor) -> int:
        """The bytes that an answer keeps behind the first dropout; 0 if all must be done again."""
        networks, pictures = torch.arange(2), one.repeat(2, *[1] * (one.ndim - 1))
        self._thinned.choose(networks)
        try:
            with torch.enable_grad(), counting(4) as kept:
                rows = self._thinned.each(pictures.requires_grad_().clone())
        except Exception:  # noqa: BLE001 - whatever the model's own code makes of so many rows
            return 0
        is_whole_batch = isinstance(rows, Tensor) and rows.shape[:1] == (4,)
        return max(1, kept.bytes // 4) if is_whole_batch else 0


class _MemberVersions(Versions):
    """The members of an ensemble."""

    mixing = "never"

    def __init__(self, who: str, members: Sequence[nn.Module], x: Tensor) -> None:
        super().__init__(who, len(members))
        self.first, self._members = members[0], members
        with torch.no_grad():
            classes = {self._answers(member, x[:1]).shape[1] for member in members}
        if len(classes) > 1:
            given = " and ".join(map(str, sorted(classes)))
            action = "Put together networks for the same classes"
            raise invalid(self.who, "the number of classes", "that of all", given, action)

    def logits(self, x: Tensor, which: Tensor) -> Tensor:
        return torch.stack([self._answers(self._members[at], x) for at in which.tolist()])

    def asked(self, x: Tensor, which: Tensor, sample: Tensor) -> tuple[nn.Module, Tensor]:
        return self._members[int(which[0])], x[sample]


class _NoisyVersions(Versions):
    """One model, and noisy copies of the pictures."""

    mixing = "always"

    def __init__(self, model: nn.Module, source: InputNoise) -> None:
        super().__init__(type(source).__name__, source.n_samples)
        self.first, self._source = model, source

    def logits(self, x: Tensor, which: Tensor) -> Tensor:
        sample = torch.arange(len(x)).repeat(len(which))
        _, rows = self.asked(x, which.repeat_interleave(len(x)), sample)
        return self._answers(self.first, rows).reshape(len(which), len(x), -1)

    def asked(self, x: Tensor, which: Tensor, sample: Tensor) -> tuple[nn.Module, Tensor]:
        spread = deviation(x.detach(), self._source.noise_level)
        return self.first, x[sample] + spread[sample] * noise(which, x, self._source.seed)
