"""What the tests share: where the project is, and one thread for the small problems."""

from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Small matrices run faster on one thread than on two."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's folder."""
    return ROOT
