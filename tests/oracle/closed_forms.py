"""Functions whose attributions are known by calculation, as modules beside their exact answers.

Each module takes (N, inputs) and returns (N, K), so that a method treats it as any network.

- `Quadratic`: integrated gradients and SmoothGrad are polynomials in x.
- `Ridge`: f = g(w·x + b) for any g; integrated gradients share Δf out like w_i Δx_i.
- `ReluRidge`: the smoothed gradient of a ReLU is a normal distribution function.
- `FourCases`: a ReLU layer with every combination of signs, worked out by hand.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn


def _normal(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


class Quadratic(nn.Module):
    """f_k(x) = ½ xᵀ A_k x + b_k·x + c_k with symmetric A_k."""

    def __init__(self, inputs: int = 4, classes: int = 3, seed: int = 0) -> None:
        super().__init__()
        half = _normal(classes, inputs, inputs, seed=seed)
        self.A = nn.Parameter(half + half.transpose(1, 2))
        self.b = nn.Parameter(_normal(classes, inputs, seed=seed + 1))
        self.c = nn.Parameter(_normal(classes, seed=seed + 2))

    def forward(self, x: Tensor) -> Tensor:
        curved = torch.einsum("ni,kij,nj->nk", x, self.A, x) / 2
        return curved + x @ self.b.t() + self.c

    def gradient(self, x: Tensor, target: int) -> Tensor:
        """A x + b, for a batch."""
        return (x @ self.A[target] + self.b[target]).detach()

    def integrated_gradients(self, x: Tensor, baseline: Tensor, target: int) -> Tensor:
        """The gradient is linear along the path, so its mean is its value half way."""
        return (x - baseline) * self.gradient((x + baseline) / 2, target)

    def smoothgrad(self, x: Tensor, target: int) -> Tensor:
        """E[A (x + noise) + b] for noise of mean zero: the gradient itself."""
        return self.gradient(x, target)

    def smoothgrad_error(self, sigma: float, n_samples: int, target: int) -> Tensor:
        """Standard deviation of the mean of n noisy gradients: σ ‖A_i‖ / √n for component i."""
        return sigma * self.A[target].norm(dim=1).detach() / math.sqrt(n_samples)

    def squared_smoothgrad(self, x: Tensor, sigma: float, target: int) -> Tensor:
        """E[(gradient)²] = (A x + b)² + σ² ‖A_i‖²."""
        spread = sigma**2 * (self.A[target] ** 2).sum(1).detach()
        return self.gradient(x, target) ** 2 + spread


class Ridge(nn.Module):
    """f_k(x) = g(w_k·x + b_k)."""

    def __init__(
        self, g: Callable[[Tensor], Tensor], inputs: int = 4, classes: int = 3, seed: int = 0
    ) -> None:
        super().__init__()
        self.g = g
        self.w = nn.Parameter(_normal(classes, inputs, seed=seed))
        self.b = nn.Parameter(_normal(classes, seed=seed + 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.g(x @ self.w.t() + self.b)

    def integrated_gradients(self, x: Tensor, baseline: Tensor, target: int) -> Tensor:
        """Δf in proportion to w_i Δx_i: ∫ g′ along the path is Δf / (w·Δx)."""
        with torch.no_grad():
            steps = self.w[target] * (x - baseline)
            change = (self(x) - self(baseline))[:, target]
            return steps * (change / steps.sum(1))[:, None]


class ReluRidge(Ridge):
    """f_k(x) = max(0, w_k·x + b_k)."""

    def __init__(self, inputs: int = 4, classes: int = 3, seed: int = 0) -> None:
        super().__init__(torch.relu, inputs, classes, seed)

    def smoothgrad(self, x: Tensor, sigma: float, target: int) -> Tensor:
        """w times the probability that w·(x + noise) + b is positive: Φ(z / (σ ‖w‖))."""
        w, b = self.w[target].detach(), self.b[target].detach()
        z = x @ w + b
        return torch.special.ndtr(z / (sigma * w.norm()))[:, None] * w


class FourCases(nn.Sequential):
    """ReLU of four pixels, then one weighted sum: z and R take every combination of signs.

    z = 1  2     R = 3 -2     gradient = 3 -2     deconvnet = 3  0     guided = 3  0
       -3 -4         5 -7                0  0                 5  0              0  0
    """

    x = torch.tensor([[[[1.0, 2.0], [-3.0, -4.0]]]], dtype=torch.float64)
    gradient = torch.tensor([[[[3.0, -2.0], [0.0, 0.0]]]], dtype=torch.float64)
    deconvnet = torch.tensor([[[[3.0, 0.0], [5.0, 0.0]]]], dtype=torch.float64)
    guided = torch.tensor([[[[3.0, 0.0], [0.0, 0.0]]]], dtype=torch.float64)

    def __init__(self) -> None:
        super().__init__(nn.ReLU(), nn.Flatten(), nn.Linear(4, 1, bias=False).double())
        with torch.no_grad():
            self[2].weight.copy_(torch.tensor([[3.0, -2.0, 5.0, -7.0]]))


class HandWorkedLRP(nn.Sequential):
    """Two inputs, two hidden units, one logit: every rule worked out with pencil and paper.

        x = (1, 2)    W₁ = ( 2  1)   b₁ = (1, 0)    z₁ = (2 + 2 + 1, -1 + 4 + 0) = (5, 3)
                           (-1  2)
                      w₂ = (3, -2)   b₂ = 1         f  = 15 - 6 + 1 = 10

    LRP-0: hidden R = (15, -6); input R₁ = 15·2/5 - 6·(-1)/3 = 8, R₂ = 15·2/5 - 6·4/3 = -2.
    z⁺:    hidden R = (10, 0);  input R = 10·(2, 2)/4 = (5, 5).
    α2β1:  hidden R = (2·10·15/16, -10·1) = (18.75, -10); of the first unit's bias share 1/5 is
           lost, input R = 18.75·2·(2, 2)/5 - 10·(-1·1, 2·4/4) = (15 + 10, 15 - 20) = (25, -5).
    γ = 1: hidden R = 10·(5·6, 3·-2)/(30 - 6 + 2) = (300, -60)/26;
           unit 1: (4, 4)/(8 + 2), unit 2: (-1, 8)/7,
           input R = (300·0.4 + 60/7, 300·0.4 - 480/7)/26.
    ε = 1: hidden R = 10·(15, -6)/11; input R = (150·2/6 + 60·1/4, 150·2/6 - 60·4/4)/11.

    Below the hidden R = (15, -6) of LRP-0, for the first layer alone:
    zᴮ in [0, 3]: 15·(2, 2)/4 - 6·(2, 4)/6;  w²: 15·(4, 1)/5 - 6·(1, 4)/5;  flat: 9·(1, 1)/2.
    """

    x = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    logit = 10.0
    zero = torch.tensor([[8.0, -2.0]], dtype=torch.float64)
    z_plus = torch.tensor([[5.0, 5.0]], dtype=torch.float64)
    alpha2_beta1 = torch.tensor([[25.0, -5.0]], dtype=torch.float64)
    epsilon1 = torch.tensor([[65.0, -10.0]], dtype=torch.float64) / 11
    z_box_0_3 = torch.tensor([[5.5, 3.5]], dtype=torch.float64)
    w_square = torch.tensor([[10.8, -1.8]], dtype=torch.float64)
    flat = torch.tensor([[4.5, 4.5]], dtype=torch.float64)
    gamma1 = torch.tensor([[120 + 60 / 7, 120 - 480 / 7]], dtype=torch.float64) / 26

    def __init__(self) -> None:
        super().__init__(nn.Linear(2, 2).double(), nn.ReLU(), nn.Linear(2, 1).double())
        with torch.no_grad():
            self[0].weight.copy_(torch.tensor([[2.0, 1.0], [-1.0, 2.0]]))
            self[0].bias.copy_(torch.tensor([1.0, 0.0]))
            self[2].weight.copy_(torch.tensor([[3.0, -2.0]]))
            self[2].bias.fill_(1.0)
