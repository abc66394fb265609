"""Lettering of figures: how wide a text is, and how it is cut and wrapped to fit."""

from __future__ import annotations

import warnings
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@cache
def _advance(letter: str, bold: bool) -> float:  # noqa: FBT001 - a key of the cache
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextToPath

    font = FontProperties(family="DejaVu Sans", weight="bold" if bold else "normal", size=100)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        width, _, _ = TextToPath().get_text_width_height_descent(letter * 8, font, False)  # noqa: FBT003 - not math
    return float(width) / 800


def text_width(text: str, size: float, *, bold: bool = False) -> float:
    """Return the width of a line in inches (kerning aside: within 2 %), ``size`` in points."""
    return sum(_advance(letter, bold) for letter in text) * size / 72


def cut(text: str, size: float, width: float, *, bold: bool = False) -> str:
    """Return as much of a text as fits in ``width`` inches, cut in the middle: names often differ at their ends."""
    if text_width(text, size, bold=bold) <= width:
        return text
    for n in range(len(text) - 1, 1, -1):
        short = f"{text[: (n + 1) // 2].rstrip()}…{text[len(text) - n // 2 :].lstrip()}"
        if text_width(short, size, bold=bold) <= width:
            return short
    return "…"


def cut_apart(names: Sequence[str], size: float, width: float) -> list[str]:
    """Return names cut to ``width`` inches, in the one way of several that leaves most of them different."""
    ways = [
        [cut(name, size, width) for name in names],
        [_cut_end(name, size, width) for name in names],
        [_cut_end(name[::-1], size, width)[::-1] for name in names],
    ]
    shared = next((i for i, letters in enumerate(zip(*names, strict=False)) if len(set(letters)) > 1), 0)
    if shared > 2:
        ways.append([_cut_end(f"…{name[shared:]}", size, width) for name in names])
    return max(ways, key=lambda way: len(set(way)))


def _cut_end(text: str, size: float, width: float) -> str:
    if text_width(text, size) <= width:
        return text
    return next((f"{text[:n]}…" for n in range(len(text) - 1, 0, -1) if text_width(f"{text[:n]}…", size) <= width), "…")


def wrapped(text: str, size: float, width: float, *, bold: bool = False) -> list[str]:
    """Return the lines of a text that is at most ``width`` inches wide."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(longer, size, bold=bold) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def percent(value: float) -> str:
    """Return a share as it is read: a decimal below ten per cent, and never 0 where there is something."""
    if 0 < value < 0.001:
        return "<0.1 %"
    return f"{100 * value:.1f} %" if value < 0.1 else f"{100 * value:.0f} %"
