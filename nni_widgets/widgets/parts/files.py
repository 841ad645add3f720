"""What an explorer saves besides explanations: named arrays."""

from __future__ import annotations

import io

import numpy as np
from torch import Tensor

from nni_widgets.pictures.explanation import array_of


def npz(**tensors: Tensor) -> bytes:
    """These tensors as one ``.npz`` file."""
    buffer = io.BytesIO()
    arrays = {name: array_of(tensor) for name, tensor in tensors.items()}
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()
