"""The ascent: where it arrives, that it can be left and resumed, and what it leaves as it was."""

import threading
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from nni_widgets import data, models
from nni_widgets.engine.synthesis import (
    L2,
    ActivationMaximization,
    Channel,
    ClassModel,
    Code,
    CodeNorm,
    Direction,
    Energy,
    Expert,
    Fourier,
    Jitter,
    Logit,
    LogProbability,
    Objective,
    Pixels,
    Rotate,
    Scale,
    Seen,
    Sum,
    Synthesis,
    TotalVariation,
    Unit,
    starts,
)
from nni_widgets.engine.synthesis.adam import Adam
from nni_widgets.engine.synthesis.robust import shaken
from tests.engine.common import assert_near, build
from tests.engine.test_common import SOUND, SURROUNDINGS, Stop, fails_at_call, nothing_changes
from tests.oracle.nets import NETS, TROUBLE, MiddleFailure, select


class Decoder(nn.Module):
    """Codes of 4 numbers to the pictures that the nets of the catalogue take."""

    def __init__(self) -> None:
        super().__init__()
        self.code_size, self.dense = 4, nn.Linear(4, 72)

    def forward(self, z: Tensor) -> Tensor:
        return self.dense(z).sigmoid().reshape(-1, 2, 6, 6)


def decoder() -> Decoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return Decoder().double().eval()


def gaussian(x: Tensor) -> Tensor:
    return -(x - 0.6).square().flatten(1).sum(1) / (2 * 0.2**2)


ROBUST = (Jitter(1), Rotate(10.0), Scale(0.1))
SOME: dict[str, tuple[ActivationMaximization, str]] = {
    "pixels": (ActivationMaximization(LogProbability(1) - 0.1 * L2(), 12, keep_every=4), "plain"),
    "a layer": (
        ActivationMaximization(Channel("conv2", 1) - 0.1 * TotalVariation(), 12, keep_every=4),
        "residual_inplace",
    ),
    "fourier": (
        ActivationMaximization(Energy(), 12, image=Fourier(), robust=ROBUST, seed=2, keep_every=5),
        "inplace_relu",
    ),
    "code": (
        ActivationMaximization(
            LogProbability(0) - 0.05 * CodeNorm(), 12, image=Code(decoder()), keep_every=4
        ),
        "functional_relu",
    ),
    "positive code": (
        ActivationMaximization(
            Logit(0) - 0.5 * CodeNorm(), 12, 0.2, Code(decoder(), prior="positive"), keep_every=3
        ),
        "dense_block",
    ),
    "expert": (
        ActivationMaximization(Logit(0) + 0.1 * Expert(gaussian), 12, robust=ROBUST, keep_every=5),
        "residual",
    ),
}
some = pytest.mark.parametrize(("maker", "net"), SOME.values(), ids=SOME)


def begun(
    maker: ActivationMaximization, net: str, dtype: torch.dtype = torch.float64
) -> tuple[nn.Module, Tensor]:
    model, x = build(NETS[net], dtype, batch=3)
    if isinstance(maker.image, Code):
        x = starts.codes(maker.image.generator, 3, seed=1).abs()
    if net == "residual_inplace" and isinstance(maker.objective, Sum):
        assert maker.objective.layers == ("conv2",)
    return model, x


def assert_same(a: Synthesis, b: Synthesis) -> None:
    assert a.step == b.step
    for left, right in ((a.images, b.images), (a.logits, b.logits), (a.objective, b.objective)):
        assert torch.equal(left, right)
    assert a.terms.keys() == b.terms.keys()
    assert all(torch.equal(a.terms[name], b.terms[name]) for name in a.terms)
    assert [step for step, _ in a.frames] == [step for step, _ in b.frames]
    assert all(torch.equal(x, y) for (_, x), (_, y) in zip(a.frames, b.frames, strict=True))
    assert (a.code is None) == (b.code is None)
    assert a.code is None or torch.equal(a.code, b.code)  # type: ignore[arg-type]


@some
def test_the_same_again_and_nothing_changes(maker: ActivationMaximization, net: str) -> None:
    model, x = begun(maker, net)
    with nothing_changes(model, x):
        made = maker(model, x)
    assert_same(made, maker(model, x))
    assert made.step == made.of == 12
    assert bool(((made.images >= 0) & (made.images <= 1)).all())
    assert not made.images.requires_grad
    assert not made.logits.requires_grad
    assert not any(values.requires_grad for values in (made.objective, *made.terms.values()))


@some
def test_it_ascends(maker: ActivationMaximization, net: str) -> None:
    model, x = begun(maker, net)
    made = maker.replace(robust=(), n_steps=60)(model, x)
    assert made.objective.shape == (61, 3)
    assert bool((made.objective[-1] > made.objective[0]).all())


@some
@pytest.mark.parametrize("split", [1, 4, 7])
def test_resumed_is_uninterrupted(maker: ActivationMaximization, net: str, split: int) -> None:
    model, x = begun(maker, net)
    whole = maker(model, x)
    first = maker.replace(n_steps=split)(model, x)
    with nothing_changes(model, first.images):
        assert_same(maker.replace(n_steps=12 - split).resume(model, first), whole)
    assert_same(maker.replace(n_steps=12 - split).resume(model, first), whole)
    steps = maker.steps(model, x)
    left = next(made for made in steps if made.step >= min(split, maker.keep_every))
    steps.close()
    assert left.of == 12
    assert_same(maker.resume(model, left), whole)


@some
def test_each_image_is_an_ascent_by_itself(maker: ActivationMaximization, net: str) -> None:
    model, x = begun(maker, net)
    together = maker(model, x)
    alone = [maker(model, row[None]) for row in x]
    assert_near(together.images, torch.cat([made.images for made in alone]), 1e-9)
    assert_near(together.objective, torch.cat([made.objective for made in alone], 1), 1e-9)


@some
def test_float32(maker: ActivationMaximization, net: str) -> None:
    if isinstance(maker.image, Code):
        maker = maker.replace(image=maker.image.replace(generator=decoder().float()))
    model, x = begun(maker, net, torch.float32)
    made = maker(model, x)
    assert made.images.dtype == made.objective.dtype == torch.float32
    assert bool(made.images.isfinite().all())


@some
def test_what_is_told_is_true_of_the_returned_images(
    maker: ActivationMaximization, net: str
) -> None:
    model, x = begun(maker, net)
    for made in maker.steps(model, x):
        logits = model(made.images.clone()).detach()
        assert_near(made.logits, logits, 1e-12)
        assert_near(made.probabilities, logits.softmax(1), 1e-12)
        assert made.objective.shape == (made.step + 1, 3)
        total = sum(weight * made.terms[repr(term)] for weight, term in maker.objective.terms)
        assert_near(made.objective, total, 1e-12)  # type: ignore[arg-type]
        assert [step for step, _ in made.frames] == list(range(0, made.step + 1, maker.keep_every))
        if made.step % maker.keep_every == 0:
            assert torch.equal(made.frames[-1][1], made.images)
        assert made.made_by is maker
        if isinstance(maker.image, Code):
            assert torch.equal(maker.image.generator(made.code), made.images)  # type: ignore[arg-type]


@some
def test_what_a_caller_does_to_the_results_does_not_reach_the_ascent(
    maker: ActivationMaximization, net: str
) -> None:
    model, x = begun(maker, net)
    expected = maker(model, x)
    for made in maker.steps(model, x):
        last = made.images.clone()
        made.images.zero_()
        if made.code is not None:
            made.code.zero_()
        torch.rand(1)
    assert torch.equal(last, expected.images)
    for (_, ours), (_, theirs) in zip(made.frames, expected.frames, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("name", SOUND)
def test_on_every_network(name: str) -> None:
    model, x = build(SOUND[name])
    classes = SOUND[name].classes
    objective = (LogProbability(classes - 1) if classes > 1 else Logit(0)) - 0.1 * L2()
    maker = ActivationMaximization(objective, 3, image=Pixels(high=SOUND[name].high), robust=())
    with nothing_changes(model, x):
        made = maker(model, x)
    assert made.images.shape == x.shape
    assert bool((made.images >= 0).all())
    assert float(made.images.max()) <= SOUND[name].high


@pytest.mark.parametrize("name", select("opaque"))
def test_what_no_tape_can_record_has_a_gradient_all_the_same(name: str) -> None:
    model, x = build(NETS[name])
    made = ActivationMaximization(Logit(0), 5)(model, x)
    assert bool((made.objective[-1] > made.objective[0]).all())


REFUSED_NETS = {
    name: case
    for name, case in NETS.items()
    if case.tags & TROUBLE - {"opaque", "raises"} and name != "ends_in_log_softmax"
}


@pytest.mark.parametrize("name", REFUSED_NETS)
def test_trouble_is_told(name: str) -> None:
    model, x = build(NETS[name])
    with nothing_changes(model, x), pytest.raises(ValueError, match=r"^ActivationMaximization: .*"):
        ActivationMaximization(Logit(0), 5)(model, x)


@pytest.mark.parametrize("around", SURROUNDINGS.values(), ids=SURROUNDINGS)
@some
def test_in_any_grad_mode(maker: ActivationMaximization, net: str, around: Callable) -> None:
    model, x = begun(maker, net)
    expected = maker(model, x)
    with around(), nothing_changes(model, x):
        assert_same(maker(model, x), expected)
    with torch.inference_mode():
        assert_same(maker(model, x.clone()), expected)


@pytest.mark.parametrize("call", [1, 2, 3])
@pytest.mark.parametrize("error", [MiddleFailure, Stop])
@pytest.mark.parametrize("objective", [Logit(1), Energy("head")], ids=str)
def test_an_error_in_the_middle_leaves_nothing_behind(
    objective: Objective, error: type[BaseException], call: int
) -> None:
    maker = ActivationMaximization(objective, 4, robust=(Jitter(1),))
    expected = maker(*fails_at_call(error, -1)).images
    model, x = fails_at_call(error, call)
    with nothing_changes(model, x), pytest.raises((error, ValueError)) as caught:
        maker(model, x)
    told = caught.value
    assert isinstance(told, error) or isinstance(told.__cause__, error)
    assert torch.equal(maker(model, x).images, expected)


class Density(nn.Module):
    """log p(x) of a normal distribution with a learnt mean."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.full((2, 6, 6), 0.4, dtype=torch.float64))
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return -x.sub_(self.mean).square_().flatten(1).sum(1) / 2


def test_generator_and_expert_stay_as_they_were() -> None:
    model, generator, density = build(NETS["plain"])[0], decoder(), Density()
    z = starts.codes(generator, 2)
    maker = ActivationMaximization(Logit(0) + Expert(density), 3, image=Code(generator))
    with nothing_changes(generator, z), nothing_changes(density, z):
        made = maker(model, z)
    expected = density(made.images.clone()).detach()
    assert_near(made.terms["Expert(density=density)"][-1], expected, 1e-12)
    density.train()
    with pytest.raises(ValueError, match="Expert: density must be in evaluation mode"):
        maker.resume(model, made)


class Normed(nn.Module):
    """Has a ``log_density`` that changes what it knows of the data, in training mode."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(2).double()
        self.eval()

    def log_density(self, x: Tensor) -> Tensor:
        return -self.norm(x).square().flatten(1).sum(1)

    forward = log_density


def test_an_expert_set_to_training_later_is_refused_and_not_changed() -> None:
    (model, x), density = build(NETS["plain"]), Normed()
    maker = ActivationMaximization(Logit(0) + Expert(density), 2)
    density.train()
    with pytest.raises(ValueError, match="Expert: density must be in evaluation mode"):
        maker(model, x)
    assert int(density.norm.num_batches_tracked) == 0


@some
def test_left_in_the_middle(maker: ActivationMaximization, net: str) -> None:
    model, x = begun(maker, net)
    with nothing_changes(model, x):
        steps = maker.steps(model, x)
        next(steps)
        next(steps)
        steps.close()
        again = maker.steps(model, x)
        next(again)
        del again


def test_the_model_is_free_between_steps() -> None:
    maker, net = SOME["a layer"]
    model, x = begun(maker, net)
    steps = maker.steps(model, x)
    next(steps)
    made: list[Tensor] = []
    other = threading.Thread(target=lambda: made.append(maker(model, x).images))
    other.start()
    other.join(timeout=60)
    *_, last = steps
    assert torch.equal(made[0], last.images)


def linear(bias: float = 0.0) -> nn.Linear:
    model = nn.Linear(6, 3).double().eval()
    with torch.no_grad():
        model.weight.copy_(torch.linspace(-1, 1, 18).reshape(3, 6))
        model.bias.fill_(bias)
    return model


def test_the_optimum_of_a_linear_model_is_known() -> None:
    """max w·x − λ‖x − c‖² is at c + w / 2λ; in a box at the nearest point of it."""
    model, weight, center = linear(), linear().weight[1].detach(), torch.full((6,), 0.4).double()
    open_box = Pixels(low=-float("inf"), high=float("inf"))
    objective = Logit(1) - 0.5 * L2(center=center)
    start = torch.rand(2, 6, dtype=torch.float64)
    free = ActivationMaximization(objective, 700, 0.02, open_box)(model, start).images
    best = (center + weight).expand(2, 6)
    assert_near(free, best, 1e-4)
    boxed = ActivationMaximization(objective, 700, 0.02, Pixels(0.2, 0.55))
    made = boxed(model, start.clamp(0.2, 0.55)).images
    assert_near(made, best.clamp(0.2, 0.55), 1e-4)
    assert float(made.min()) == 0.2
    assert float(made.max()) == 0.55


def test_with_a_gaussian_expert_the_optimum_is_known() -> None:
    """max w·x + log N(x; μ, σ²) is at μ + σ² w."""
    model, weight, spread = linear(), linear().weight[2].detach(), 0.3

    def density(x: Tensor) -> Tensor:
        normal = torch.distributions.Normal(0.5, spread)
        return normal.log_prob(x).sum(1)

    maker = ActivationMaximization(Logit(2) + Expert(density), 700, 0.01)
    made = maker(model, torch.full((1, 6), 0.1, dtype=torch.float64))
    assert_near(made.images[0], 0.5 + spread**2 * weight, 1e-4)


def test_in_code_space_the_optimum_is_known() -> None:
    """With the linear generator x = 0.5 + A z, max w·x − λ‖z‖² is at z = Aᵀw / 2λ."""
    mixing = torch.linspace(-0.2, 0.3, 12, dtype=torch.float64).reshape(6, 2)
    image = Code(lambda z: 0.5 + z @ mixing.t())
    maker = ActivationMaximization(Logit(2) - 0.5 * CodeNorm(), 700, 0.02, image)
    made = maker(linear(), torch.zeros(1, 2, dtype=torch.float64))
    best = mixing.t() @ linear().weight[2].detach()
    assert_near(made.code[0], best, 1e-4)  # type: ignore[index]
    assert_near(made.images[0], 0.5 + mixing @ best, 1e-4)


def test_adam_is_that_of_torch() -> None:
    generator = torch.Generator().manual_seed(0)
    theirs = torch.zeros(5, dtype=torch.float64, requires_grad=True)
    ours, adam = torch.zeros(5, dtype=torch.float64), Adam.before(theirs.detach())
    optimizer = torch.optim.Adam([theirs], lr=0.03)
    for _ in range(30):
        gradient = torch.randn(5, generator=generator, dtype=torch.float64)
        theirs.grad = gradient
        optimizer.step()
        adam = adam.after(gradient)
        ours = ours - 0.03 * adam.direction
    assert_near(ours, theirs, 1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype: torch.dtype) -> None:
    """1e-8 is 0 in float16, so that a pixel without gradient was 0/0."""
    model, x = linear().to(dtype), torch.full((2, 6), 0.4, dtype=dtype)
    with torch.no_grad():
        model.weight[:, 0] = 0
    made = ActivationMaximization(Logit(2) - 0.1 * L2(), 20)(model, x)
    assert made.images.dtype == dtype
    assert bool((made.images[:, 1:] > 0.5).all())
    only_model = ActivationMaximization(Logit(2), 20)(model, x)
    assert torch.equal(only_model.images[:, 0], x[:, 0])


def test_a_step_is_a_share_of_the_range() -> None:
    """The same pictures on another scale make the same way, on that scale."""

    class Wide(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.low, self.high = linear(), -100.0, 155.0

        def forward(self, x: Tensor) -> Tensor:
            return self.inner((x - self.low) / 255)

    start = torch.rand(1, 6, dtype=torch.float64)
    maker = ActivationMaximization(LogProbability(0), 20)
    narrow, wide = maker(linear(), start), maker(Wide().eval(), 255 * start - 100)
    assert_near((wide.images + 100) / 255, narrow.images, 1e-3)


def test_targets_make_as_many_images() -> None:
    model = models.load("digits-cnn")
    made = ActivationMaximization(LogProbability(range(10)), 30)(model)
    assert made.images.shape == (10, 1, 28, 28)
    assert made.probabilities.argmax(1).tolist() == list(range(10))


def test_no_target_is_the_class_of_the_start_although_it_changes() -> None:
    model, x = build(NETS["plain"], batch=2)
    predicted = model(x).argmax(1)
    push = 2 * Logit((predicted + 1) % 3)
    maker = ActivationMaximization(push - Logit(), 10, keep_every=2)
    made = maker.resume(model, maker(model, x))
    assert bool((made.logits.argmax(1) != predicted).all())
    named = ActivationMaximization(push - Logit(predicted), 20)(model, x)
    assert torch.equal(made.images, named.images)


def test_another_objective_may_go_on() -> None:
    model, x = build(NETS["plain"], batch=2)
    free = ActivationMaximization(Logit(0), 4)
    held = free.replace(objective=Logit(0) - 3 * L2())
    made = held.resume(model, free(model, x))
    assert made.step == 8
    assert bool(made.terms["L2()"][:4].isnan().all())
    assert_near(made.terms["L2()"][-1], made.images.square().flatten(1).sum(1), 1e-12)
    assert bool((made.terms["L2()"][-1] < made.terms["L2()"][4]).all())


def test_terms_of_the_same_code_are_told_apart() -> None:
    model, x = build(NETS["plain"], batch=2)
    objective = Logit(0) - L2(center=x[0]) - L2(center=x[1])
    made = ActivationMaximization(objective, 1)(model, x)
    first, second = [name for name in made.terms if name.startswith("L2")]
    assert second == f"{first}#2"
    assert float(made.terms[first][0, 0]) == float(made.terms[second][0, 1]) == 0


def test_the_class_model_starts_from_zero() -> None:
    model = models.load("digits-mlp")
    maker = ClassModel([3, 5], penalty=0.2, n_steps=20)
    with nothing_changes(model, torch.zeros(1)):
        *_, made = maker.steps(model)
    same = ActivationMaximization(Logit((3, 5)) - 0.2 * L2(), 20)
    assert torch.equal(made.images, same(model, torch.zeros(2, 1, 28, 28)).images)
    assert made.made_by is maker
    assert maker.maximization == same
    assert maker.resume(model, made).step == 40


def test_a_prototype_of_the_digits_convinces_and_the_mean_of_a_class_holds_it() -> None:
    model, digits = models.load("digits-cnn"), data.digits("test")
    images, labels = digits[:1000]
    mean = images[torch.as_tensor(labels) == 3].mean(0, keepdim=True)
    free = ActivationMaximization(LogProbability(3))(model)
    held = ActivationMaximization(LogProbability(3) - 0.1 * L2(center=mean))(model)
    assert float(free.probabilities[0, 3]) > 0.999
    assert float(held.probabilities[0, 3]) > 0.95
    assert float((held.images - mean).norm()) < 1 < float((free.images - mean).norm())


def test_the_passes_told_are_those_made_also_for_the_tries_of_a_code() -> None:
    model, generator = build(NETS["plain"])[0], decoder()
    rows = []
    model.register_forward_hook(lambda module, args, made: rows.append(len(made)))
    for tries, first_looks in ((1, 0), (5, 5)):
        rows.clear()
        image = Code(generator, tries=tries)
        made = ActivationMaximization(Logit((0, 1)), 10, image=image, keep_every=5)(model)
        forward = first_looks + 10 + 3
        assert made.passes == forward + 10
        assert sum(rows) == 2 * forward + 1, "and one to see whether the images fit"


class Blind(Objective):
    """Does not depend on the image."""

    def __call__(self, seen: Seen) -> Tensor:
        return torch.ones(len(seen.x), dtype=seen.x.dtype)


class OneForAll(Objective):
    """One number for all images."""

    def __call__(self, seen: Seen) -> Tensor:
        return seen.x.sum()


class Overwritten(nn.Module):
    """Writes to what autograd needs of a ReLU."""

    def forward(self, x: Tensor) -> Tensor:
        h = (x - 0.4).relu()
        h += 1
        return h.flatten(1)[:, :3] * 2


class Explodes(Objective):
    """Infinite as soon as a pixel is 1."""

    def __call__(self, seen: Seen) -> Tensor:
        return -(1 - seen.x).log().flatten(1).sum(1)


REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "training": (lambda: run(Logit(0), train=True), "ActivationMaximization: the model must be in"),
    "no objective": (
        lambda: ActivationMaximization(3),  # type: ignore[arg-type]
        "ActivationMaximization: objective must be a value such as nni.LogProbability",
    ),
    "a class": (
        lambda: ActivationMaximization(Logit),  # type: ignore[arg-type]
        "ActivationMaximization: objective must be a value",
    ),
    "nothing to do": (
        lambda: ActivationMaximization(0 * Logit(1)),
        "ActivationMaximization: objective must be a sum of at least one term",
    ),
    "no parametrisation": (
        lambda: ActivationMaximization(Logit(0), image="pixels"),  # type: ignore[arg-type]
        r"ActivationMaximization: image must be a value such as nni.Pixels\(\)",
    ),
    "no shaking": (
        lambda: ActivationMaximization(Logit(0), robust=3),  # type: ignore[arg-type]
        "ActivationMaximization: each of robust must be a value",
    ),
    "no steps": (
        lambda: ActivationMaximization(Logit(0), n_steps=0),
        "ActivationMaximization: n_steps must be a whole number",
    ),
    "no class": (lambda: run(Logit(3)), "Logit: target must be a class from 0 to 2"),
    "no layer": (lambda: run(Channel("nose")), "ActivationMaximization: layer must be one of"),
    "no channel": (lambda: run(Channel("0", 99)), "Channel: channel must be from 0 to"),
    "a code for pixels": (lambda: run(CodeNorm()), "CodeNorm: the image must be made from a code"),
    "blind": (lambda: run(Blind()), "ActivationMaximization: the objective must be computed from"),
    "one for all": (lambda: run(OneForAll()), r"ActivationMaximization: OneForAll\(\) must be a t"),
    "explodes": (
        lambda: run(Explodes()),
        r"ActivationMaximization: Explodes\(\) must be finite; got NaN or infinity at step",
    ),
    "overwritten": (
        lambda: ActivationMaximization(Logit(0))(Overwritten().eval(), torch.rand(1, 2, 6, 6)),
        "ActivationMaximization: the objective must be differentiable by autograd; got a write in",
    ),
    "too many targets": (lambda: run(Logit([0, 1, 2])), "Logit: target must be one class or 2"),
    "outside the box": (
        lambda: run(Logit(0), lambda x: x + 3),
        "ActivationMaximization: start must be pixels from 0 to 1",
    ),
    "of another dtype": (
        lambda: run(Logit(0), lambda x: x.float()),
        "ActivationMaximization: x must be torch.float64",
    ),
    "of another shape": (
        lambda: run(Logit(0), lambda x: x[:, :1]),
        "ActivationMaximization: x must be an input that the model can take",
    ),
    "no start at all": (
        lambda: ActivationMaximization(Logit(0))(build(NETS["plain"])[0]),
        "ActivationMaximization: start must be given for a model without an input_shape; got none",
    ),
    "no zero image": (
        lambda: ClassModel(0)(build(NETS["plain"])[0]),
        "ClassModel: start must be given for a model without an input_shape; got none",
    ),
    "no synthesis": (
        lambda: ActivationMaximization(Logit(0)).resume(build(NETS["plain"])[0], None),  # type: ignore[arg-type]
        "ActivationMaximization: what is resumed must be what this method has made",
    ),
    "made of something else": (
        lambda: ActivationMaximization(Logit(0), 2, image=Fourier()).resume(
            build(NETS["plain"])[0], run(Logit(0))
        ),
        r"ActivationMaximization: what is resumed must be made of Fourier\(\); got Pixels\(\)",
    ),
    "a class too many": (lambda: ClassModel(7)(models.load("digits-mlp").train()), "ClassModel: "),
}


def run(
    objective: Objective, change: Callable[[Tensor], Tensor] = lambda x: x, train: bool = False
) -> Synthesis:
    model, x = build(NETS["plain"])
    return ActivationMaximization(objective, 200)(model.train(train), change(x))


@pytest.mark.parametrize(("act", "told"), REFUSED.values(), ids=REFUSED)
def test_refusals(act: Callable[[], object], told: str) -> None:
    with pytest.raises(ValueError, match=f"^{told}.*\\.$"):
        act()


def test_examine_finds_what_does_not_move() -> None:
    model = nn.Sequential(nn.Linear(4, 2), nn.ReLU(), nn.Linear(2, 2)).double().eval()
    with torch.no_grad():
        model[0].weight.fill_(1)  # type: ignore[union-attr,operator]
        model[0].bias.copy_(torch.tensor([-9.0, 1.0]))  # type: ignore[union-attr,operator]
    x = torch.rand(2, 4, dtype=torch.float64)
    dead, alive = (ActivationMaximization(Unit("1", unit)) for unit in (0, 1))
    with nothing_changes(model, x):
        (stuck, unsaid), (only_unsaid,) = dead.examine(model, x), alive.examine(model, x)
    assert stuck.severity == "warning"
    assert "the gradient at the start is zero" in stuck.text
    assert "2 of 2 images" in stuck.text
    assert unsaid == only_unsaid
    assert "does not say its range" in unsaid.text
    assert len(dead.replace(objective=Unit("0", 0)).examine(model, x)) == 1
    assert not alive.replace(image=Pixels(0.0, 2.0)).examine(model, x)
    assert not ActivationMaximization(LogProbability(3)).examine(models.load("digits-cnn"))
    with torch.inference_mode():
        assert alive.examine(model, x.clone()) == [only_unsaid]
    with pytest.raises(ValueError, match="layer must be one of"):
        ActivationMaximization(Unit("7", 0)).examine(model, x)
    with pytest.raises(ValueError, match="the model must be in evaluation mode"):
        alive.examine(model.train(), x)


def test_examine_of_a_class_model_looks_at_the_zero_image() -> None:
    model = models.load("digits-mlp")
    with nothing_changes(model, torch.zeros(1)):
        assert not ClassModel(3).examine(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    (stuck,) = ClassModel([3, 4]).examine(model)
    assert "2 of 2 images" in stuck.text


def test_makers_are_values() -> None:
    maker = ActivationMaximization(LogProbability(3) - 0.05 * L2(), 100, robust=[Jitter(2)])  # type: ignore[arg-type]
    assert maker == maker.replace()
    assert hash(maker) == hash(maker.replace())
    assert maker.code("nni.") == (
        "nni.ActivationMaximization(objective=nni.LogProbability(target=3) - 0.05 * nni.L2(), "
        "n_steps=100, robust=(nni.Jitter(),))"
    )
    assert Direction("a", torch.ones(2)) != Direction("a", torch.ones(2))


def test_the_model_sees_shaken_images_and_the_priors_do_not() -> None:
    shown, held = [], []

    class Recorded(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            shown.append(x.detach().clone())
            return x.flatten(1)[:, :3] * 2

    def density(x: Tensor) -> Tensor:
        held.append(x.detach().clone())
        return -x.square().flatten(1).sum(1)

    by, start = (Jitter(1), Rotate(20.0)), torch.rand(1, 1, 4, 5, dtype=torch.float64)
    maker = ActivationMaximization(
        Logit(0) + Expert(density), 6, robust=by, seed=4, keep_every=1, image=Pixels(0.0, 1.0)
    )
    frames = [images for _, images in maker(Recorded().eval(), start).frames]
    for step, images in enumerate(frames[:-1]):
        assert torch.equal(shown[2 * step], images)
        assert torch.equal(shown[2 * step + 1], shaken(images, by, 4, step))
        assert torch.equal(held[2 * step], images)
        assert torch.equal(held[2 * step + 1], images)
    assert torch.equal(shown[-1], frames[-1])
