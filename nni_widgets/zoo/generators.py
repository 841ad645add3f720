"""The models of the zoo that make digits: builders, their modules and the recipes of each.

A generator turns a code z ~ N(0, I) into a picture; an autoencoder finds the code of a picture; a
mixture says how probable a picture is. All draw pictures by ``sample(n, seed)``, and leave the
global random state alone.
"""

import math
from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nni_widgets.errors import invalid
from nni_widgets.params import is_whole

SIDE = 28
PIXELS = SIDE * SIDE
MOST = 2**31


@dataclass(frozen=True)
class AdversarialRecipe:
    """The numbers by which a generator and its discriminator are trained against each other.

    Both learning rates are constant for half of the training, then fall to zero. ``averaging`` is
    the decay of the exponential mean of the generator's weights, which is what is kept.
    ``certainty`` and ``balance`` weigh its wishes for sure and for equally frequent classes.
    """

    seed: int = 0
    threads: int = 1
    epochs: int = 5
    batch_size: int = 64
    learning_rate: float = 4e-4
    dropout: float = 0.3
    averaging: float = 0.998
    certainty: float = 1.0
    balance: float = 3.0


@dataclass(frozen=True)
class AutoencoderRecipe:
    """The numbers by which an autoencoder is trained, and then the density of its codes.

    ``mixture_rounds`` is the number of rounds of EM.
    """

    seed: int = 0
    threads: int = 1
    epochs: int = 15
    batch_size: int = 128
    peak_learning_rate: float = 2e-3
    warm_up: float = 0.2
    mixture_rounds: int = 15


@dataclass(frozen=True)
class MixtureRecipe:
    """The numbers by which a mixture is fitted; ``epochs`` are rounds of EM."""

    seed: int = 0
    threads: int = 1
    epochs: int = 15


class Generator(nn.Sequential):
    """Codes (N, code_size) to pictures (N, 1, 28, 28) in [0, 1], in one row of layers.

    The code is distributed as N(0, I). Its batch-norms give the good pictures in evaluation mode.
    """

    @property
    def code_size(self) -> int:
        """The number of entries of a code."""
        return int(next(self.parameters()).shape[1])

    @torch.no_grad()
    def sample(self, n: int, seed: int) -> Tensor:
        """Pictures of ``n`` random codes, (n, 1, 28, 28)."""
        _check_count(n)
        z = torch.randn(n, self.code_size, generator=_random(seed))
        pictures: Tensor = self(z.to(next(self.parameters())))
        return pictures


class GaussianMixture(nn.Module):
    """The density p(v) = sum_k w_k N(v; m_k, F_k F_k' + s_k^2 I): probabilistic PCA, many times.

    Shape: v (N, size); F_k (size, rank); the value (N,).
    Cost: the inverse covariances are never formed (Woodbury), N * n_components * size * rank.
    Source: Tipping & Bishop 1999, Mixtures of probabilistic principal component analysers.
    """

    def __init__(self, n_components: int, size: int, rank: int) -> None:
        super().__init__()
        self.scores = nn.Parameter(torch.zeros(n_components))
        self.means = nn.Parameter(torch.zeros(n_components, size))
        self.factors = nn.Parameter(torch.zeros(n_components, size, rank))
        self.noise = nn.Parameter(torch.ones(n_components))

    @property
    def log_weights(self) -> Tensor:
        """The logarithms of the components' shares, which add up to one."""
        return self.scores.log_softmax(0)

    def forward(self, v: Tensor) -> Tensor:
        """The logarithm of p(v), exact."""
        return self.log_joint(v).logsumexp(1)

    def log_joint(self, v: Tensor) -> Tensor:
        """The logarithm of w_k N(v; m_k, ...) for each component, (N, n_components).

        With M = I + F'F / s^2 = LL' the squared distance is |d|^2 / s^2 - |L^-1 F'd / s^2|^2 and
        the determinant of the covariance s^(2 size) |L|^2.
        """
        size, rank = self.factors.shape[1:]
        variance = self.noise.square()
        scaled = self.factors.mT / variance[:, None, None]
        eye = torch.eye(rank, dtype=v.dtype, device=v.device)
        lower = torch.linalg.cholesky(eye + scaled @ self.factors)
        whiten = torch.linalg.solve_triangular(lower, scaled, upper=False)
        distance = v[:, None] - self.means
        explained = torch.einsum("krs,nks->nkr", whiten, distance).square().sum(2)
        squared = distance.square().sum(2) / variance - explained
        log_det = size * variance.log() + 2 * lower.diagonal(dim1=1, dim2=2).log().sum(1)
        joint: Tensor = self.log_weights - (squared + log_det + size * math.log(2 * math.pi)) / 2
        return joint

    @torch.no_grad()
    def draw(self, n: int, seed: int) -> Tensor:
        """``n`` samples, (n, size)."""
        _check_count(n)
        random = _random(seed)
        size, rank = self.factors.shape[1:]
        chosen = torch.multinomial(self.log_weights.exp().cpu(), n, True, generator=random)
        common = torch.randn(n, rank, 1, generator=random).to(self.factors)
        own = torch.randn(n, size, generator=random).to(self.factors)
        along = (self.factors[chosen] @ common).squeeze(2)
        return self.means[chosen] + along + self.noise[chosen, None] * own


class PictureMixture(GaussianMixture):
    """A mixture of Gaussians over pictures; the model itself gives log p(x).

    A Gaussian knows no border: its samples leave [0, 1] a little, and ``sample`` clips them.
    """

    def forward(self, x: Tensor) -> Tensor:
        """The same as ``log_density``."""
        return self.log_density(x)

    def log_density(self, x: Tensor) -> Tensor:
        """The exact log p(x) in nats; pictures (N, 1, 28, 28) to (N,)."""
        return super().forward(x.flatten(1))

    def sample(self, n: int, seed: int) -> Tensor:
        """``n`` random pictures, (n, 1, 28, 28), clipped to [0, 1]."""
        pictures: Tensor = self.draw(n, seed).clamp(0, 1).unflatten(1, (1, SIDE, SIDE))
        return pictures


class Autoencoder(nn.Module):
    """Pictures to codes and back; a mixture of Gaussians tells how the codes are distributed.

    ``sample`` decodes codes that are drawn from that mixture.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, codes: GaussianMixture) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.codes = codes
        self.error = nn.Parameter(torch.ones(()))

    @property
    def code_size(self) -> int:
        """The number of entries of a code."""
        return int(self.codes.means.shape[1])

    def encode(self, x: Tensor) -> Tensor:
        """The codes of pictures: (N, 1, 28, 28) to (N, code_size)."""
        code: Tensor = self.encoder(x)
        return code

    def decode(self, z: Tensor) -> Tensor:
        """The pictures of codes, (N, code_size) to (N, 1, 28, 28) in [0, 1]."""
        pictures: Tensor = self.decoder(z)
        return pictures

    def forward(self, x: Tensor) -> Tensor:
        """The reconstructions r(x) of pictures."""
        return self.decode(self.encode(x))

    def log_density(self, x: Tensor) -> Tensor:
        """-|x - r(x)|^2 / (2 s^2), with s^2 the mean squared error per pixel in training.

        As log p(x) it is meant up to a constant, and it is no true density: it only tells how far
        a picture is from those that the autoencoder can make. Pictures (N, 1, 28, 28) to (N,).
        """
        distance: Tensor = (x - self(x)).flatten(1).square().sum(1)
        return -distance / (2 * self.error.square())

    @torch.no_grad()
    def sample(self, n: int, seed: int) -> Tensor:
        """The pictures of ``n`` codes drawn from the density of codes, (n, 1, 28, 28)."""
        return self.decode(self.codes.draw(n, seed))


def _check_count(n: int) -> None:
    if not is_whole(n) or n < 1:
        raise invalid("sample", "n", "a whole number of at least 1", repr(n), "Try 16")


def _random(seed: int) -> torch.Generator:
    if not is_whole(seed) or not 0 <= seed <= MOST:
        raise invalid("sample", "seed", f"a whole number from 0 to {MOST:,}", repr(seed), "Try 0")
    return torch.Generator().manual_seed(int(seed))


def digits_autoencoder() -> Autoencoder:
    """784 pixels to 384, 128 and 16 units, and the same way back."""
    return Autoencoder(
        encoder=nn.Sequential(
            OrderedDict(
                flatten=nn.Flatten(),
                fc1=nn.Linear(PIXELS, 384),
                relu1=nn.ReLU(),
                fc2=nn.Linear(384, 128),
                relu2=nn.ReLU(),
                fc3=nn.Linear(128, 16),
            )
        ),
        decoder=nn.Sequential(
            OrderedDict(
                fc1=nn.Linear(16, 128),
                relu1=nn.ReLU(),
                fc2=nn.Linear(128, 384),
                relu2=nn.ReLU(),
                fc3=nn.Linear(384, PIXELS),
                sigmoid=nn.Sigmoid(),
                unflatten=nn.Unflatten(1, (1, SIDE, SIDE)),
            )
        ),
        codes=GaussianMixture(n_components=100, size=16, rank=15),
    )


def digits_mixture() -> PictureMixture:
    """One hundred Gaussians over 784 pixels, each with eight directions of its own."""
    return PictureMixture(n_components=100, size=PIXELS, rank=8)


def digits_gan() -> Generator:
    """Codes of 64 entries to 256 and 512 units and 784 pixels."""
    return Generator(
        OrderedDict(
            fc1=nn.Linear(64, 256, bias=False),
            norm1=nn.BatchNorm1d(256),
            relu1=nn.ReLU(),
            fc2=nn.Linear(256, 512, bias=False),
            norm2=nn.BatchNorm1d(512),
            relu2=nn.ReLU(),
            fc3=nn.Linear(512, PIXELS),
            sigmoid=nn.Sigmoid(),
            unflatten=nn.Unflatten(1, (1, SIDE, SIDE)),
        )
    )


def digits_dcgan() -> Generator:
    """Codes of 64 entries to 128 units, and to maps of 7 x 7, 14 x 14 and 28 x 28 places."""
    return Generator(
        OrderedDict(
            fc1=nn.Linear(64, 128, bias=False),
            norm1=nn.BatchNorm1d(128),
            relu1=nn.ReLU(),
            fc2=nn.Linear(128, 64 * 7 * 7, bias=False),
            norm2=nn.BatchNorm1d(64 * 7 * 7),
            relu2=nn.ReLU(),
            unflatten=nn.Unflatten(1, (64, 7, 7)),
            conv1=nn.ConvTranspose2d(64, 32, 4, stride=2, padding=1, bias=False),
            norm3=nn.BatchNorm2d(32),
            relu3=nn.ReLU(),
            conv2=nn.ConvTranspose2d(32, 1, 4, stride=2, padding=1),
            sigmoid=nn.Sigmoid(),
        )
    )
