"""Fixtures that every test may use."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared():
    """Return a function that finds a file of the reference data beside the checkout."""

    def find(relative):
        path = SHARED / relative
        if not path.exists():
            pytest.skip(f"reference data is absent: expected {relative} in {SHARED}")
        return path

    return find
