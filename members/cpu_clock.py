"""Processor time of this process and of the interpreters that work for it."""

from __future__ import annotations

import time

_elsewhere = 0.0


def cpu_seconds() -> float:
    """Return processor seconds spent so far, here and where `add_elsewhere` was told of."""
    return time.process_time() + _elsewhere


def add_elsewhere(seconds: float) -> None:
    """Count seconds that another process spent on an order of this one."""
    global _elsewhere
    _elsewhere += seconds
