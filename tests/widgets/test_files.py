"""Arrays that an explorer saves."""

import io

import numpy as np
import pytest
import torch

from nni_widgets.widgets.parts.files import npz


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_arrays_of_any_precision_come_back(dtype):
    given = torch.tensor([0.5, -2.0], dtype=dtype, requires_grad=True)
    with np.load(io.BytesIO(npz(values=given))) as saved:
        np.testing.assert_array_equal(saved["values"], [0.5, -2.0])
