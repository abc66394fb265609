"""No test of the review touches the user's cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from browser import browser, made, run, screen, server  # noqa: F401  (fixtures)
from postgres import postgres_url  # noqa: F401  (a fixture)

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or writes the user's cache, also not in a process that it starts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CELLJURY_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
