"""What check says to answers that students really give, in lessons 01 to 03 and 15 to 24."""

import pytest
import torch

import nni_widgets as nni
from course import lesson


def said(name, answer):
    """What check says in a lesson."""
    return lesson._verdict(name, lesson.exercises_of(name.partition(".")[0])[name], answer)


def step_in_place(see, x, size, weight):
    """Exercise 03.3 on the picture itself."""
    x.requires_grad_()
    rough = x.diff(dim=2).square().sum() + x.diff(dim=3).square().sum()
    (slope,) = torch.autograd.grad(see(x).square().mean() / 2 - weight * rough, x)
    with torch.no_grad():
        return x.add_(size * slope / slope.square().mean().sqrt()).clamp_(0, 1)


def doubt_explained():
    """Exercise 19.4 by ``nni.explain``, as in the section above it."""
    model, x = nni.models.load("digits-dropout"), nni.data.digits("test")[36:37][0]
    averaged = nni.Averaged(model, nni.MCDropout(n_samples=50))
    return nni.explain(averaged, x, nni.GradientTimesInput(), target=nni.Entropy())


def interval_of_the_normal_distribution():
    """Exercise 17.4 without the bootstrap."""
    measure = nni.Selectivity(n_steps=16, fill="blur")
    x, y = nni.data.digits("test")[:100]
    noise = torch.rand(x.shape, generator=torch.Generator().manual_seed(17))
    model, x = nni.models.load("digits-cnn"), 0.99 * x + 0.01 * noise
    areas = [measure(model, x, method, y) for method in (nni.LRP(), nni.GradientTimesInput())]
    found = areas[0] - areas[1]
    half = 1.96 * found.std() / 10
    return [found.mean(), found.mean() - half, found.mean() + half]


def one_step(logit):
    """Exercise 24.3, with the logits that are picked by a function of all of them."""

    def map_of(model, x, target):
        middle = (x / 2).requires_grad_()
        return x * torch.autograd.grad(logit(model(middle), target).sum(), middle)[0]

    return map_of


def of_each(logits, target):
    """The logit of its own class for each picture, as lesson 24 says."""
    return logits.gather(1, target[:, None])


def of_all(logits, target):
    """The logits of the classes of all pictures for each, which lesson 24 warns of."""
    return logits[:, target]


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("03.3", lambda: step_in_place),
        ("17.4", interval_of_the_normal_distribution),
        ("19.4", doubt_explained),
        ("20.5", lambda: [0.5, 0.07]),
        ("23.1", lambda: "D: SmoothGrad"),
        ("23.2", lambda: "no-factor"),
        ("24.3", lambda: one_step(of_each)),
    ],
)
def test_an_honest_answer_is_right(name, answer):
    assert said(name, answer()).startswith("right.")


def without_weight(logits, x, target, _weight, center):
    """Exercise 01.3 without λ."""
    return logits.log_softmax(1)[:, target] - (x - center).square().sum((1, 2, 3))


def with_fifteen_bins(confidence, right):
    """Exercise 21.2 with the library's number of bins."""
    p = torch.stack([confidence, 1 - confidence], 1)
    return nni.reliability(p, 1 - right.long()).ece


@pytest.mark.parametrize(
    ("name", "answer", "words"),
    [
        ("01.3", without_weight, "multiply the penalty by its weight."),
        ("02.2", [3.0, -1.0], "the derivative of z² is 2z, so the balance is at 2λz."),
        ("15.3", 51.7, "this is in percent: divide by 100."),
        ("20.2", [31 / 43, 10 / 43], "classes without evidence count too: their α is 1."),
        ("21.2", with_fifteen_bins, "this has fifteen bins: take ten."),
        ("24.3", one_step(of_all), "each map has the classes of all three pictures in it; "),
    ],
)
def test_a_usual_mistake_is_told(name, answer, words):
    assert said(name, answer).startswith(f"not yet: {words}")


def test_the_answer_of_02_2_is_not_on_the_page():
    page = (lesson.FOLDER.parent / "02_and_if_it_may_only_imagine_real_digits.ipynb").read_text()
    first, second = lesson.exercises_of("02")["02.2"].right().tolist()
    assert f"{first}, {second}" not in page
