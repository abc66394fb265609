"""How far review has come, and which reasons stand at which terms, drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from celljury.report.figure_heat import head_height, heat_table, shade_scale
from celljury.report.figure_stack import Look, segment_patch
from celljury.report.figure_style import (
    CALL,
    CAMPS,
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
from celljury.report.figure_text import cut, percent, text_width
from celljury.report.review_counts import OUTCOMES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from celljury.report.reason_counts import ReasonCounts
    from celljury.report.review_counts import ReviewCounts

MAX_ROWS: Final = 25
_LOOKS: Final = {
    "none": Look(FAINT, "white"),
    "review": Look("#f0b429", "white"),
    "confirmed": Look(CALL, "white"),
    "changed": Look(CAMPS[1], "white", "////"),
    "conflict": Look("#fbe9e7", "#b3261e", "xxxx"),
    "reopened": Look("white", INK, "\\\\\\\\"),
    "skipped": Look("white", MUTED, "...."),
    "open": Look("#f0b429", "white"),
}
_LENGTH, _LEFT, _TALL, _BETWEEN = 5.2, 1.2, 0.32, 0.3  # inches


@styled
def funnel_drawing(found: ReviewCounts) -> Drawing | None:
    """Return the picture; None where no cell is for review."""
    if not found.n_review:
        return None
    title = "From the calls to what curators decided"
    items = "" if found.n_items is None else f" in {found.n_items:,} items"
    about = (
        "The upper bar is all cells. Those that need review are drawn out to the second bar, and their items (cells with the"
        " same votes, call, status and cluster) to the third; both show what has come of them"
        + (
            ". Parts of split items count on their own."
            if found.applied
            else ": nothing yet, or nothing that celljury apply has folded in."
        )
    )
    stages = [
        f"{said} {found.cells[name]:,} cells ({found.items[name]:,} items)"
        for name, said in OUTCOMES.items()
        if found.cells[name]
    ]
    alt = (
        f"Of {found.n_cells:,} cells {found.n_cells - found.n_review:,} were called without need of review and"
        f" {found.n_review:,} ({percent(found.n_review / found.n_cells)}) need it{items}. Of these: {'; '.join(stages)}."
    )
    return Drawing("review_funnel", title, about, alt, _draw_funnel(found, title))


def _draw_funnel(found: ReviewCounts, title: str) -> Any:
    outcomes = [name for name in OUTCOMES if found.cells[name] or found.items[name]]
    n_rows = 3 if sum(found.items.values()) else 2
    figure, panel = canvas(
        width=WIDTH, height=1.0 + n_rows * (_TALL + _BETWEEN) + 0.17 * -(-(len(outcomes) + 1) // 2) - 0.3
    )
    top = heading(panel, title, [f"n = {found.n_cells:,} cells, {found.n_review:,} of them for review"]) + 0.08
    sure = found.n_cells - found.n_review
    first = [("none", sure, "called, no review needed"), ("review", found.n_review, "need review")]
    _stage(panel, "all cells", found.n_cells, top, first)
    y = top + _TALL + _BETWEEN
    split = _LEFT + _LENGTH * sure / found.n_cells
    _funnel(panel, [(split, top + _TALL), (_LEFT + _LENGTH, top + _TALL), (_LEFT + _LENGTH, y), (_LEFT, y)])
    _stage(
        panel, "cells for review", found.n_review, y, [(name, found.cells[name], OUTCOMES[name]) for name in outcomes]
    )
    if n_rows == 3:
        left, right, low = _LEFT, _LEFT + _LENGTH, y + _TALL
        y = low + _BETWEEN
        _funnel(panel, [(left, low), (right, low), (right, y), (left, y)])
        n_items = sum(found.items.values())
        said = "items" if n_items == found.n_items else "items and parts"
        _stage(panel, said, n_items, y, [(name, found.items[name], OUTCOMES[name]) for name in outcomes])
    _key(
        panel, [("none", "called, no review needed"), *((name, OUTCOMES[name]) for name in outcomes)], y + _TALL + 0.25
    )
    return figure


def _stage(panel: Axes, name: str, total: int, y: float, parts: Sequence[tuple[str, int, str]]) -> None:
    panel.text(_LEFT - 0.08, y + _TALL / 2, name, fontsize=TEXT, ha="right", va="center")
    panel.text(_LEFT + _LENGTH + 0.08, y + _TALL / 2, f"{total:,}", fontsize=TEXT, weight="bold", va="center")
    x = _LEFT
    for kind, n, said in parts:
        if not n:
            continue
        look, width = _LOOKS[kind], _LENGTH * n / total
        panel.add_patch(segment_patch(x, y, width, _TALL, look))
        texts = (f"{said}: {n:,} ({percent(n / total)})", f"{n:,} ({percent(n / total)})", f"{n:,}")
        text = next((t for t in texts if text_width(t, SMALL) + 0.08 <= width), None)
        if text:
            box = {"facecolor": look.face, "edgecolor": "none", "pad": 0.8} if look.hatch else None
            panel.text(x + width / 2, y + _TALL / 2, text, fontsize=SMALL, ha="center", va="center_baseline",
                       color=on_colour(look.face), bbox=box)  # fmt: skip
        x += width


def _funnel(panel: Axes, corners: Sequence[tuple[float, float]]) -> None:
    from matplotlib.patches import Polygon

    panel.add_patch(Polygon(corners, facecolor="#f7f4ec", edgecolor="#d8d2c2", linewidth=0.5, zorder=0))


def _key(panel: Axes, entries: Sequence[tuple[str, str]], y: float) -> None:
    half = -(-len(entries) // 2)
    for at, (kind, said) in enumerate(entries):
        x, line = (_LEFT, at) if at < half else (_LEFT + 2.9, at - half)
        panel.add_patch(segment_patch(x, y + 0.17 * line - 0.055, 0.24, 0.11, _LOOKS[kind]))
        panel.text(x + 0.31, y + 0.17 * line, said, fontsize=SMALL, va="center_baseline")


@styled
def reasons_drawing(found: ReasonCounts) -> Drawing | None:
    """Return reasons by term; None where no cell has one that not all cells have."""
    n_reason = found.n_cells_by_reason
    shown = [j for j in np.argsort(-n_reason, kind="stable").tolist() if 0 < n_reason[j] < found.n_cells]
    everywhere = [found.codes[j] for j in range(len(found.codes)) if n_reason[j] == found.n_cells]
    if not shown:
        return None
    order = np.argsort(-found.n_any, kind="stable")
    rows = [i for i in order.tolist() if found.n_any[i]][:MAX_ROWS]
    rest = [i for i in range(len(found.labels)) if i not in rows]
    counts = found.counts[rows][:, shown]
    totals, names = found.n_cells_by_row[rows], [found.labels[i] for i in rows]
    if rest:
        counts = np.vstack([counts, found.counts[rest][:, shown].sum(axis=0)])
        totals = np.append(totals, found.n_cells_by_row[rest].sum())
        names.append(f"{len(rest)} other terms" if len(rest) > 1 else found.labels[rest[0]])
    counts = np.vstack([counts, n_reason[shown]])
    totals, names = np.append(totals, found.n_cells), [*names, "all cells"]
    codes = [found.codes[j] for j in shown]
    title = "Why cells deserve a look, by what they were called"
    about = (
        "A row is a called term (cells that are unseen or unresolved are rows of their own), a column a reason; a cell can have"
        " several. The number counts cells, the shade is their share of the row's cells."
    )
    if everywhere:
        about += f" Not shown, for all cells have it: {', '.join(everywhere)}."
    largest = [
        f"{code} {n:,} ({percent(n / found.n_cells)})" for code, n in zip(codes, n_reason[shown].tolist(), strict=True)
    ]
    alt = f"Reasons of {found.n_cells:,} cells: {'; '.join(largest[:8])}."
    return Drawing(
        "reasons_by_term", title, about, alt, _draw_reasons(counts, totals, names, codes, title, found.n_cells)
    )


def _draw_reasons(counts: Any, totals: Any, names: list[str], codes: list[str], title: str, n_cells: int) -> Any:
    heads = [code.replace("_", " ") for code in codes]
    numbers = [f"{n:,}" for n in totals.tolist()]
    beside = max(text_width(n, SMALL) for n in numbers) + 0.2
    left = min(max(text_width(name, TEXT - 0.5, bold=True) for name in names) + beside + 0.12, 2.9)
    head = head_height(heads)
    # The last head leans to the right.
    width = min(0.55, (WIDTH - left - 0.1 - 0.75 * head) / len(codes))
    height = 0.19
    figure, panel = canvas(width=WIDTH, height=0.65 + head + height * (len(names) + 0.4) + 0.42)
    top = heading(panel, title, [f"n = {n_cells:,} cells; the number beside a term is its cells"]) + 0.05
    y = top + head
    texts = [[_short(n, width) for n in row] for row in counts.tolist()]
    shade = counts / np.maximum(totals, 1)[:, None]
    for part, at in ((slice(0, -1), y), (slice(-1, None), y + height * (len(names) - 1) + 0.06)):
        heat_table(
            panel, shade[part], texts[part], x=left, y=at, width=width, height=height,
            rows=(), columns=heads if part.start == 0 else (), size=SMALL if width > 0.36 else SMALL - 1.2,
        )  # fmt: skip
        for i, (name, n) in enumerate(zip(names[part], numbers[part], strict=True)):
            middle = at + (i + 0.5) * height
            weight = "bold" if part.start == -1 else "normal"
            panel.text(left - 0.06, middle, n, fontsize=SMALL, ha="right", va="center_baseline", color=MUTED)
            short = cut(name, TEXT - 0.5, left - beside - 0.1, bold=weight == "bold")
            panel.text(
                left - beside, middle, short, fontsize=TEXT - 0.5, ha="right", va="center_baseline", weight=weight
            )
    shade_scale(panel, x=left, y=y + height * len(names) + 0.18, width=1.2, text="share of the row's cells")
    return figure


def _short(n: int, width: float) -> str:
    """Return a count as it fits: 12,345 or 12k."""
    if not n:
        return ""
    text = f"{n:,}"
    if text_width(text, SMALL) > width - 0.03 and n >= 1000:
        text = f"{n / 1000:.0f}k" if n < 999_500 else f"{n / 1e6:.1f}M"
    return text
