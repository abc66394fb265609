"""Composition of a run or of its groups at a level: stacked bars, each 100 % of a group's cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from celljury.report.figure_stack import Stack, segment_patch, stack_of
from celljury.report.figure_style import (
    FAINT,
    INK,
    MUTED,
    SMALL,
    TEXT,
    WIDTH,
    Drawing,
    canvas,
    heading,
    on_colour,
    styled,
)
from celljury.report.figure_text import cut, cut_apart, percent, text_width
from celljury.report.tally import UNRESOLVED, UNSEEN

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

MAX_GROUPS: Final = 240
"""Bars; the smallest groups beyond that are one bar."""
_GAP, _RIGHT = 0.1, 0.1  # inches


@styled
def composition_drawing(
    rows: pd.DataFrame, groups: tuple[str, ...], *, name: str, level: str, by: str | None, source: str
) -> Drawing | None:
    """Return the bars; None where there is no cell.

    Parameters
    ----------
    rows
        Of a `celljury.report.tally.Tally`.
    groups
        Groups in their order; ``("",)`` where ``by`` is None.
    name
        Stem of the files.
    level
        The level in words, e.g. ``cell classes``.
    by
        What the groups are of, e.g. ``donor``; None = all cells are one bar.
    source
        Said below the title, e.g. the ontology's release.
    """
    stack = _fewer(stack_of(rows, groups))
    n_cells = int(stack.sizes.sum())
    if not n_cells:
        return None
    shown = [
        f"{text} {percent(n / n_cells)} ({n:,})" for text, n in zip(stack.labels, stack.totals.tolist(), strict=True)
    ]
    per = "of all cells" if by is None else f"by {by}"
    title = f"Composition {per}: {level}"
    about = (
        f"A bar is {'all cells' if by is None else f'the cells of a {by}'}; its segments are shares of them, in the order of"
        " the key, which is the same for all bars. Numbers in segments are those of the key. Hatched is what is no term of"
        " its own: smaller terms together, and cells that got no term of this level, no term at all, or belong to no type of"
        " the reference (unseen). At the end of a bar stands its number of cells."
    )
    of = "" if by is None else f" of {len(groups):,} groups ({by})"
    alt = f"Stacked bars, {n_cells:,} cells{of}. Overall: {'; '.join(shown)}."
    if by is not None and len(groups) > 1:
        alt += _extremes(stack)
    n = f"n = {n_cells:,} cells" + (
        "" if by is None else f" in {len(groups):,} {'group' if len(groups) == 1 else 'groups'}"
    )
    return Drawing(name, title, about, alt, _draw(stack, title, f"{n}. {source}", by))


def _fewer(stack: Stack) -> Stack:
    """Return a stack with at most so many bars."""
    n = len(stack.groups)
    if n <= MAX_GROUPS:
        return stack
    large = np.sort(np.argsort(-stack.sizes, kind="stable")[: MAX_GROUPS - 1])
    rest = np.setdiff1d(np.arange(n), large)
    counts = np.vstack([stack.counts[large], stack.counts[rest].sum(axis=0)])
    names = (*(stack.groups[i] for i in large), f"{len(rest):,} smaller groups")
    return Stack(names, stack.places, stack.labels, stack.looks, counts)


def _extremes(stack: Stack) -> str:
    """Return between which groups the largest term varies, and where most cells got no term."""
    share = stack.counts / np.maximum(stack.sizes, 1)[:, None]
    low, high = int(share[:, 0].argmin()), int(share[:, 0].argmax())
    said = (
        f" {stack.labels[0]}: from {percent(float(share[low, 0]))} ({stack.groups[low]})"
        f" to {percent(float(share[high, 0]))} ({stack.groups[high]})."
    )
    none = [j for j, place in enumerate(stack.places) if place in (UNRESOLVED, UNSEEN)]
    if none:
        lost = share[:, none].sum(axis=1)
        most = int(lost.argmax())
        said += f" Most unresolved or unseen: {percent(float(lost[most]))} ({stack.groups[most]})."
    return said


def _draw(stack: Stack, title: str, said: str, by: str | None) -> Any:
    n_groups = len(stack.groups)
    n_panels = 1 if n_groups <= 45 else 2 if n_groups <= 100 else 3
    n_rows = -(-n_groups // n_panels)
    pitch = 0.5 if by is None else max(0.125, min(0.3, 4.6 / n_rows))
    key = _key_rows(stack)
    figure, panel = canvas(width=WIDTH, height=1.12 + n_rows * pitch + 0.17 * len(key[0]) + 0.1)
    top = heading(panel, title, [said])
    size = max(min(SMALL, 72 * pitch / 1.35), 5.0)
    sizes = [f"{n:,}" for n in stack.sizes.tolist()]
    room = (WIDTH - 2 * _GAP - 0.16 * (n_panels - 1)) / n_panels
    names_room = max([text_width(name, size) for name in stack.groups])
    names_room = 0.0 if by is None else min(names_room, 0.4 * room) + 0.07
    names = cut_apart(stack.groups, size, names_room - 0.05)
    number_room = max([text_width(text, size) for text in [*sizes, "cells"]]) + 0.06
    length = room - names_room - number_room
    for i_panel in range(n_panels):
        x = _GAP + i_panel * (room + 0.16) + names_room
        own = range(i_panel * n_rows, min((i_panel + 1) * n_rows, n_groups))
        bottom = top + 0.16 + len(own) * pitch
        _axis(panel, x, length, top + 0.16, bottom, "share of all cells" if by is None else f"share of cells of a {by}")
        panel.text(x + length + 0.05, top + 0.08, "cells", fontsize=size, va="center", color=MUTED)
        for at, row in enumerate(own):
            y = top + 0.16 + (at + 0.5) * pitch
            panel.text(x - 0.05, y, "" if by is None else names[row], fontsize=size, ha="right", va="center")
            panel.text(x + length + 0.05, y, sizes[row], fontsize=size, va="center")
            _bar(panel, stack, row, x, y, length, 0.82 * pitch, size, named=n_groups <= 3)
    _key(panel, stack, key, top + 0.16 + n_rows * pitch + 0.46)
    return figure


def _axis(panel: Axes, x: float, length: float, top: float, bottom: float, text: str) -> None:
    for share in (0, 25, 50, 75, 100) if length > 1.7 else (0, 50, 100):
        at = x + length * share / 100
        panel.plot([at, at], [top, bottom + 0.04], color=MUTED if share in (0, 100) else FAINT, linewidth=0.5, zorder=0)
        aligned = "left" if share == 0 else "right" if share == 100 else "center"
        panel.text(at, bottom + 0.1, f"{share} %", fontsize=SMALL - 0.5, ha=aligned, va="center", color=MUTED)
    fits = text if text_width(text, SMALL) <= length else "share of cells"
    panel.text(x + length / 2, bottom + 0.23, fits, fontsize=SMALL, ha="center", va="center", color=INK)


def _bar(panel: Axes, stack: Stack, row: int, x: float, y: float, length: float, height: float, size: float, *,
         named: bool) -> None:  # fmt: skip
    """Draw a bar, and in its segments the longest name that fits."""
    n_cells = int(stack.sizes[row])
    if not n_cells:
        panel.text(x + 0.05, y, "no cells", fontsize=size, va="center", color=MUTED)
        return
    for j, n in enumerate(stack.counts[row].tolist()):
        width = length * n / n_cells
        if not n:
            continue
        look = stack.looks[j]
        panel.add_patch(segment_patch(x, y - height / 2, width, height, look))
        share = percent(n / n_cells)
        wanted = [f"{look.sign}: {share}", look.sign] if look.sign else [share]
        if named:
            wanted = [f"{stack.labels[j]} {share}", *wanted]
        text = next((t for t in wanted if t and text_width(t, size) + 0.06 <= width), None)
        if text:
            box = {"facecolor": look.face, "edgecolor": "none", "pad": 0.6} if look.hatch else None
            panel.text(x + width / 2, y, text, fontsize=size, ha="center", va="center_baseline",
                       color=on_colour(look.face), bbox=box)  # fmt: skip
        x += width


def _key_rows(stack: Stack) -> tuple[range, ...]:
    """Return the segments of each column of the key, which is read downwards."""
    n = len(stack.labels)
    half = -(-n // 2)
    return range(half), range(half, n)


def _key(panel: Axes, stack: Stack, columns: tuple[range, ...], top: float) -> None:
    n_cells = int(stack.sizes.sum())
    width = (WIDTH - 2 * _GAP - 0.2) / 2
    for i_column, column in enumerate(columns):
        x = _GAP + i_column * (width + 0.2)
        for at, j in enumerate(column):
            y = top + 0.17 * at
            look, n = stack.looks[j], int(stack.totals[j])
            panel.add_patch(segment_patch(x, y - 0.06, 0.26, 0.12, look))
            if look.sign:
                panel.text(
                    x + 0.13,
                    y,
                    look.sign,
                    fontsize=SMALL,
                    ha="center",
                    va="center_baseline",
                    color=on_colour(look.face),
                )
            numbers = f"{n:,}  ({percent(n / n_cells)})"
            room = width - 0.4 - text_width(numbers, SMALL)
            panel.text(x + 0.33, y, cut(stack.labels[j], TEXT - 0.5, room), fontsize=TEXT - 0.5, va="center_baseline")
            panel.text(x + width, y, numbers, fontsize=SMALL, ha="right", va="center_baseline", color=MUTED)
