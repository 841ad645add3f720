"""Generative models: shapes, ranges and seeds, densities against float64, the bundled figures."""

import math

import pytest
import torch
from PIL import Image
from torch import distributions
from torch.nn import functional as F

from nni_widgets.zoo import data, models
from nni_widgets.zoo.designs import DESIGNS, Design
from nni_widgets.zoo.generators import (
    AdversarialRecipe,
    Autoencoder,
    AutoencoderRecipe,
    GaussianMixture,
    Generator,
    MixtureRecipe,
    PictureMixture,
    digits_autoencoder,
    digits_dcgan,
    digits_gan,
    digits_mixture,
)
from nni_widgets.zoo.training import adversarial, autoencoder, mixture
from nni_widgets.zoo.training.samples import CLEAR, JUDGE, judged, write_grid

BUILDERS = [digits_gan, digits_dcgan, digits_autoencoder, digits_mixture]
NAMES = ["digits-gan", "digits-dcgan", "digits-autoencoder", "digits-mixture"]
FEW = 200


def random_mixture(kind=GaussianMixture, n_components=3, size=5, rank=2, seed=0):
    torch.manual_seed(seed)
    model = kind(n_components, size, rank).double()
    with torch.no_grad():
        model.scores.normal_()
        model.means.normal_(std=2)
        model.factors.normal_()
        model.noise.uniform_(0.3, 1.5)
    return model


def reference_density(model):
    """The same density by torch.distributions, from dense covariances."""
    eye = torch.eye(model.means.shape[1], dtype=torch.float64)
    covariances = model.factors @ model.factors.mT + model.noise.square()[:, None, None] * eye
    return distributions.MixtureSameFamily(
        distributions.Categorical(logits=model.scores),
        distributions.MultivariateNormal(model.means, covariances),
    )


def silent(line):
    pass


@pytest.fixture(scope="module")
def few():
    x, y = data.digits("test")[:FEW]
    return data.Digits((x * 255).round().byte(), y)


def design(build, recipe):
    return Design(build=build, architecture="", recipe=recipe, recipe_chosen_on="")


def small_mixture():
    return PictureMixture(n_components=10, size=784, rank=2)


TRAININGS = {
    "gan": (adversarial, design(digits_gan, AdversarialRecipe(epochs=1))),
    "dcgan": (adversarial, design(digits_dcgan, AdversarialRecipe(epochs=1))),
    "autoencoder": (
        autoencoder,
        design(digits_autoencoder, AutoencoderRecipe(epochs=1, mixture_rounds=1)),
    ),
    "mixture": (mixture, design(small_mixture, MixtureRecipe(epochs=1))),
}


@pytest.mark.parametrize("build", BUILDERS)
def test_samples_are_pictures_decided_by_the_seed_alone(build):
    model = build().eval()
    before = torch.get_rng_state()
    first = model.sample(3, seed=1)
    torch.rand(7)
    assert first.shape == (3, 1, 28, 28)
    assert first.dtype == torch.float32
    assert not first.requires_grad
    assert first.min() >= 0
    assert first.max() <= 1
    assert torch.equal(first, model.sample(3, seed=1))
    assert not torch.equal(first, model.sample(3, seed=2))
    torch.set_rng_state(before)
    model.sample(3, seed=1)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("build", BUILDERS)
def test_samples_have_the_precision_of_the_weights(build):
    assert build().double().eval().sample(2, seed=0).dtype == torch.float64


@pytest.mark.parametrize("build", BUILDERS)
@pytest.mark.parametrize("n", [0, -1, 1.5, "a"])
def test_a_number_of_samples_that_is_none_is_refused(build, n):
    with pytest.raises(ValueError, match=r"^sample: n must be a whole number of at least 1; got "):
        build().eval().sample(n, seed=0)


@pytest.mark.parametrize("build", [digits_gan, digits_dcgan])
def test_generators_turn_codes_into_pictures_that_can_be_differentiated(build):
    model = build().eval()
    z = torch.randn(2, model.code_size, requires_grad=True)
    pictures = model(z)
    assert isinstance(model, Generator)
    assert pictures.shape == (2, 1, 28, 28)
    (gradient,) = torch.autograd.grad(pictures.sum(), z)
    assert gradient.abs().min() > 0


@pytest.mark.parametrize("build", BUILDERS)
@pytest.mark.parametrize("seed", [-1, 0.5, "a", None, True])
def test_a_seed_that_is_none_is_refused(build, seed):
    told = "^sample: seed must be a whole number from 0 to 2,147,483,648; got "
    with pytest.raises(ValueError, match=told):
        build().eval().sample(2, seed=seed)


def test_a_sample_of_a_generator_is_the_picture_of_a_standard_normal_code():
    model = digits_gan().eval()
    z = torch.randn(4, model.code_size, generator=torch.Generator().manual_seed(5))
    assert torch.equal(model.sample(4, seed=5), model(z))


def test_an_autoencoder_encodes_and_decodes():
    model = digits_autoencoder()
    x, _ = data.digits("test")[:3]
    z = model.encode(x)
    assert z.shape == (3, model.code_size)
    assert torch.equal(model(x), model.decode(z))
    assert torch.equal(model.sample(6, seed=4), model.decode(model.codes.draw(6, seed=4)))


def test_the_density_of_a_mixture_is_that_of_torch_distributions():
    model = random_mixture()
    v = torch.randn(20, 5, dtype=torch.float64) * 3
    torch.testing.assert_close(model(v), reference_density(model).log_prob(v))


def test_the_density_of_pictures_is_that_of_torch_distributions():
    model = random_mixture(PictureMixture, n_components=2, size=784, rank=3)
    x = torch.rand(4, 1, 28, 28, dtype=torch.float64)
    expected = reference_density(model).log_prob(x.flatten(1))
    torch.testing.assert_close(model.log_density(x), expected)
    torch.testing.assert_close(model(x), expected)
    single = model.float().log_density(x.float())
    torch.testing.assert_close(single.double(), expected, rtol=1e-4, atol=0.01)


def test_draws_have_the_moments_of_the_mixture():
    model = random_mixture()
    drawn = model.draw(40_000, seed=0)
    expected = reference_density(model)
    assert (drawn.mean(0) - expected.mean).abs().max() < 0.06
    assert (drawn.var(0) / expected.variance - 1).abs().max() < 0.06
    likelihood = expected.log_prob(drawn).mean()
    other = expected.log_prob(expected.sample((40_000,))).mean()
    assert abs(likelihood - other) < 0.06


def test_the_density_of_an_autoencoder_is_its_scaled_squared_error():
    model = digits_autoencoder().double()
    with torch.no_grad():
        model.error.fill_(0.2)
    x = torch.rand(3, 1, 28, 28, dtype=torch.float64)
    by_hand = [-((x[i] - model(x)[i]) ** 2).sum().item() / (2 * 0.04) for i in range(3)]
    assert model.log_density(x).tolist() == pytest.approx(by_hand)


@pytest.mark.parametrize(
    "model",
    [
        random_mixture(PictureMixture, n_components=2, size=784, rank=3),
        digits_autoencoder().double(),
    ],
    ids=["mixture", "autoencoder"],
)
def test_densities_are_differentiated_with_respect_to_the_picture_alone(model):
    x = torch.rand(2, 1, 28, 28, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(model.log_density(x).sum(), x)
    direction, step = torch.randn_like(x), 1e-6
    with torch.no_grad():
        ahead = model.log_density(x + step * direction)
        behind = model.log_density(x - step * direction)
    slope = (gradient * direction).flatten(1).sum(1)
    torch.testing.assert_close(slope, (ahead - behind) / (2 * step), rtol=1e-5, atol=1e-4)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_em_finds_the_components_that_made_the_points():
    truth = random_mixture(n_components=2, size=6, rank=2, seed=3)
    with torch.no_grad():
        truth.means.copy_(torch.stack([torch.full((6,), -4.0), torch.full((6,), 4.0)]))
    points = truth.draw(4000, seed=0).float()
    torch.manual_seed(0)
    found = mixture.fitted(points, n_components=2, rank=2, n_rounds=5)
    order = found.means[:, 0].argsort()
    torch.testing.assert_close(found.means[order].double(), truth.means, rtol=0, atol=0.2)
    torch.testing.assert_close(found.noise[order].double(), truth.noise, rtol=0.1, atol=0)
    for mine, theirs in zip(found.factors[order].double(), truth.factors, strict=True):
        torch.testing.assert_close(mine @ mine.T, theirs @ theirs.T, rtol=0.1, atol=0.3)
    gap = reference_density(truth).log_prob(points.double()).mean() - found(points).mean()
    assert abs(gap) < 0.02


def test_em_raises_the_likelihood(few):
    points = few.images.flatten(1)
    reached = []
    for n_rounds in (1, 4):
        torch.manual_seed(0)
        model = mixture.fitted(points, n_components=4, rank=3, n_rounds=n_rounds)
        reached.append(mixture.mean_log_density(model, points))
    assert reached[1] > reached[0]


def test_more_components_than_points_leave_a_proper_density():
    points = torch.randn(5, 4)
    model = mixture.fitted(points.repeat(2, 1), n_components=8, rank=2, n_rounds=3)
    assert torch.isfinite(model(points)).all()
    assert model.log_weights.exp().sum().item() == pytest.approx(1)


def test_each_class_has_its_share_of_components():
    points = torch.cat([torch.randn(300, 3) - 9, torch.randn(100, 3) + 9])
    labels = torch.tensor([0] * 300 + [1] * 100)
    model = GaussianMixture(4, 3, 1)
    mixture.fit(model, points, labels, 2, silent)
    weights = model.log_weights.exp()
    assert weights[:2].sum().item() == pytest.approx(0.75)
    assert (model.means[:2] < 0).all()
    assert (model.means[2:] > 0).all()


def test_the_losses_are_right_by_hand():
    real, made = torch.zeros(1, 10), torch.zeros(1, 10)
    loss = adversarial.against_generator(real, made, torch.tensor([3]))
    taken_for_real = 10 / 11
    expected = -math.log(taken_for_real) - math.log(1 - taken_for_real) + math.log(10)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    plain = adversarial.against_discriminator(made, certainty=0, balance=0)
    assert plain.item() == pytest.approx(-math.log(taken_for_real), rel=1e-5)


def test_the_generator_wants_sure_classes_in_equal_shares():
    even = 20 * torch.eye(10)
    lopsided = 20 * F.one_hot(torch.zeros(10, dtype=torch.long), 10).float()
    unsure = torch.full((10, 10), 20.0 - math.log(10))

    def extra(logits, certainty, balance):
        with_extra = adversarial.against_discriminator(logits, certainty, balance)
        return (with_extra - adversarial.against_discriminator(logits, 0, 0)).item()

    assert extra(even, 1, 1) == pytest.approx(0, abs=1e-4)
    assert extra(lopsided, 1, 0) == pytest.approx(0, abs=1e-4)
    assert extra(lopsided, 0, 1) == pytest.approx(math.log(10), rel=1e-4)
    assert extra(unsure, 1, 0) == pytest.approx(math.log(10), rel=1e-4)
    assert extra(unsure, 0, 1) == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("family", TRAININGS)
def test_training_is_decided_by_its_seed_and_leaves_the_global_state_alone(
    family, few, monkeypatch
):
    monkeypatch.setattr(adversarial, "NORM_BATCHES", 1)
    module, made = TRAININGS[family]
    before = torch.get_rng_state()
    lines = []
    first = module.train(made, lines.append, few)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    again = module.train(made, silent, few).state_dict()
    assert all(torch.equal(value, again[key]) for key, value in first.state_dict().items())
    assert lines
    assert not first.training


def test_an_autoencoder_learns_to_copy_and_knows_its_error(few):
    made = design(digits_autoencoder, AutoencoderRecipe(epochs=30, batch_size=20, mixture_rounds=1))
    model = autoencoder.train(made, silent, few)
    assert isinstance(model, Autoencoder)
    x = few.images
    with torch.no_grad():
        error = (x - model(x)).square().mean()
    assert error < 0.8 * (x - x.mean(0)).square().mean()
    assert model.error.square().item() == pytest.approx(error.item(), rel=1e-4)
    assert autoencoder.squared_error(model, x).item() == pytest.approx(error.item(), rel=1e-4)


class OnlySevens:
    """A model whose samples are always the same test picture, a clear 7."""

    def sample(self, n, seed):
        return data.digits("test").of(7).expand(n, 1, 28, 28)


def test_the_judge_counts_clear_samples_of_each_digit():
    assert judged(OnlySevens()) == {"clear samples": 1.0, "rarest digit": 0.0}


def test_a_grid_of_samples_is_a_small_file(tmp_path):
    path = tmp_path / "grid.png"
    noise = digits_mixture()
    write_grid(noise, path)
    with Image.open(path) as picture:
        assert picture.size == (336, 224)
    assert path.stat().st_size <= 60_000


@pytest.mark.parametrize("name", NAMES)
def test_bundled_models_draw_clear_digits_of_all_classes(name):
    model = models.load(name)
    card = models.card(name)
    reached = judged(model)
    assert reached["clear samples"] >= 0.8
    assert reached["rarest digit"] >= 0.02
    for key, value in reached.items():
        assert value == pytest.approx(card.figures[key], abs=0.02)
    with torch.no_grad():
        sure, digit = models.load(JUDGE)(model.sample(500, seed=123)).softmax(1).max(1)
    assert (sure >= CLEAR).float().mean() >= 0.75
    assert len(digit[sure >= CLEAR].unique()) == 10


@pytest.mark.parametrize("name", NAMES)
def test_bundled_models_know_their_range_and_have_no_classes(name):
    model = models.load(name)
    assert (model.low, model.high, model.classes) == (0.0, 1.0, ())
    assert (models.WEIGHTS / f"{name}.safetensors").stat().st_size <= 2_500_000
    assert DESIGNS[name].family in {"adversarial", "autoencoder", "mixture"}


@pytest.mark.parametrize("name", ["digits-autoencoder", "digits-mixture"])
def test_bundled_experts_prefer_a_digit_to_its_pixels_in_disorder_its_negative_and_noise(name):
    expert = models.load(name)
    digits = data.digits("test").images[:100]
    random = torch.Generator().manual_seed(0)
    order = torch.randperm(784, generator=random)
    shuffled = digits.flatten(1)[:, order].view_as(digits)
    noisy = (digits + 0.3 * torch.randn(digits.shape, generator=random)).clamp(0, 1)
    with torch.no_grad():
        likely = expert.log_density(digits)
        for other in (shuffled, noisy, 1 - digits):
            assert (likely > expert.log_density(other)).float().mean() >= 0.98


def test_bundled_figures_of_the_experts():
    ours = mixture.mean_log_density(models.load("digits-mixture"), data.digits("test").images[:500])
    assert ours > 400
    model = models.load("digits-autoencoder")
    test = data.digits("test").images[:1000]
    left = autoencoder.squared_error(model, test) / (test - test.mean(0)).square().mean()
    assert left < 0.25
