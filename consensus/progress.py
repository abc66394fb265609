"""How a long step says how far it is."""

from __future__ import annotations

from collections.abc import Callable

# Called with the step's name, how many parts are done, and of how many.
Progress = Callable[[str, int, int], None]


def silent(step: str, done: int, total: int) -> None:
    """Say nothing."""
