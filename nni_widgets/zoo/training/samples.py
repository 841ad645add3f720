"""What the card of a generative model tells and shows: its samples, judged by ``digits-cnn``."""

from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn

from nni_widgets.zoo import models

JUDGE = "digits-cnn"
CLEAR = 0.9
N_JUDGED, JUDGED_SEED = 1000, 0
ROWS, COLUMNS, SHOWN_SEED = 8, 12, 1
GREYS = 16


@torch.no_grad()
def judged(model: Any) -> dict[str, float]:
    """The share of clear samples, and the share of clear samples of the rarest digit.

    A sample is clear if ``digits-cnn`` gives one digit a probability of at least 0.9. Both are
    shares of the same 1,000 draws.
    """
    judge = models.load(JUDGE)
    sure, digit = judge(model.sample(N_JUDGED, JUDGED_SEED)).softmax(1).max(1)
    clear = sure >= CLEAR
    counts = torch.bincount(digit[clear], minlength=10)
    return {
        "clear samples": int(clear.sum()) / N_JUDGED,
        "rarest digit": int(counts.min()) / N_JUDGED,
    }


def write_grid(model: nn.Module, path: Path) -> None:
    """Write a grid of samples as a PNG in 16 shades of grey, small enough to lie beside a card."""
    drawn: Any = model
    pictures = drawn.sample(ROWS * COLUMNS, SHOWN_SEED).cpu()
    height, width = pictures.shape[-2:]
    rows = pictures.view(ROWS, COLUMNS, height, width).permute(0, 2, 1, 3)
    shades = (rows.reshape(ROWS * height, COLUMNS * width) * (GREYS - 1)).round() / (GREYS - 1)
    Image.fromarray((shades * 255).byte().numpy()).save(path, optimize=True)
