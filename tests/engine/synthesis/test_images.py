"""What images are made of, where they start and how they are shaken."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nni_widgets.engine.synthesis import (
    ActivationMaximization,
    Code,
    Fourier,
    Jitter,
    Pixels,
    Rotate,
    Scale,
    starts,
)
from nni_widgets.engine.synthesis.box import Box, box_of
from nni_widgets.engine.synthesis.robust import shaken
from nni_widgets.zoo.wrap import wrap
from tests.engine.common import assert_near


class Model(nn.Module):
    """A dense classifier of small pictures that says what it takes."""

    def __init__(self, shape: tuple[int, ...] = (2, 5, 4), low: float = 0.0) -> None:
        super().__init__()
        self.input_shape, self.low, self.high = shape, low, 1.0
        self.dense = nn.Linear(math.prod(shape), 3)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.dense(x.flatten(1))


class Generator(nn.Module):
    """Codes of 3 numbers to small pictures from 0 to 1."""

    def __init__(self, shape: tuple[int, ...] = (2, 5, 4)) -> None:
        super().__init__()
        self.code_size, self.shape = 3, shape
        self.dense = nn.Linear(3, math.prod(shape))
        self.eval()

    def forward(self, z: Tensor) -> Tensor:
        return self.dense(z).sigmoid().reshape(-1, *self.shape)


def test_pixels_are_put_back_into_the_box() -> None:
    model, image = Model(), Pixels()
    box = image.box(model)
    start = torch.rand(3, 2, 5, 4)
    parameters = image.begin("test", model, start, 0)
    assert torch.equal(image.images(parameters, box), start)
    assert torch.equal(image.inside(parameters * 9 - 4, box), (parameters * 9 - 4).clamp(0, 1))


def test_the_box_is_that_of_the_model_or_the_one_given() -> None:
    assert box_of(Model(low=-1.0)) == Box(-1, 1)
    assert box_of(nn.Identity()) == Box(0, 1)
    assert Pixels(low=-3, high=2.5).box(Model()) == Box(-3, 2.5)
    assert Pixels(high=math.inf).box(Model()) == Box(0, math.inf)
    assert Box(0, math.inf).size == 1
    assert Box(-1, 3).size == 4


def test_a_range_per_channel_is_told_unless_it_is_the_same_for_all() -> None:
    assert box_of(wrap(Model(), low=(-1.0, -1.0), high=2.0)) == Box(-1, 2)
    assert box_of(wrap(Model(), low=0.3, high=(0.7, 0.7))) == Box(0.3, 0.7)
    several = wrap(Model(), low=(0.0, -1.0), high=1.0, input_shape=(2, 5, 4))
    assert Pixels(low=0.0).box(several) == Box(0, 1)
    assert Pixels(low=0.0).begin("test", several, None, 0).shape == (1, 2, 5, 4)
    for act in (lambda: starts.grey(several), lambda: ActivationMaximization()(several)):
        with pytest.raises(ValueError, match="the model's low must be one number for all channels"):
            act()


def test_layers_called_low_and_high_are_no_range() -> None:
    model = Model()
    del model.low, model.high
    model.low = model.high = nn.Linear(2, 2).eval()
    assert box_of(model) == Box(0, 1)
    assert ActivationMaximization(n_steps=1)(model).images.shape == (1, 2, 5, 4)
    (unsaid,) = ActivationMaximization().examine(model)
    assert "the model does not say its range" in unsaid.text


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_black_and_white_lie_in_the_box_however_they_are_rounded(dtype: torch.dtype) -> None:
    for box in (Box(-0.4242, 2.8215), Box(1000.1, 1001.2), Box(-math.inf, 2.8215)):
        ends = torch.tensor([end for end in box if math.isfinite(end)]).to(dtype)
        box.check("test", "start", ends, "Scale it")
        with pytest.raises(ValueError, match="test: start must be pixels from"):
            box.check("test", "start", ends.max() * 1.03, "Scale it")


@pytest.mark.parametrize(
    ("low", "high", "middle"),
    [(-math.inf, math.inf, 0.5), (-math.inf, -2.0, -2.5), (3.0, math.inf, 3.5)],
)
def test_a_box_with_an_open_side_has_starts(low: float, high: float, middle: float) -> None:
    model = Model(low=low)
    model.high = high
    assert bool((starts.grey(model) == middle).all())
    noisy = starts.noise(model)
    assert float(noisy.mean()) == pytest.approx(middle, abs=0.05)
    box_of(model).check("test", "start", noisy, "Scale it")


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 7, 10), (2, 9), (1, 4, 5, 6), (1, 1, 1)])
@pytest.mark.parametrize("decay", [0.0, 1.0, 2.0])
def test_fourier_meets_its_start_and_stays_in_the_box(shape: tuple[int, ...], decay: float) -> None:
    model, image = Model(shape, low=-1.0).double(), Fourier(decay=decay)
    box = image.box(model)
    start = 2 * torch.rand(2, *shape, dtype=torch.float64) - 1
    start[0, 0].flatten()[0] = 1.0
    parameters = image.begin("test", model, start, 0)
    made = image.images(parameters, box)
    assert parameters.shape == made.shape == start.shape
    assert_near(made, start.clamp(-1 + 2 / 512, 1 - 2 / 512), 1e-10)
    wild = image.images(parameters + 30 * torch.randn(start.shape, dtype=torch.float64), box)
    assert bool(((wild >= -1) & (wild <= 1)).all())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_fourier_in_half_precision(dtype: torch.dtype) -> None:
    model, image = Model().to(dtype), Fourier()
    box, start = image.box(model), torch.rand(2, 2, 5, 4).to(dtype)
    start[:, :, 0, 0], start[:, :, 0, 1] = 0, 1
    images = image.images(image.begin("test", model, start, 0), box)
    assert images.dtype == dtype
    assert float((images - start).abs().max()) < 0.05


def test_the_spectrum_of_a_fourier_step_falls_with_the_frequency() -> None:
    """A step of every parameter by ±1 has the amplitude 1 / f at frequency f, and size 1."""
    model, image, side = Model((1, 32, 32)).double(), Fourier(), 32
    grey = starts.grey(model)
    start = image.begin("test", model, grey, 0)
    signs = torch.randint(0, 2, start.shape).double() * 2 - 1
    size = 1e-6
    moved = image.images(start + size * signs, image.box(model)) - grey
    assert float(moved.square().mean().sqrt()) == pytest.approx(size, rel=1e-3)
    amplitude = torch.fft.fft2(moved)[0, 0].abs()
    frequency = torch.fft.fftfreq(side).double()
    frequency = (frequency[:, None] ** 2 + frequency**2).sqrt()
    for near in (0.1, 0.2, 0.4):
        ring = (frequency - near).abs() < 0.02
        twice = (frequency - near / 2).abs() < 0.02
        fall = amplitude[twice].square().mean().sqrt() / amplitude[ring].square().mean().sqrt()
        assert float(fall) == pytest.approx(2, rel=0.25)


def test_pixels_and_fourier_without_a_start_begin_with_noise_in_the_box() -> None:
    model = Model()
    for image in (Pixels(), Fourier()):
        box = image.box(model)
        x = image.images(image.begin("test", model, None, 7, 3), box)
        assert x.shape == (3, 2, 5, 4)
        assert_near(x, starts.noise(model, seed=7, n=3), 1e-5)


@pytest.mark.parametrize(("low", "high"), [(0.0, 0.5), (-1.0, 1.0), (2.0, 7.0)])
def test_the_noise_of_the_start_is_that_of_its_own_box(low: float, high: float) -> None:
    as_one = starts.noise(Model(), seed=3, n=9)
    for image in (Pixels(low=low, high=high), Fourier(low=low, high=high)):
        box = image.box(Model())
        x = image.images(image.begin("test", Model(), None, 3, 9), box)
        assert_near((x - low) / (high - low), as_one, 1e-5)


def test_a_box_that_is_none_with_the_end_of_the_model_is_refused() -> None:
    for image, given in ((Pixels(low=1.0), "1 to 1"), (Fourier(high=-2.0), "0 to -2")):
        told = f"{type(image).__name__}: the box must be low below high; got {given}. Give both"
        with pytest.raises(ValueError, match=told):
            image.begin("test", Model(), None, 0)


@pytest.mark.parametrize("prior", ["normal", "positive"])
def test_codes(prior: str) -> None:
    model, generator = Model(), Generator()
    image = Code(generator, prior=prior)
    box = image.box(model)
    z = image.begin("test", model, None, 1, 4)
    drawn = starts.codes(generator, 4, 1)
    assert torch.equal(z, drawn.abs() if prior == "positive" else drawn)
    assert torch.equal(image.images(z, box), generator(z))
    assert torch.equal(image.inside(-z, box), 0 * z if prior == "positive" else -z)
    assert image.code_of(z) is z
    assert Pixels().code_of(z) is None


class Shifted(Generator):
    """Says that its pictures are from −1 to 1."""

    low, high = -1.0, 1.0


def no_code_size() -> Generator:
    generator = Generator()
    del generator.code_size
    return generator


BAD_CODES = {
    "training": (
        lambda: Code(Generator().train()),
        None,
        "Code: generator must be in evaluation mode",
    ),
    "no generator": (lambda: Code(), None, "Code: generator must be a module or a function"),
    "a class": (lambda: Code(Generator), None, "Code: generator must be a module or a function"),
    "another range": (
        lambda: Code(Shifted()),
        None,
        "Code: the range of the generator must be that of the model, 0 to 1; got -1 to 1",
    ),
    "another range unsaid": (
        lambda: Code(lambda z: 2 * Generator()(z) - 1),
        torch.ones(1, 3),
        "Code: the answer of generator must be pixels from 0 to 1; got -",
    ),
    "another shape": (
        lambda: Code(Generator((1, 5, 4))),
        None,
        r"Code: the answer of generator must be images of shape \(2, 5, 4\)",
    ),
    "another size of code": (
        lambda: Code(Generator()),
        torch.ones(1, 8),
        r"Code: the input of generator must be one it can take; got shape \(1, 8\)",
    ),
    "an unknown size of code": (
        lambda: Code(no_code_size()),
        None,
        "starts: the size of the generator's codes must be known",
    ),
    "one image for all": (
        lambda: Code(lambda z: torch.zeros(7, 2, 5, 4)),
        torch.ones(2, 3),
        "Code: the answer of generator must be a tensor with 2 rows",
    ),
    "another dtype": (
        lambda: Code(lambda z: Generator()(z).double()),
        torch.ones(2, 3),
        "Code: x must be torch.float32",
    ),
    "negative codes": (
        lambda: Code(Generator(), prior="positive"),
        -torch.ones(1, 3),
        "test: start must be codes of at least 0",
    ),
    "no numbers": (
        lambda: Code(Generator()),
        torch.full((1, 3), torch.nan),
        "test: x must be finite",
    ),
    "no such prior": (lambda: Code(Generator(), prior="flat"), None, "Code: prior must be one of"),
}


@pytest.mark.parametrize(("make", "start", "told"), BAD_CODES.values(), ids=BAD_CODES)
def test_a_generator_that_does_not_fit_is_refused(make, start: Tensor | None, told: str) -> None:
    with pytest.raises(ValueError, match=f"^{told}.*\\.$"):
        make().begin("test", Model(), start, 0)


def test_a_generator_without_a_known_model_shape_is_tried() -> None:
    model = Model()
    del model.input_shape
    for unknown in (model, wrap(model)):
        with pytest.raises(ValueError, match="Code: x must be an input that the model can take"):
            Code(Generator((1, 5, 4))).begin("test", unknown, None, 0)
        assert Code(Generator()).begin("test", unknown, None, 0).shape == (1, 3)


def test_a_generator_set_to_training_later_is_refused() -> None:
    generator = Generator()
    image = Code(generator)
    generator.train()
    with pytest.raises(ValueError, match="Code: generator must be in evaluation mode"):
        image.begin("test", Model(), None, 0)


def test_a_method_of_a_module_in_training_is_refused() -> None:
    generator = Generator().train()
    with pytest.raises(ValueError, match="Code: generator must be in evaluation mode"):
        Code(generator.forward)


def test_the_range_of_a_generator_may_be_given_per_channel() -> None:
    generator = wrap(Generator(), low=(0.0, 0.0), high=(1.0, 1.0))
    z = torch.ones(1, 3)
    assert torch.equal(Code(generator).begin("test", Model(), z, 0), z)
    with pytest.raises(ValueError, match="must be that of the model, -1 to 1; got 0 to 1"):
        Code(generator).begin("test", Model(low=-1.0), z, 0)


def test_images_that_do_not_fit_are_refused() -> None:
    model = Model()
    with pytest.raises(ValueError, match=r"test: start must be pixels from 0 to 1; got .*Pixels"):
        Pixels().begin("test", model, torch.rand(1, 2, 5, 4) - 0.5, 0)
    with pytest.raises(ValueError, match="test: x must be a batch of at least one sample"):
        Pixels().begin("test", model, torch.rand(0, 2, 5, 4), 0)
    with pytest.raises(ValueError, match="Fourier: start must be pictures"):
        Fourier().begin("test", Model((7,)), None, 0)
    with pytest.raises(ValueError, match="Fourier: the box must be closed; got 0 to inf"):
        Fourier(high=math.inf).begin("test", model, torch.rand(1, 2, 5, 4), 0)
    with pytest.raises(ValueError, match="Pixels: low must be below high"):
        Pixels(low=1, high=1)
    with pytest.raises(ValueError, match="Pixels: high must be a number, or None"):
        Pixels(high="white")  # type: ignore[arg-type]


def test_starts() -> None:
    model = Model(low=-1.0).double()
    black, white = starts.grey(model, 0.0), starts.grey(model, 1.0, n=2)
    assert float(black.max()) == -1
    assert white.shape == (2, 2, 5, 4)
    assert float(white.min()) == 1
    assert black.dtype == torch.float64
    assert starts.grey((3, 1, 4, 4)).shape == (3, 1, 4, 4)
    noisy = starts.noise(model, level=0.2, seed=3, n=500)
    assert float(noisy.mean()) == pytest.approx(0, abs=0.01)
    assert float(noisy.std()) == pytest.approx(0.4, rel=0.05)
    assert float(noisy.abs().max()) == 1
    assert torch.equal(noisy[:5], starts.noise(model, level=0.2, seed=3, n=5))
    assert not torch.equal(noisy[0], noisy[1])
    assert not torch.equal(noisy[:5], starts.noise(model, level=0.2, seed=4, n=5))
    codes = starts.codes(Generator(), 400, seed=1)
    assert codes.shape == (400, 3)
    assert float(codes.std()) == pytest.approx(1, rel=0.1)


@pytest.mark.parametrize("of", [nn.Linear(3, 2), 3, (2, 0, 4), "model", (5,)])
def test_starts_for_nothing_known_are_refused(of: object) -> None:
    with pytest.raises(ValueError, match=r"starts: of must be a shape \(N, C, H, W\), or a model"):
        starts.grey(of)  # type: ignore[arg-type]


def test_starts_take_the_whole_numbers_of_numpy() -> None:
    two, three = np.int64(2), np.int64(3)
    expected = starts.noise(Model(), seed=3, n=2)
    assert torch.equal(starts.noise(Model(), seed=three, n=two), expected)
    assert starts.grey((two, three, 4)).shape == (2, 3, 4)
    assert torch.equal(starts.codes(Generator(), two, three), starts.codes(Generator(), 2, 3))


@pytest.mark.parametrize("seed", [-1, 0.5, "a", True, None, 2**40])
def test_a_seed_that_is_none_is_refused(seed: object) -> None:
    told = "starts: seed must be a whole number from 0 to 2,147,483,648; got "
    for of, make in ((Generator(), starts.codes), (Model(), starts.noise)):
        with pytest.raises(ValueError, match=told):
            make(of, seed=seed)  # type: ignore[operator]


def test_starts_of_no_number_are_refused() -> None:
    for n in (0, -1, 1.5, "a", True):
        for of, make in ((Generator(), starts.codes), (Model(), starts.grey)):
            with pytest.raises(ValueError, match="starts: n must be a whole number of at least 1"):
                make(of, n=n)  # type: ignore[operator]
    for level in ("dark", math.nan):
        for make in (starts.grey, starts.noise):
            with pytest.raises(ValueError, match="starts: level must be a finite number; got "):
                make(Model(), level)  # type: ignore[arg-type]


def test_jitter_moves_whole_pixels() -> None:
    x, seen = torch.rand(2, 1, 6, 7), set()
    for step in range(40):
        moved = shaken(x, (Jitter(1),), 0, step)
        fits = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)
                if torch.equal(moved, x.roll((i, j), (2, 3)))]  # fmt: skip
        assert len(fits) == 1
        seen.add(fits[0])
    assert len(seen) == 9


def test_shaking_is_decided_by_seed_and_step_and_is_alike_for_all_images() -> None:
    x = torch.rand(1, 2, 6, 7).expand(3, -1, -1, -1)
    by = (Jitter(2), Rotate(20.0), Scale(0.2))
    moved = shaken(x, by, 1, 5)
    assert torch.equal(moved, shaken(x, by, 1, 5))
    assert torch.equal(moved[0], moved[2])
    assert not torch.equal(moved, shaken(x, by, 1, 6))
    assert not torch.equal(moved, shaken(x, by, 2, 5))
    assert not torch.equal(shaken(x, by, 1, 6), shaken(x, by, 2, 5))
    assert torch.equal(shaken(x, (), 0, 0), x)


def blob(row: float, column: float, height: int = 41, width: int = 61) -> Tensor:
    rows, columns = torch.arange(height)[:, None], torch.arange(width)
    return torch.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 8)[None, None].double()


def middle(x: Tensor) -> tuple[float, float]:
    mass = x[0, 0] / x.sum()
    rows, columns = torch.arange(x.shape[2])[:, None], torch.arange(x.shape[3])
    return float((mass * rows).sum()), float((mass * columns).sum())


def test_rotation_keeps_distances_also_in_oblong_pictures() -> None:
    angles = []
    for step in range(12):
        row, column = middle(shaken(blob(20, 42), (Rotate(30.0),), 0, step))
        assert math.hypot(row - 20, column - 30) == pytest.approx(12, abs=0.05)
        angles.append(math.degrees(math.atan2(row - 20, column - 30)))
    assert -30 <= min(angles) < -5
    assert 5 < max(angles) <= 30


def test_scale_moves_away_from_the_middle() -> None:
    factors = []
    for step in range(12):
        row, column = middle(shaken(blob(26, 38), (Scale(0.3),), 0, step))
        assert (row - 20) / 6 == pytest.approx((column - 30) / 8, abs=0.01)
        factors.append((column - 30) / 8)
    assert 0.7 <= min(factors) < 0.95
    assert 1.05 < max(factors) <= 1.3


@pytest.mark.parametrize("by", [Jitter(2), Rotate(20.0), Scale(0.2)])
def test_shaking_has_a_gradient(by: Jitter | Rotate | Scale) -> None:
    x = torch.rand(1, 1, 5, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda images: shaken(images, (by,), 0, 3), (x,))


def test_shaking_refuses_what_has_no_places() -> None:
    for by in (Jitter(), Rotate(), Scale()):
        with pytest.raises(ValueError, match=f"^{type(by).__name__}: x must be pictures"):
            shaken(torch.rand(2, 3), (by,), 0, 0)


def test_a_padding_of_the_edge_goes_on() -> None:
    even = torch.full((1, 1, 6, 6), 0.3)
    assert_near(shaken(even, (Rotate(45.0), Scale(0.5)), 0, 1), even, 1e-6)
