"""What several test folders share."""

from __future__ import annotations

import os
from pathlib import Path

# Two torch threads on a busy two-core machine cost ten times the CPU of one.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import pytest  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real data sets that the project tests on; they are not part of the repository."""
    if not SHARED.is_dir():
        pytest.skip("needs ../shared/data (real data sets that are not part of the repository)")
    return SHARED
