"""What a measure asks its questions of: who complains, and which maps have no order."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import nni_widgets as nni
from nni_widgets.engine.metrics.base import Measured, Metric, Subject
from nni_widgets.engine.metrics.continuity import MaxSensitivity
from nni_widgets.engine.metrics.flipping import Deletion, Selectivity
from nni_widgets.engine.metrics.localisation import PointingGame
from nni_widgets.engine.metrics.randomisation import Randomisation
from nni_widgets.engine.metrics.road import ROAD
from nni_widgets.engine.metrics.sparseness import Sparseness


class Root(nn.Module):
    """A dense layer on roots: at black pixels the gradient is infinite."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(36, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.dense(x.flatten(1).sqrt())


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.ReLU(), nn.Linear(8, 3)).eval()


@pytest.mark.parametrize(
    "metric",
    [
        Selectivity(),
        Selectivity(again=True),
        Deletion(),
        ROAD(),
        MaxSensitivity(n_samples=2),
        Randomisation(),
        PointingGame(boxes=[[0, 0, 2, 2]] * 2),
        Sparseness(),
    ],
    ids=lambda metric: type(metric).__name__,
)
def test_a_map_with_nan_gets_no_score(metric: Metric) -> None:
    x = torch.rand(2, 1, 6, 6)
    x[:, :, :2] = 0
    words = r"^GradientTimesInput: the attribution must be finite; got NaN or infinite numbers\."
    with pytest.raises(ValueError, match=words):
        metric(Root().eval(), x, nni.GradientTimesInput())


@pytest.mark.parametrize(
    "wrong", [torch.tensor(1.0), torch.ones(1), torch.ones(2, 1), [1.0, 2.0], None]
)
def test_a_measure_of_ones_own_gives_one_score_per_sample(wrong: object) -> None:
    class Ours(Metric):
        def _steps(self, subject: Subject) -> Iterator[Measured]:
            yield Measured(wrong, passes=0)  # type: ignore[arg-type]

    words = r"^Ours: the measured values must be a tensor of one score per sample, shape \(2,\)"
    with pytest.raises(ValueError, match=words):
        Ours()(network(), torch.rand(2, 1, 6, 6), nni.Gradient())


def ours(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    return x


@pytest.mark.parametrize(
    ("method", "who"),
    [(nni.LRP(), "LRP"), (ours, "ours"), (torch.rand(2, 1, 6, 6), "metric")],
)
def test_who_complains_is_known_to_the_user(method: object, who: str) -> None:
    x = torch.rand(2, 1, 6, 6)
    with pytest.raises(ValueError, match=f"^{who}: the model must be in evaluation mode"):
        Sparseness()(network().train(), x, method)
    with pytest.raises(ValueError, match=f"^{who}: x must be torch.float32 on cpu, as the model"):
        Sparseness()(network(), x.double(), method)
    with pytest.raises(ValueError, match=f"^{who}: target must be a class from 0 to 2; got 3"):
        Sparseness()(network(), x, method, 3)


@pytest.mark.parametrize("method", [nni.Gradient(), nni.IntegratedGradients(n_steps=2)], ids=repr)
def test_many_pictures_are_explained_some_at_a_time(method: nni.Method) -> None:
    rows: list[int] = []
    model, x = network().double(), torch.rand(100, 1, 6, 6, dtype=torch.float64)
    target = torch.arange(100) % 3
    *_, whole = method.steps(model, x, target)
    model.register_forward_pre_hook(
        lambda _, given: rows.append(len(given[0])) if torch.is_grad_enabled() else None
    )
    found = Subject(model, x, method, target).result
    assert max(rows) <= 32
    torch.testing.assert_close(found.values, whole.values)
    torch.testing.assert_close(found.logits, whole.logits)
    torch.testing.assert_close(found.score, whole.score)
    torch.testing.assert_close(found.reference_score, whole.reference_score)
    assert found.passes == pytest.approx(whole.passes)


def test_an_array_is_an_attribution_too() -> None:
    model, x = network(), torch.rand(2, 1, 6, 6)
    made = nni.LRP()(model, x)
    expected = Selectivity()(model, x, made)
    torch.testing.assert_close(Selectivity()(model, x, made.numpy()), expected)
    found = nni.compare(model, x, [made.numpy(), made], [Selectivity()])
    assert found.methods == ("attribution", "attribution 2", "Random")
    assert bool((found.values[:2, 0] == expected).all())
    with pytest.raises(ValueError, match="metric: the attribution must be a tensor or an array of"):
        Selectivity()(model, x, np.array(["a", "b"]))


@pytest.mark.parametrize("target", [None, nni.Entropy(), lambda f: f[:, 0] - f[:, 1]])
def test_inference_mode_of_the_caller(target: Callable[[Tensor], Tensor] | None) -> None:
    model, x = network(), torch.rand(2, 1, 6, 6)
    expected = Selectivity()(model, x, nni.Gradient(), target)
    with torch.inference_mode():
        found = Selectivity()(model, x + 0, nni.Gradient(), target)
        subject = Subject(model, x + 0, nni.Gradient(), target)
    torch.testing.assert_close(found, expected)
    assert not subject.x.is_inference()
