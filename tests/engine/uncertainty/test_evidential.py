"""Evidential learning: closed forms against integrals and draws; what is refused, and how."""

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from nni_widgets.engine.uncertainty.evidential import (
    EVIDENCE,
    Dirichlet,
    dirichlet,
    evidential_loss,
)

N_DRAWS = 400_000
CASES = [[1.0, 1.0, 1.0], [4.0, 1.5, 2.0], [0.3, 0.8, 6.0], [30.0, 1.0, 1.0]]


def draws(alpha: list[float]) -> Tensor:
    """Draws from a Dirichlet distribution as normalised gamma variables, float64 (n, K)."""
    torch.manual_seed(0)
    gammas = torch._standard_gamma(torch.tensor(alpha).double().expand(N_DRAWS, -1))
    return gammas / gammas.sum(1, keepdim=True)


def integral_over_pairs(alpha: tuple[float, float], function: object, n: int = 200_000) -> float:
    """The mean of a function of (p, 1 − p) under Dir(α) of two classes, by the midpoint rule."""
    p = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    pair = torch.stack([p, 1 - p], 1)
    weight = p ** (alpha[0] - 1) * (1 - p) ** (alpha[1] - 1)
    return float((weight * function(pair)).sum() / weight.sum())


def density_ratio_to_uniform(alpha: tuple[float, float], n: int = 200_000) -> float:
    """∫ f log f over [0, 1], where f is the density of Dir(α) of two classes: KL(f ‖ uniform)."""
    p = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    f = p ** (alpha[0] - 1) * (1 - p) ** (alpha[1] - 1)
    f = f / f.mean()
    return float((f * f.log()).mean())


def by_loops(
    logits: Tensor, labels: Tensor, epoch: int, annealing: int, evidence: object
) -> Tensor:
    """The loss as Sensoy et al. print it, one number at a time."""
    total = logits.new_zeros(())
    for row, label in zip(logits, labels.tolist(), strict=True):
        alpha = [evidence(z) + 1 for z in row]
        strength = sum(alpha)
        for k, a in enumerate(alpha):
            mean = a / strength
            total = total + (float(k == label) - mean) ** 2 + mean * (1 - mean) / (strength + 1)
        tilde = [a * 0 + 1 if k == label else a for k, a in enumerate(alpha)]
        whole = sum(tilde)
        kl = whole.lgamma() - math.lgamma(len(tilde)) - sum(a.lgamma() for a in tilde)
        kl = kl + sum((a - 1) * (a.digamma() - whole.digamma()) for a in tilde)
        total = total + min(1, epoch / annealing) * kl
    return total / len(logits)


def certain(evidence_for: list[float], label: int, epoch: int, annealing_epochs: int = 10) -> float:
    """The loss of one sample with this evidence, which is that of its relu."""
    logits = torch.tensor([evidence_for], dtype=torch.float64)
    return float(evidential_loss(logits, torch.tensor([label]), epoch, annealing_epochs, "relu"))


@pytest.mark.parametrize("alpha", CASES)
def test_moments_and_entropies_are_those_of_draws(alpha: list[float]) -> None:
    p, belief = draws(alpha), Dirichlet(torch.tensor([alpha]).double())
    entropy = torch.special.entr(p).sum(1)
    near = {"rtol": 0, "atol": 5e-3}
    torch.testing.assert_close(belief.probabilities[0], p.mean(0), **near)
    torch.testing.assert_close(belief.deviation[0], p.std(0), **near)
    torch.testing.assert_close(belief.expected_entropy[0], entropy.mean(), **near)
    mean = p.mean(0)
    torch.testing.assert_close(belief.entropy[0], torch.special.entr(mean).sum(), **near)
    gap = torch.special.entr(mean).sum() - entropy.mean()
    torch.testing.assert_close(belief.mutual_information[0], gap, **near)


@pytest.mark.parametrize("alpha", [(1.0, 1.0), (2.0, 3.5), (7.0, 1.0)])
def test_two_classes_are_those_of_numerical_integration(alpha: tuple[float, float]) -> None:
    belief = Dirichlet(torch.tensor([alpha], dtype=torch.float64))
    entropy = integral_over_pairs(alpha, lambda pair: torch.special.entr(pair).sum(1))
    assert float(belief.expected_entropy) == pytest.approx(entropy, abs=1e-6)
    variance = integral_over_pairs(
        alpha, lambda pair: (pair[:, 0] - alpha[0] / sum(alpha)).square()
    )
    assert float(belief.deviation[0, 0]) == pytest.approx(math.sqrt(variance), abs=1e-6)


@pytest.mark.parametrize("evidence_for", [(0.0, 0.0), (3.0, 0.0), (1.0, 2.5), (0.0, 6.0)])
@pytest.mark.parametrize("label", [0, 1])
def test_loss_of_two_classes_is_that_of_numerical_integration(
    evidence_for: tuple[float, float], label: int
) -> None:
    alpha = (evidence_for[0] + 1, evidence_for[1] + 1)
    y = torch.eye(2, dtype=torch.float64)[label]
    error = integral_over_pairs(alpha, lambda pair: (y - pair).square().sum(1))
    misleading = (1.0, alpha[1]) if label == 0 else (alpha[0], 1.0)
    penalty = density_ratio_to_uniform(misleading)
    found = certain(list(evidence_for), label, epoch=3)
    assert found == pytest.approx(error + 0.3 * penalty, abs=1e-4)


@pytest.mark.parametrize("evidence_for", [[0.0, 0.0, 0.0], [5.0, 1.0, 0.0], [0.5, 9.0, 3.0]])
def test_expected_squared_error_of_three_classes_is_that_of_draws(
    evidence_for: list[float],
) -> None:
    p = draws([e + 1 for e in evidence_for])
    error = (torch.tensor([1.0, 0, 0]) - p).square().sum(1).mean()
    assert certain(evidence_for, 0, epoch=0) == pytest.approx(float(error), abs=5e-3)


@pytest.mark.parametrize("name", EVIDENCE)
@pytest.mark.parametrize("epoch", [0, 4, 25])
def test_loss_and_gradient_are_those_of_the_printed_formula(name: str, epoch: int) -> None:
    generator = torch.Generator().manual_seed(1)
    logits = (torch.randn(7, 5, generator=generator, dtype=torch.float64) * 2).requires_grad_()
    labels = torch.tensor([0, 4, 2, 2, 1, 3, 0])
    loss = evidential_loss(logits, labels, epoch, 8, name)
    formulas = {
        "softplus": lambda z: (1 + z.exp()).log(),
        "relu": lambda z: z.clamp(min=0),
        "exp": lambda z: z.exp(),
    }
    expected = by_loops(logits, labels, epoch, 8, formulas[name])
    torch.testing.assert_close(loss, expected, rtol=1e-10, atol=1e-10)
    gradient, reference = (torch.autograd.grad(each, logits)[0] for each in (loss, expected))
    torch.testing.assert_close(gradient, reference, rtol=1e-8, atol=1e-10)
    assert gradient.abs().max() > 1e-3


def test_loss_by_hand() -> None:
    """Without evidence p̂ = 1/2, so 1/2 + 2 · (1/4) / 3; the uniform pays no penalty."""
    assert certain([0.0, 0.0], 0, epoch=10) == pytest.approx(2 / 3)


def test_evidence_for_the_right_class_costs_nothing_and_for_a_wrong_one_more_each_epoch() -> None:
    assert certain([8.0, 0.0], 0, epoch=10) == pytest.approx(certain([8.0, 0.0], 0, epoch=0))
    wrong = [certain([8.0, 0.0], 1, epoch, annealing_epochs=5) for epoch in range(8)]
    steps = [after - before for before, after in itertools.pairwise(wrong)]
    full = density_ratio_to_uniform((9.0, 1.0))
    assert steps[:5] == pytest.approx([full / 5] * 5, abs=1e-4)
    assert steps[5:] == pytest.approx([0, 0], abs=1e-12)


def test_a_dirichlet_by_hand() -> None:
    belief = Dirichlet(torch.tensor([[1.0, 1.0, 1.0, 1.0], [7.0, 1.0, 1.0, 1.0]]))
    assert belief.evidence.tolist() == [[0, 0, 0, 0], [6, 0, 0, 0]]
    assert belief.strength.tolist() == [4, 10]
    assert belief.uncertainty.tolist() == pytest.approx([1.0, 0.4])
    assert belief.probabilities[1].tolist() == pytest.approx([0.7, 0.1, 0.1, 0.1])
    assert belief.predicted.tolist() == [0, 0]
    assert float(belief.entropy[0]) == pytest.approx(math.log(4))
    assert belief.deviation[1, 0] == pytest.approx(math.sqrt(0.7 * 0.3 / 11))
    shapes = [belief.entropy, belief.expected_entropy, belief.mutual_information]
    assert [tuple(each.shape) for each in shapes] == [(2,)] * 3


def test_mutual_information_is_never_negative() -> None:
    huge = Dirichlet(torch.full((3, 10), 1e7))
    assert (huge.mutual_information >= 0).all()
    assert float(huge.mutual_information.max()) < 1e-4


def network(evidence: str | None = None) -> nn.Module:
    torch.manual_seed(2)
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 3)).double().eval()
    if evidence is not None:
        model.evidence = evidence
    return model


@pytest.mark.parametrize("name", EVIDENCE)
def test_dirichlet_of_a_model_is_its_evidence_and_one(name: str) -> None:
    model, x = network(), torch.rand(4, 2, 3, dtype=torch.float64)
    belief = dirichlet(model, x, name)
    torch.testing.assert_close(belief.alpha, EVIDENCE[name](model(x).detach()) + 1)
    assert not belief.alpha.requires_grad
    alone = torch.cat([dirichlet(model, row[None], name).alpha for row in x])
    torch.testing.assert_close(belief.alpha, alone)


def test_little_evidence_is_not_lost_beside_one() -> None:
    class Doubtful(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x - 25

    belief = dirichlet(Doubtful().eval(), torch.tensor([[0.0, 2.0, 1.0]]), "softplus")
    assert belief.alpha.dtype == torch.float64
    assert belief.predicted.tolist() == [1]
    assert (belief.alpha.float() == 1).all()


def test_a_model_may_name_its_own_evidence() -> None:
    x = torch.rand(4, 2, 3, dtype=torch.float64)
    plain, named = network(), network("exp")
    assert torch.equal(dirichlet(named, x).alpha, dirichlet(plain, x, "exp").alpha)
    assert torch.equal(dirichlet(plain, x).alpha, dirichlet(plain, x, "softplus").alpha)
    assert torch.equal(dirichlet(named, x, "relu").alpha, dirichlet(plain, x, "relu").alpha)


LOGITS, LABELS = torch.zeros(2, 3), torch.tensor([0, 2])


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ((torch.zeros(3), LABELS, 1), "logits"),
        ((torch.zeros(0, 3), LABELS[:0], 1), "logits"),
        (("logits", LABELS, 1), "logits"),
        ((LOGITS, LABELS.float(), 1), "labels"),
        ((LOGITS, torch.eye(3, dtype=torch.int64)[:2], 1), "labels"),
        ((LOGITS, [0, 2], 1), "labels"),
        ((LOGITS, torch.tensor([0, 3]), 1), "labels"),
        ((LOGITS, torch.tensor([0, -1]), 1), "labels"),
        ((LOGITS, LABELS, -1), "epoch"),
        ((LOGITS, LABELS, math.nan), "epoch"),
        ((LOGITS, LABELS, 1, 0), "annealing_epochs"),
        ((LOGITS, LABELS, 1, 10, "tanh"), "evidence"),
    ],
)
def test_loss_says_what_is_wrong(arguments: tuple, what: str) -> None:
    with pytest.raises(ValueError, match=rf"^evidential_loss: {what} must be .+; got .+\. .+\.$"):
        evidential_loss(*arguments)


@pytest.mark.parametrize(
    "alpha",
    [
        [[1.0, 2.0]],
        torch.tensor([1.0, 2.0]),
        torch.tensor([[1, 2]]),
        torch.tensor([[1.0]]),
        torch.tensor([[0.0, 1.0]]),
        torch.tensor([[1.0, math.nan]]),
        torch.tensor([[1.0, math.inf]]),
    ],
    ids=repr,
)
def test_a_dirichlet_says_what_is_wrong(alpha: object) -> None:
    with pytest.raises(ValueError, match=r"^Dirichlet: .+ must be .+; got .+\. .+\.$"):
        Dirichlet(alpha)


def test_dirichlet_of_a_model_says_what_is_wrong() -> None:
    model, x = network(), torch.rand(2, 2, 3, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"^dirichlet: evidence must be .+softplus.+; got 'tanh'"):
        dirichlet(model, x, "tanh")
    with pytest.raises(ValueError, match=r"^dirichlet: the model must be in evaluation mode"):
        dirichlet(network().train(), x)
    with pytest.raises(ValueError, match=r"^dirichlet: x must be"):
        dirichlet(model, x.float())
    with pytest.raises(ValueError, match=r"^dirichlet: x must be a batch of at least one"):
        dirichlet(model, x[:0])
    with pytest.raises(ValueError, match=r"^Dirichlet: alpha must be finite .+ exp evidence"):
        dirichlet(model, 1e5 * x.abs() + 1e5, "exp")


@pytest.mark.parametrize("logit", [12.0, 18.0, 25.0])
def test_much_evidence_for_a_wrong_class_can_be_unlearnt_in_float32(logit: float) -> None:
    labels = torch.tensor([1])
    found = {}
    for dtype in (torch.float32, torch.float64):
        logits = torch.tensor([[logit, 3.0, 1.0]], dtype=dtype, requires_grad=True)
        loss = evidential_loss(logits, labels, epoch=10, evidence="exp")
        (gradient,) = torch.autograd.grad(loss, logits)
        assert (loss.dtype, gradient.dtype) == (dtype, dtype)
        found[dtype] = loss.item(), gradient[0, 0].item()
    assert found[torch.float32] == pytest.approx(found[torch.float64], rel=1e-4)
    assert found[torch.float64][1] == pytest.approx(2, rel=1e-3)  # K − 1, in the limit
