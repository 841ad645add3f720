"""The same conditions for every test: one torch thread, the same random numbers, no deadline."""

import os

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)
settings.register_profile("nni_widgets", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("nni_widgets")


@pytest.fixture(autouse=True)
def same_seed():
    """Start every test from the same random numbers."""
    torch.manual_seed(0)
