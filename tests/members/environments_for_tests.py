"""Interpreters of their own in tests: installed by ``make test``, elsewhere a skip that says what to do."""

from __future__ import annotations

import pytest

from celljury.members.environments import why_not_installed


def needs_environment(name: str) -> None:
    """Skip the test (or module) where the environment of that name is not installed."""
    if why := why_not_installed(name):
        pytest.skip(why, allow_module_level=True)
