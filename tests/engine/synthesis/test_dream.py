"""DeepDream: against steps made by hand, tiles against the whole, stopping and going on."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import nni_widgets as nni
from nni_widgets.engine.synthesis import L2, Channel, Energy, Logit, Objective, TotalVariation
from nni_widgets.engine.synthesis.dream import DeepDream
from nni_widgets.engine.synthesis.robust import Jitter, shaken
from nni_widgets.engine.synthesis.synthesis import Synthesis
from nni_widgets.engine.synthesis.tiles import tiles
from tests.engine.common import assert_near
from tests.engine.test_bad_input import refusal
from tests.engine.test_common import nothing_changes
from tests.oracle.nets import Net


def net(stride: int = 1, seed: int = 0) -> nn.Module:
    """Two convolutions that see 5 pixels (7 with stride 2), and a head for pictures of any size."""
    torch.manual_seed(seed)
    layers = [nn.Conv2d(2, 4, 3, stride, padding=1), nn.ReLU(), nn.Conv2d(4, 5, 3, padding=1),
              nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3)]  # fmt: skip
    return nn.Sequential(*layers).double().eval()


def pictures(*sides: int, n: int = 2) -> Tensor:
    torch.manual_seed(3)
    return torch.rand(n, 2, *sides, dtype=torch.float64)


def rms(x: Tensor) -> Tensor:
    return x.square().mean((1, 2, 3), keepdim=True).sqrt()


QUICK = DeepDream(Energy("2"), n_octaves=2, n_steps=3, jitter=2)


# --- By hand --------------------------------------------------------------------------------------


def by_hand(conv: nn.Conv2d, x: Tensor, n_steps: int, step_size: float, shift: bool) -> Tensor:
    """Steps up the energy of one convolution; its gradient Wᵀ a / numel is written down."""
    for step in range(n_steps):
        shown = shaken(x, (Jitter(2),), 5, step) if shift else x
        a = conv(shown)
        slope = F.conv_transpose2d(a, conv.weight, padding=1) / a[0].numel()
        if shift:
            row, column = moved(step)
            slope = slope.roll((-row, -column), (2, 3))
        x = (x + step_size * slope / rms(slope)).clamp(0, 1)
    return x.detach()


def moved(step: int) -> tuple[int, int]:
    """By how many rows and columns a step's jitter moves the picture."""
    mark = torch.zeros(1, 1, 20, 20)
    mark[..., 10, 10] = 1
    (_, _, row, column), *_ = shaken(mark, (Jitter(2),), 5, step).nonzero().tolist()
    return row - 10, column - 10


@pytest.mark.parametrize("jitter", [0, 2])
def test_one_octave_by_hand(jitter: int) -> None:
    model, x = net(), pictures(9, 11)
    expected = by_hand(model[0], x, 4, 0.1, shift=jitter > 0)
    dream = DeepDream(Energy("0"), n_octaves=1, n_steps=4, step_size=0.1, jitter=jitter, seed=5)
    made = dream(model, x)
    assert_near(made.images, expected, 1e-10)
    assert bool((expected == 0).any() and (expected == 1).any())


def test_the_octaves_by_hand() -> None:
    """Sizes 8 × 10 and 16 × 20: what was dreamt small is enlarged and added to the photographs."""
    model, x = net(), pictures(16, 20)
    small = F.interpolate(x, (8, 10), mode="bilinear", antialias=True)
    dreamt = by_hand(model[0], small, 2, 0.05, shift=False) - small
    begin = (x + F.interpolate(dreamt, (16, 20), mode="bilinear")).clamp(0, 1)
    expected = by_hand(model[0], begin, 2, 0.05, shift=False)
    dream = DeepDream(
        Energy("0"), n_octaves=2, octave_scale=2.0, n_steps=2, step_size=0.05, jitter=0
    )
    assert_near(dream(model, x).images, expected, 1e-10)


def test_the_model_sees_the_octaves_from_small_to_large() -> None:
    sizes: list[tuple[int, ...]] = []
    plain = net()

    def forward(module: nn.Module, x: Tensor) -> Tensor:
        sizes.append(tuple(x.shape[2:]))
        return plain(x)

    model = Net(forward, plain=plain).eval()
    dream = DeepDream(Energy("plain.0"), n_octaves=3, octave_scale=1.5, n_steps=2, keep_every=99)
    work = dream.steps(model, pictures(18, 27))
    next(work)
    sizes.clear()
    list(work)
    assert sizes[:6] == [(8, 12)] * 2 + [(12, 18)] * 2 + [(18, 27)] * 2


def test_a_step_is_as_strong_for_every_layer_and_picture() -> None:
    model, x = net(), 0.4 + 0.2 * pictures(9, 9)
    x[1] = x[1] / 10 + 0.4
    for objective in (Energy("0"), 1e-9 * Energy("2"), 1e9 * Channel("0", 1), Logit(1)):
        step = DeepDream(objective, n_octaves=1, n_steps=1, step_size=0.01)(model, x).images - x
        assert_near(rms(step).flatten(), torch.full((2,), 0.01, dtype=x.dtype), 1e-9)


def test_each_picture_dreams_by_itself() -> None:
    model, x = net(), pictures(12, 13, n=3)
    together = QUICK(model, x)
    for i in range(3):
        alone = QUICK(model, x[i : i + 1])
        assert_near(together.images[i : i + 1], alone.images, 1e-9)
        assert_near(together.objective[:, i], alone.objective[:, 0], 1e-9)


# --- Penalties ------------------------------------------------------------------------------------


def test_a_penalty_is_subtracted() -> None:
    """The ancestor added its regulariser in the ascent, so that the norm was rewarded."""
    model, x = net(), pictures(12, 12)
    plain = DeepDream(Energy("2"), n_octaves=2, n_steps=5)
    held = plain.replace(objective=Energy("2") - 0.1 * L2())
    rewarded = plain.replace(objective=Energy("2") + 0.1 * L2())
    norms = [method(model, x).images.square().sum() for method in (held, plain, rewarded)]
    assert norms[0] < norms[1] < norms[2]


def test_the_slope_of_a_penalty_by_hand() -> None:
    model, x = net(), 0.4 + 0.2 * pictures(9, 9)
    made = DeepDream(-L2(0.25), n_octaves=1, n_steps=1, step_size=0.01)(model, x)
    slope = -2 * (x - 0.25)
    assert_near(made.images, x + 0.01 * slope / rms(slope), 1e-10)
    assert_near(made.objective[0], -(x - 0.25).square().sum((1, 2, 3)), 1e-12)


# --- Tiles ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "size", "overlap"), [(44, 20, 8), (21, 20, 6), (20, 20, 3), (7, 20, 3)]
)
def test_the_inner_parts_cover_the_picture_once(side: int, size: int, overlap: int) -> None:
    x, count = torch.zeros(1, 1, side, side + 5), torch.zeros(side, side + 5)
    for part in tiles(x, size, overlap):
        count[part.inner] += 1
        height, width = part.of(x).shape[2:]
        assert height <= size
        assert part.share == height * width / count.numel()
        for outer, inner, within in zip(part.outer, part.inner, part.within, strict=True):
            assert inner == slice(outer.start + within.start, outer.start + within.stop)
    assert bool((count == 1).all())


@pytest.mark.parametrize("overlap", [0, 1, 4, 8])
@pytest.mark.parametrize("side", range(17, 40))
def test_no_tile_is_a_strip_that_a_model_cannot_take(side: int, overlap: int) -> None:
    parts = tiles(torch.zeros(1, 1, side, 16), 16, overlap)
    assert min(part.outer[0].stop - part.outer[0].start for part in parts) > 8
    if overlap:
        assert all(part.outer[0].start % overlap == 0 for part in parts)
    layers = [nn.Conv2d(2, 4, 7), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)]
    unpadded = nn.Sequential(*layers).double().eval()
    dream = DeepDream(Energy("0"), n_octaves=1, n_steps=1, tile=16, overlap=overlap)
    assert dream(unpadded, pictures(side, 16)).step == 1


@pytest.mark.parametrize(
    "objective",
    [Energy("2"), Channel("2", 3), Energy("0") - 0.01 * TotalVariation() + 0.003 * Energy("2")],
)
@pytest.mark.parametrize("stride", [1, 2])
def test_tiles_equal_the_whole_where_the_layer_sees_half_the_overlap(
    objective: Objective, stride: int
) -> None:
    model, x = net(stride), pictures(44, 36)
    whole = DeepDream(objective, n_octaves=2, octave_scale=2.0, n_steps=3, jitter=3)
    tiled = whole.replace(tile=20, overlap=16)
    expected, made = whole(model, x), tiled(model, x)
    assert_near(made.images, expected.images, 1e-9)
    blind = whole.replace(tile=20, overlap=0)
    assert not torch.allclose(blind(model, x).images, expected.images, atol=1e-5)


def test_no_step_sees_more_than_a_tile() -> None:
    sizes: list[tuple[int, ...]] = []
    plain = net()

    def forward(module: nn.Module, x: Tensor) -> Tensor:
        sizes.append(tuple(x.shape[2:]))
        return plain(x)

    model = Net(forward, plain=plain).eval()
    dream = DeepDream(Energy("plain.2"), n_octaves=1, n_steps=2, tile=16, overlap=8, keep_every=99)
    dream(model, pictures(40, 24))
    assert set(sizes) == {(40, 24), (16, 16)}
    assert sizes.count((40, 24)) == 3  # the classes of the start, and the logits of both looks


# --- What is told ---------------------------------------------------------------------------------


def test_what_is_told_is_of_the_returned_pictures() -> None:
    model, x = net(), pictures(14, 17)
    objective = Energy("2") - 1e-6 * L2()
    frames: list[Synthesis] = list(QUICK.replace(objective=objective).steps(model, x))
    first, last = frames[0], frames[-1]
    assert torch.equal(first.images, x)
    assert [made.step for made in frames] == [0, 5, 6]
    assert all(made.images.shape == x.shape and made.of == 6 for made in frames)
    assert last.objective.shape == (7, 2)
    assert_near(last.logits, model(last.images).detach(), 1e-12)
    energy = model[:3](last.images).square().mean((1, 2, 3)) / 2
    norm = last.images.square().sum((1, 2, 3))
    assert_near(last.objective[-1], (energy - 1e-6 * norm).detach(), 1e-10)
    assert_near(last.terms["Energy(layer='2')"][-1], energy.detach(), 1e-10)
    assert [step for step, _ in last.frames] == [0, 5]
    assert float(last.images.min()) >= 0
    assert float(last.images.max()) <= 1
    assert last.terms["Energy(layer='2')"][-1].sum() > first.terms["Energy(layer='2')"][0].sum()


def test_the_range_is_that_of_the_model() -> None:
    model, x = net(), 4 * pictures(9, 9) - 2
    refusal(lambda: QUICK(model, x), "start", "pixels from 0 to 1", "-1.9")
    model.low, model.high = -2.0, 2.0
    made = DeepDream(Energy("0"), n_octaves=1, n_steps=1, step_size=1e-3, jitter=0)(model, x)
    assert_near(rms(made.images - x).flatten(), torch.full((2,), 4e-3, dtype=x.dtype), 0.05)
    assert float(QUICK.replace(step_size=1.0)(model, x).images.min()) == -2


def test_without_a_start_there_is_a_picture_for_each_target() -> None:
    model = nni.models.load("digits-cnn")
    dream = DeepDream(Logit((3, 5)), n_octaves=1, n_steps=2)
    noise = nni.starts.noise(model, n=2)
    assert torch.equal(dream(model).images, dream(model, noise).images)
    (of_energy,) = DeepDream(n_octaves=1, n_steps=1)(model).images
    assert of_energy.shape == (1, 28, 28)


def test_without_an_objective_a_layer_two_thirds_up_dreams() -> None:
    """conv3 of conv1 … pool3; of a residual net no layer inside a branch."""
    x = nni.data.digits("test")[:1][0]
    for name, expected in (("digits-cnn", "conv3"), ("digits-resnet", "block2.relu2")):
        made = DeepDream(n_octaves=1, n_steps=1)(nni.models.load(name), x)
        assert list(made.terms) == [f"Energy(layer={expected!r})"]


def test_a_flat_objective_leaves_the_pictures_as_they_are() -> None:
    model, x = net(), pictures(8, 8)
    with torch.no_grad():
        model[0].bias.fill_(-100.0)
    made = DeepDream(Channel("1", 0), n_octaves=2, n_steps=2)(model, x)
    assert_near(made.images, x, 1e-12)


# --- Stop, go on, again ---------------------------------------------------------------------------


def test_stopped_and_resumed_is_the_same_to_the_last_bit() -> None:
    model, x = net(), pictures(14, 17)
    dream = QUICK.replace(keep_every=1)
    whole = dream(model, x)
    for stop in range(6):
        made = next(made for made in dream.steps(model, x) if made.step == stop)
        again = dream.resume(model, made)
        assert torch.equal(again.images, whole.images)
        assert torch.equal(again.objective, whole.objective)
        assert again.passes == whole.passes
        assert len(again.frames) == len(whole.frames)


def test_resumed_when_complete_it_dreams_on() -> None:
    model, x = net(), pictures(14, 17)
    dream = QUICK.replace(jitter=0)
    made = dream(model, x)
    more = dream.resume(model, made)
    assert torch.equal(more.images, dream(model, made.images).images)
    assert more.step == more.of == 12
    assert more.objective.shape == (13, 2)
    other = dream.replace(n_octaves=1).resume(model, made)
    assert other.step == 9


def test_the_seed_decides() -> None:
    model, x = net(), pictures(14, 17)
    first = QUICK(model, x)
    torch.manual_seed(99)
    assert torch.equal(QUICK(model, x).images, first.images)
    assert not torch.equal(QUICK.replace(seed=1)(model, x).images, first.images)


def test_nothing_changes() -> None:
    model, x = net(), pictures(30, 14)
    with nothing_changes(model, x):
        QUICK.replace(tile=16, overlap=8)(model, x)
        next(QUICK.steps(model, x))
        with torch.inference_mode():
            QUICK(model, x)
    made = QUICK(model, x)
    kept = made.images.clone()
    QUICK.resume(model, made)
    assert torch.equal(made.images, kept)
    expected = QUICK.resume(model, made).images
    made.images.zero_()
    assert torch.equal(QUICK.resume(model, made).images, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype: torch.dtype) -> None:
    model, x = net().float(), pictures(20, 12).to(dtype)
    made = QUICK(model.to(dtype), x)
    assert made.images.dtype == dtype
    wide = QUICK(model.float(), x.float())
    assert_near(made.images, wide.images, 0.02)


# --- Bad input ------------------------------------------------------------------------------------


def fixed() -> nn.Module:
    """For pictures of 8 × 8 alone, without padding."""
    layers = [nn.Conv2d(2, 4, 5), nn.ReLU(), nn.Conv2d(4, 3, 3), nn.Flatten(), nn.Linear(12, 3)]
    return nn.Sequential(*layers).double().eval()


def test_a_net_for_one_size_dreams_below_its_dense_layers() -> None:
    made = DeepDream(Energy("0"), n_octaves=2, n_steps=2)(fixed(), pictures(8, 8))
    assert bool((made.images != pictures(8, 8)).any())


REFUSED: dict[str, tuple[Callable[[], object], tuple[str, ...]]] = {
    "unknown layer": (lambda: QUICK.replace(objective=Energy("no"))(net(), pictures(9, 9)),
                      ("layer must be one of 0, 1, 2", "'no'")),
    "no maps": (lambda: QUICK.replace(objective=Energy("6"))(net(), pictures(9, 9)),
                ("DeepDream: layer '6' must be one of maps", "(1, 3)")),
    "too small": (lambda: DeepDream(Energy("0"))(fixed(), pictures(3, 3)),
                  ("x must be an input that the model can take", "(2, 2, 3, 3)")),
    "octaves too small": (lambda: DeepDream(Energy("0"), n_octaves=5)(fixed(), pictures(8, 8)),
                          ("n_octaves must be so few", "which makes it 2 x 2 pixels")),
    "octaves of a class": (lambda: DeepDream(Logit(1), n_octaves=2)(fixed(), pictures(8, 8)),
                           ("n_octaves must be so few", "which makes it 6 x 6 pixels")),
    "no start": (lambda: QUICK(net()), ("DeepDream: start must be given", "got none")),
    "one picture": (lambda: QUICK(net(), pictures(9, 9)[0]), ("(N, C, H, W)", "x[None]")),
    "no tensor": (lambda: QUICK(net(), "koala.jpg"), ("x must be a tensor", "got str")),
    "bytes": (lambda: QUICK(net(), torch.zeros(1, 2, 9, 9, dtype=torch.uint8)), ("uint8",)),
    "no objective": (lambda: DeepDream("0"), ("DeepDream: objective must be", "got '0'")),
    "nothing to do": (lambda: DeepDream(0 * Logit(1)),
                      ("DeepDream: objective must be a sum of at least one term",)),
    "jitter": (lambda: DeepDream(jitter=1001), ("DeepDream: jitter must be", "to 1,000")),
    "overlap": (lambda: DeepDream(tile=64, overlap=64), ("overlap must be below tile, 64",)),
    "octaves": (lambda: DeepDream(n_octaves=0), ("n_octaves must be", "got 0")),
    "other octaves": (lambda: QUICK.replace(n_octaves=3).resume(net(), begun()),
                      ("made in the same octaves and steps, (3, 1.4, 3)", "(2, 1.4, 3)")),
    "not a dream": (lambda: QUICK.resume(net(), pictures(9, 9)), ("what is resumed", "Tensor")),
}  # fmt: skip


def begun() -> Synthesis:
    return next(QUICK.steps(net(), pictures(9, 9)))


@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_is_one_sentence(name: str) -> None:
    call, words = REFUSED[name]
    refusal(call, *words)
