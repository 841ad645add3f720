"""Feature inversion: its objective by hand, what comes back of the image, resuming."""

import pytest
import torch
from torch import Tensor, nn

import nni_widgets as nni
from nni_widgets.engine.synthesis import L2, Seen
from nni_widgets.engine.synthesis.inversion import AlphaNorm, Inversion
from tests.engine.common import assert_near
from tests.engine.test_bad_input import refusal
from tests.engine.test_common import nothing_changes


def net() -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    layers = [nn.Conv2d(2, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 5, 3), nn.ReLU(),
              nn.Flatten(), nn.Linear(5 * 6 * 6, 3)]  # fmt: skip
    return nn.Sequential(*layers).double().eval(), torch.rand(2, 2, 8, 8, dtype=torch.float64)


def loss(
    model: nn.Module, z: Tensor, x: Tensor, method: Inversion, low: float, high: float
) -> Tensor:
    """Mahendran, Vedaldi 2015, eq. (1), with the priors as means in shares of the range."""
    wanted, made = (model[:3](images).flatten(1) for images in (x, z))
    shares = (z - low) / (high - low)
    down = torch.zeros_like(z)
    down[:, :, :-1] = shares[:, :, 1:] - shares[:, :, :-1]
    right = torch.zeros_like(z)
    right[..., :-1] = shares[..., 1:] - shares[..., :-1]
    return (
        (made - wanted).square().sum(1) / wanted.square().sum(1)
        + method.bound * (2 * shares - 1).abs().pow(method.alpha).mean((1, 2, 3))
        + method.variation * (down**2 + right**2).pow(method.beta / 2).mean((1, 2, 3))
    )


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1.0, 3.0)])
def test_the_objective_by_hand(low: float, high: float) -> None:
    model, x = net()
    x = low + (high - low) * x
    model.low, model.high = low, high
    method = Inversion("2", variation=0.3, beta=2.0, bound=0.2, alpha=4.0, n_steps=3)
    made = method(model, x)
    expected = -loss(model, made.images, x, method, low, high).detach()
    assert_near(made.objective[-1], expected, 1e-6)


def test_alpha_norm_by_hand() -> None:
    x = torch.rand(3, 2, 4, 4, dtype=torch.float64)
    assert_near(AlphaNorm(2.0)(Seen(x)), L2()(Seen(x)), 1e-12)
    expected = (x - 0.5).abs().pow(6).sum((1, 2, 3))
    assert_near(AlphaNorm(center=0.5)(Seen(x)), expected, 1e-12)


def test_an_early_layer_gives_the_image_back_a_late_one_does_not() -> None:
    model = nni.models.load("digits-cnn")
    x = nni.data.digits("test")[:2][0]
    far = []
    for layer in ("relu1", "fc2"):
        made = Inversion(layer, variation=0.01, n_steps=100)(model, x)
        far.append(float((made.images - x).square().mean() / x.square().mean()))
    assert far[0] < 0.05
    assert far[1] > 4 * far[0]


def test_stopped_and_resumed_is_the_same_to_the_last_bit() -> None:
    model, x = net()
    method = Inversion("2", n_steps=12, keep_every=4)
    with nothing_changes(model, x):
        whole = method(model, x)
    begun = next(made for made in method.steps(model, x) if made.step == 8)
    again = method.resume(model, begun)
    assert torch.equal(again.images, whole.images)
    assert torch.equal(again.objective, whole.objective)
    assert method.replace(n_steps=3).resume(model, whole).step == 15


def test_the_seed_decides_the_start() -> None:
    model, x = net()
    method = Inversion("2", n_steps=1)
    first, again = (next(method.steps(model, x)).images for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(next(method.replace(seed=1).steps(model, x)).images, first)


def test_the_noise_lies_below_a_range_that_is_open_downwards() -> None:
    model, x = net()
    x = -x
    model.low, model.high = -torch.inf, 0.0
    start = next(Inversion("0").steps(model, x)).images
    assert -1.0 <= float(start.min()) < float(start.max()) <= 0.0


def test_bad_input_is_one_sentence() -> None:
    model, x = net()
    refusal(lambda: Inversion("no")(model, x), "layer", "one of 0, 1, 2", "'no'")
    refusal(lambda: Inversion("2")(model), "x must be the images to invert", "nothing")
    refusal(lambda: Inversion("2")(model, "x"), "x must be a tensor", "str")
    refusal(
        lambda: Inversion("2")(model, 255 * x), "Inversion: x must be pixels from 0 to 1", "wrap"
    )
    refusal(lambda: Inversion(3), "layer must be the name", "3")
    made = Inversion("2", n_steps=1)(model, x)
    refusal(lambda: Inversion("0").resume(model, made), "an inversion of layer '0'")
    with torch.no_grad():
        model[0].bias.fill_(-100.0)
    refusal(lambda: Inversion("1", n_steps=1)(model, x), "features", "silent")
