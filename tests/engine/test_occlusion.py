"""Occlusion: against slow loops and Captum, and what went wrong in an ancestor."""

import itertools
from collections.abc import Callable

import pytest
import torch
from captum.attr import Occlusion as CaptumOcclusion
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from nni_widgets.engine.doctor import diagnose
from nni_widgets.engine.methods.baselines import Blur
from nni_widgets.engine.methods.occlusion import Occlusion, Windows
from nni_widgets.engine.methods.smooth import SmoothGrad
from nni_widgets.engine.targets import Difference
from nni_widgets.pictures.explain import explain
from tests.oracle.nets import NETS, TROUBLE, Net

from .common import DTYPES, TOLERANCE, assert_near, build
from .test_common import nothing_changes

SOUND = [name for name, case in NETS.items() if not case.tags & (TROUBLE | {"stochastic"})]


def starts(side: int, window: int, stride: int) -> list[int]:
    """Every ``stride`` pixels one window, the last one moved back to end at the border."""
    found, start = [], 0
    while start + window < side:
        found.append(start)
        start += stride
    return [*found, side - window]


def by_loops(
    model: nn.Module,
    x: Tensor,
    score: Callable[[Tensor], Tensor],
    window: int,
    stride: int,
    fill: Tensor | float = 0.0,
) -> Tensor:
    """One window of one sample at a time, and a sum and a count at every pixel."""
    sides = x.shape[2:] or x.shape[1:]
    total, count = torch.zeros_like(x), torch.zeros_like(x)
    for i in range(len(x)):
        for corner in itertools.product(*(starts(side, window, stride) for side in sides)):
            inside = (i, ..., *(slice(start, start + window) for start in corner))
            covered = x.clone()
            covered[inside] = torch.as_tensor(fill, dtype=x.dtype).expand_as(x)[inside]
            fall = score(model(x[i : i + 1].clone())) - score(model(covered[i : i + 1]))
            total[inside] += fall.detach()
            count[inside] += 1
    return total / count


def class_0(logits: Tensor) -> Tensor:
    return logits[:, 0]


class Picture(nn.Module):
    """One score per sample by any formula, and its negative."""

    def __init__(self, formula: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.formula = formula
        self.batches: list[Tensor] = []
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        self.batches.append(x)
        score = self.formula(x)
        return torch.stack([score, -score], 1)


def total(x: Tensor) -> Tensor:
    return x.flatten(1).sum(1)


# --- What it computes -----------------------------------------------------------------------------


def test_by_hand() -> None:
    """f = max of four pixels in a row; windows of two: 3 4 | 4 1 | 1 2 covered, f = 2, 3, 4."""
    x = torch.tensor([[[3.0, 4.0, 1.0, 2.0]]])
    model = Picture(lambda x: x.flatten(1).amax(1))
    apart = Occlusion(window=2, stride=2)(model, x, 0)
    assert apart.tolist() == [[[2.0, 2.0, 0.0, 0.0]]]
    overlapping = Occlusion(window=2, stride=1)(model, x, 0)
    assert overlapping.tolist() == [[[2.0, (2 + 1) / 2, (1 + 0) / 2, 0.0]]]


@pytest.mark.parametrize(
    ("window", "stride"), [(1, 1), (2, 1), (2, 2), (3, 2), (3, 3), (3, 1)], ids=str
)
@pytest.mark.parametrize("name", ["plain", "mlp", "conv1d", "conv3d", "branches", "attention"])
def test_against_slow_loops(name: str, window: int, stride: int) -> None:
    model, x = build(NETS[name])
    if min(x.shape[2:] or x.shape[1:]) < window:
        pytest.skip("the picture is smaller than the window")
    for fill in (0.0, 0.7, torch.rand_like(x)):
        method = Occlusion(window=window, stride=stride, fill=fill)
        expected = by_loops(model, x, class_0, window, stride, fill)
        assert_near(method(model, x, 0), expected, 1e-10, fill)


@pytest.mark.parametrize("name", SOUND)
def test_every_network_against_slow_loops(name: str) -> None:
    """Also those that write to their input, gate, or compute with it outside of modules."""
    for dtype in DTYPES:
        model, x = build(NETS[name], dtype)
        method = Occlusion(window=2, stride=2, fill=0.5)
        with nothing_changes(model, x):
            values = method(model, x, 0)
        assert values.dtype == dtype
        assert not values.requires_grad
        assert torch.equal(values, method(model, x, 0))
        exact, x = build(NETS[name])
        expected = by_loops(exact, x.to(dtype).double(), class_0, 2, 2, 0.5)
        size = float(exact(x)[:, 0].detach().norm())
        near = 1e-10 if dtype == torch.float64 else 3e-5
        assert float((values.double() - expected).norm()) <= near * (size + float(expected.norm()))


@pytest.mark.parametrize(("window", "stride"), [(2, 2), (2, 1), (3, 1), (4, 2), (6, 6)], ids=str)
@pytest.mark.parametrize("name", ["plain", "residual", "bottleneck", "gelu", "shared_conv"])
def test_against_captum(name: str, window: int, stride: int) -> None:
    """Where the windows end at the border by themselves: Captum cuts the last one off."""
    model, x = build(NETS[name])
    assert (x.shape[-1] - window) % stride == 0
    theirs = CaptumOcclusion(model).attribute(
        x,
        sliding_window_shapes=(x.shape[1], window, window),
        strides=(x.shape[1], stride, stride),
        baselines=0.3,
        target=1,
    )
    ours = Occlusion(window=window, stride=stride, fill=0.3)(model, x, 1)
    assert_near(ours, theirs.detach(), 1e-6)  # Captum's attributions pass through float32


def test_all_channels_are_covered() -> None:
    """The ancestor covered the first one only: a network that reads the third fell by nothing."""
    x = torch.rand(2, 3, 6, 6)
    for channel in range(3):
        model = Picture(lambda x, c=channel: total(x[:, c]))
        values = Occlusion(window=2, stride=2)(model, x, 0)
        assert torch.allclose(values[:, 0, 0, 0], x[:, channel, :2, :2].sum((1, 2)))
        assert torch.equal(values[:, 0], values[:, 2])


def test_blocks_that_do_not_divide_the_picture() -> None:
    """7 pixels in windows of 3: at 0, 3 and 4; the last two share two columns."""
    x = torch.rand(1, 1, 7, 7, dtype=torch.float64)
    values = Occlusion(window=3, stride=3)(Picture(total), x, 0)[0, 0]
    sums = [[float(x[0, 0, a : a + 3, b : b + 3].sum()) for b in (0, 3, 4)] for a in (0, 3, 4)]
    assert values[0, 0].item() == pytest.approx(sums[0][0])
    assert values[3, 6].item() == pytest.approx(sums[1][2])
    assert values[6, 3].item() == pytest.approx(sums[2][1])
    assert values[5, 5].item() == pytest.approx(sum(sums[a][b] for a in (1, 2) for b in (1, 2)) / 4)


def test_the_map_of_a_colour_picture_is_in_the_unit_of_the_score() -> None:
    """The fall is one number for all channels; their sum would be three times that."""
    model, x = Picture(total), torch.rand(2, 3, 8, 8)
    made = explain(model, x, Occlusion(window=4, stride=4), target=0)
    assert torch.allclose(made.heatmap(1)[0, 0], x[1, :, :4, :4].sum())
    assert made.expected is None


def test_mean_and_blur_cover_with_the_picture_itself() -> None:
    model, x = build(NETS["plain"])
    mean = x.mean((2, 3), keepdim=True)
    assert_near(
        Occlusion(2, 1, "mean")(model, x, 0), by_loops(model, x, class_0, 2, 1, mean), 1e-10
    )
    side = torch.arange(6.0, dtype=torch.float64)
    bell = torch.exp(-((side[:, None] - side) ** 2) / (2 * 1.5**2))
    bell = bell / bell.sum(1, keepdim=True)
    blurred = torch.einsum("hi,wj,ncij->nchw", bell, bell, x)
    expected = by_loops(model, x, class_0, 2, 1, blurred)
    assert_near(Occlusion(2, 1, Blur(sigma=1.5))(model, x, 0), expected, 1e-10)
    assert Occlusion(fill="blur") == Occlusion(fill=Blur())


def test_targets() -> None:
    model, x = build(NETS["plain"])
    method = Occlusion(window=2, stride=2)

    def probability(logits: Tensor) -> Tensor:
        return logits.softmax(1)[:, 2]

    assert_near(method(model, x, probability), by_loops(model, x, probability, 2, 2), 1e-10)
    assert_near(
        method(model, x, Difference(0, 2)), method(model, x, 0) - method(model, x, 2), 1e-12
    )
    single, pixels = build(NETS["plain"], torch.float32)
    assert method(single, pixels, lambda f: f.double()[:, 0]).dtype == torch.float32
    predicted = model(x).argmax(1)
    assert torch.equal(method(model, x), method(model, x, predicted))
    each = torch.cat([method(model, x[:1], 2), method(model, x[1:], 0)])
    assert_near(method(model, x, [2, 0]), each, 1e-12)


@pytest.mark.parametrize("name", ["plain", "bottleneck", "branches", "conv1d", "mlp"])
def test_each_sample_by_itself(name: str) -> None:
    for dtype in DTYPES:
        model, x = build(NETS[name], dtype, batch=3)
        method = Occlusion(window=2, stride=1)
        one_by_one = torch.cat([method(model, row[None]) for row in x])
        assert_near(method(model, x), one_by_one, 10 * TOLERANCE[dtype])


def test_a_model_that_gives_no_gradient() -> None:
    """It needs nothing but calls."""
    for name in ("scripted", *(n for n, case in NETS.items() if "no-grad" in case.tags)):
        model, x = NETS[name].build(), NETS[name].input()
        values = Occlusion(window=2, stride=2)(model, x, 0)
        assert_near(values, by_loops(model, x, class_0, 2, 2), 1e-4, name)


def test_a_model_outside_torch() -> None:
    """``numpy`` takes no input that requires a gradient."""
    model, x = Picture(lambda x: torch.from_numpy(total(x).numpy())), torch.rand(3, 1, 8, 8)
    assert_near(Occlusion()(model, x, 0), Occlusion()(Picture(total), x, 0), 1e-6)


# --- Windows --------------------------------------------------------------------------------------


@st.composite
def windows(draw: st.DrawFn) -> tuple[tuple[int, ...], int, int]:
    sides = tuple(draw(st.lists(st.integers(1, 9), min_size=1, max_size=3)))
    window = draw(st.integers(1, min(sides)))
    return sides, window, draw(st.integers(1, window))


@given(windows())
def test_every_pixel_is_covered_by_complete_windows(
    case: tuple[tuple[int, ...], int, int],
) -> None:
    sides, window, stride = case
    made = Windows(torch.zeros(1, 2, *sides), window, stride)
    corners = list(itertools.product(*(starts(side, window, stride) for side in sides)))
    masks = made.masks(torch.arange(made.count))
    assert masks.shape == (len(corners), 1, *sides)
    expected = torch.zeros(len(corners), 1, *sides, dtype=torch.bool)
    for mask, corner in zip(expected, corners, strict=True):
        mask[0][tuple(slice(start, start + window) for start in corner)] = True
    assert torch.equal(masks, expected)
    assert bool(masks.any(0).all())
    assert set(masks.flatten(1).sum(1).tolist()) == {window ** len(sides)}


@given(windows(), st.integers(0, 99))
def test_a_linear_score_falls_by_what_is_covered(
    case: tuple[tuple[int, ...], int, int], seed: int
) -> None:
    """Σ over a window of w (x − fill), averaged."""
    sides, window, stride = case
    generator = torch.Generator().manual_seed(seed)
    x, w, fill = torch.rand(3, 1, 2, *sides, generator=generator, dtype=torch.float64)
    model = Picture(lambda x: total(w * x))
    values = Occlusion(window=window, stride=stride, fill=fill)(model, x, 0)
    worth = (w * (x - fill)).sum(1, keepdim=True)
    made = Windows(x, window, stride)
    masks = made.masks(torch.arange(made.count))
    falls = (masks * worth).flatten(1).sum(1).reshape(-1, *[1] * (1 + len(sides)))
    expected = (masks * falls).sum(0) / masks.sum(0)
    assert torch.allclose(values, expected.expand_as(x), atol=1e-9)


@given(windows())
def test_the_order_is_a_permutation(case: tuple[tuple[int, ...], int, int]) -> None:
    sides, window, stride = case
    made = Windows(torch.zeros(1, 1, *sides), window, stride)
    assert sorted(made.scattered().tolist()) == list(range(made.count))


@pytest.mark.parametrize("rows", [13, 14, 7, 25])
def test_the_first_windows_are_spread_over_the_picture(rows: int) -> None:
    """After an eighth of the windows there is one in every ninth of the picture."""
    made = Windows(torch.zeros(1, 1, rows, rows), 1, 1)
    first = made.scattered()[: max(rows * rows // 8, 16)]
    ninths = {(3 * (int(k) // rows) // rows, 3 * (int(k) % rows) // rows) for k in first}
    assert len(ninths) == 9


# --- Work and progress ----------------------------------------------------------------------------


def test_windows_that_hide_nothing_are_not_run() -> None:
    x = torch.zeros(2, 1, 8, 8)
    x[0, 0, 1, 1] = 1
    model = Picture(total)
    *_, result = Occlusion(window=4, stride=4).steps(model, x, 0)
    assert result.values[0, 0, 0, 0] == 1
    assert not result.values[1].any()
    assert not result.values[0, :, 4:].any()
    assert result.passes == 1 + 1 / 2
    assert sum(len(batch) for batch in model.batches if not batch.requires_grad) <= 4


def test_a_picture_that_equals_the_fill() -> None:
    x = torch.full((2, 1, 8, 8), 0.25)
    (result,) = Occlusion(fill=0.25).steps(Picture(total), x, 0)
    assert not result.values.any()
    assert (result.done, result.of, result.passes) == (1, 1, 1)


def test_better_and_better() -> None:
    """Where all windows over a pixel are known the value is final; what is unknown is zero."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(2, 1, 28, 28, generator=generator)
    method, model = Occlusion(), Picture(total)
    results = list(method.steps(model, x, 0))
    final = results[-1]
    assert len(results) > 2
    assert [r.done for r in results] == sorted({r.done for r in results})
    assert (final.done, final.of) == (2 * 169, 2 * 169)
    assert final.passes == 1 + 169
    assert torch.equal(final.values, method(model, x, 0))
    for result in results:
        assert result.passes == 1 + result.done / 2
    early = results[0].values
    assert bool((early != 0).any())
    errors = [float((result.values - final.values).norm()) for result in results]
    assert errors[-1] == 0
    assert errors[0] > errors[len(errors) // 2] > 0


def test_memory_is_bounded() -> None:
    """Rows at once: many for small pictures, few for large ones, never all."""

    def most(side: int) -> int:
        model = Picture(lambda x: total(x.sigmoid()))
        for _ in Occlusion(window=side // 4, stride=side // 16).steps(
            model, torch.rand(2, 1, side, side), 0
        ):
            pass
        return max(len(batch) for batch in model.batches)

    assert most(16) == 32
    assert most(1024) == 6


def test_a_model_that_needs_the_ordinary_memory_order() -> None:
    """``view`` of a feature map fails on channels last: it gets the ordinary order, found once."""
    calls = 0

    def forward(net: Net, x: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return net.fc(net.conv(x).view(len(x), -1))

    model = Net(forward, conv=nn.Conv2d(2, 3, 3), fc=nn.Linear(300, 3)).eval()
    x = torch.rand(3, 2, 12, 12)
    steps = list(Occlusion(window=2, stride=1).steps(model, x, 0))
    assert calls == len(steps) + 3  # f(x), a row with a graph, the one that failed
    expected = by_loops(model, x, class_0, 2, 1)
    assert_near(steps[-1].values, expected, 1e-4)


def test_a_model_that_checks_the_memory_order() -> None:
    """As compiled extensions do, whatever their words are."""

    def ordinary(x: Tensor) -> Tensor:
        if not x.is_contiguous():
            raise RuntimeError("expected contiguous memory")
        return total(x)

    x = torch.rand(2, 3, 8, 8)
    assert_near(Occlusion()(Picture(ordinary), x, 0), Occlusion()(Picture(total), x, 0), 1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_come_channels_last(channels: int) -> None:
    model = Picture(total)
    Occlusion(window=2)(model, torch.rand(1, channels, 8, 8), 0)
    strides = model.batches[-1].stride()
    assert strides == (64 * channels, 1, 8 * channels, channels)


def test_an_error_in_the_model_is_not_swallowed() -> None:
    def fail(x: Tensor) -> Tensor:
        if len(x) > 1:
            raise RuntimeError("out of luck")
        return total(x)

    with pytest.raises(ValueError, match="out of luck"):
        Occlusion(window=2)(Picture(fail), torch.rand(1, 1, 8, 8), 0)


def test_smoothgrad_of_occlusion() -> None:
    model, x = build(NETS["plain"])
    still = SmoothGrad(of=Occlusion(window=2), noise_level=0.0, n_samples=2)
    assert_near(still(model, x), Occlusion(window=2)(model, x), 1e-12)


# --- One window -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["plain", "conv1d", "conv3d", "mlp"])
def test_one_window_is_one_of_the_map(name: str) -> None:
    model, x = build(NETS[name])
    sides = x.shape[2:] or x.shape[1:]
    fill = torch.rand_like(x)
    method = Occlusion(window=2, stride=2, fill=fill)
    whole = method(model, x, 1)
    for corner in itertools.product(*(range(0, side - side % 2, 2) for side in sides)):
        if any(start + 4 > side > start + 2 for start, side in zip(corner, sides, strict=True)):
            continue  # the last, complete window overlaps it
        fall = method.fall(model, x, *corner, target=1)
        assert_near(fall, whole[(slice(None), *[0] * (x.ndim > 2), *corner)], 1e-10)
        covered = method.cover(x, *corner)
        inside = (..., *(slice(start, start + 2) for start in corner))
        assert torch.equal(covered[inside], fill[inside])
        covered[inside] = x[inside]
        assert torch.equal(covered, x)


def test_one_window_changes_nothing() -> None:
    model, x = build(NETS["inplace_relu"], torch.float32)
    with nothing_changes(model, x):
        expected = Occlusion(window=3).fall(model, x, 1, 2)
    assert expected.shape == (2,)
    with torch.inference_mode():
        assert torch.equal(Occlusion(window=3).fall(model, x.clone(), 1, 2), expected)


@pytest.mark.parametrize("corner", [(-1, 0), (0, 4), (0,), (0, 0, 0)], ids=str)
def test_a_window_over_the_border_is_refused(corner: tuple[int, ...]) -> None:
    model, x = build(NETS["plain"])
    with pytest.raises(ValueError, match=r"must be between \(0, 0\) and \(3, 3\); got \("):
        Occlusion(window=3).fall(model, x, *corner)


# --- Refusals and the doctor ----------------------------------------------------------------------

WRONG: dict[str, tuple[Callable[[], Occlusion], str]] = {
    "window": (lambda: Occlusion(window=7), "at most 6, the picture's side; got 7"),
    "stride": (lambda: Occlusion(window=3, stride=4), "stride must be at most the window, 3; got"),
    "no window": (lambda: Occlusion(window=0), "window must be a whole number of at least 1"),
    "no step": (lambda: Occlusion(stride=0), "stride must be a whole number of at least 1"),
    "half a pixel": (lambda: Occlusion(window=2.5), "whole number"),
    "a fill that does not fit": (lambda: Occlusion(fill=torch.zeros(5)), "broadcasts to x"),
    "a fill that is not finite": (
        lambda: Occlusion(fill=torch.tensor(torch.nan)),
        "finite",
    ),
    "no number": (lambda: Occlusion(fill=float("inf")), "fill must be a number.*got inf"),
    "an unknown fill": (lambda: Occlusion(fill="black"), "fill must be a number.*got 'black'"),  # type: ignore[arg-type]
    "several pictures": (lambda: Occlusion(fill=[0.0, 1.0]), "one picture.*; got 2 pictures"),
}


@pytest.mark.parametrize(("make", "words"), WRONG.values(), ids=WRONG)
def test_refusals(make: Callable[[], Occlusion], words: str) -> None:
    model, x = build(NETS["plain"])
    with pytest.raises(ValueError, match=words):
        make()(model, x)


def found(x: Tensor, method: Occlusion) -> str:
    return str(diagnose(Picture(total), x, method))


def test_the_doctor() -> None:
    x = torch.rand(1, 1, 8, 8)
    assert found(x, Occlusion()).startswith("nothing")
    assert "zero everywhere" in found(torch.zeros_like(x), Occlusion())
    x[..., 2:] = 0
    assert "67 % of the windows hide nothing" in found(x, Occlusion())
    assert "hide nothing" not in found(x, Occlusion(fill=0.5))
    assert "error: Occlusion: window must be at most 8" in found(x, Occlusion(window=9))
    many = found(torch.rand(1, 1, 64, 64), Occlusion(window=2, stride=1))
    assert "3969 windows, one forward pass each" in many


def test_the_card_and_the_code() -> None:
    assert Occlusion.card.kind == "perturbation"
    assert "Zeiler, Fergus 2014, sec. 4.2" in (Occlusion.__doc__ or "")
    codes = {
        Occlusion(): "nni.Occlusion()",
        Occlusion(7, 7, 1): "nni.Occlusion(window=7, stride=7, fill=1.0)",
        Occlusion(fill="mean"): "nni.Occlusion(fill=nni.ImageMean())",
        Occlusion(fill=Blur(sigma=2)): "nni.Occlusion(fill=nni.Blur(sigma=2.0))",
        Occlusion(fill=torch.zeros(1)): "nni.Occlusion(fill=baseline)",
    }
    for method, code in codes.items():
        assert method.code("nni.") == code
        assert method == method.replace()
