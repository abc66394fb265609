"""From members' votes to the call at a level: a column a member, and bands of cells from column to column."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from celljury.report.figure_stack import segment_patch
from celljury.report.figure_style import (
    GREY,
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

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from celljury.report.figure_stack import Look
    from celljury.report.vote_flows import Flows

THIN: Final = 0.001
"""Share of cells: thinner bands of one call are drawn as part of a grey one between the same two blocks."""
_HEIGHT, _SPACE, _BLOCK = 3.9, 0.035, 0.3  # inches: all cells, between blocks, width of a block
_PITCH = 0.135  # inches between lines of names


@styled
def flow_drawing(flows: Flows, *, name: str, level: str, source: str) -> Drawing | None:
    """Return the picture; None where there is but one block, or no member.

    Parameters
    ----------
    name
        Stem of the files.
    level
        The level in words, e.g. ``cell classes``.
    source
        Said below the title.
    """
    n = flows.n_cells
    if len(flows.places) < 2 or len(flows.columns) < 2 or not n:
        return None
    members = flows.columns[:-1]
    n_members = "one member" if len(members) == 1 else f"{len(members)} members"
    end = "the call" if flows.columns[-1] == "call" else "the call, with curators' decisions"
    title = f"From the votes of {n_members} to {end}: {level}"
    about = (
        "A column is a member's votes, the last one the call; a block's height is its share of all cells, and blocks have"
        " the same order and number in every column. A band is cells on their way from a column to the next, in the colour"
        " of what was called; bands that run level are cells on which neighbours agree. Bands thinner than"
        f" {percent(THIN)} of the cells are grey and together."
    )
    said = []
    for i, member in enumerate(members):
        same = int(np.einsum("jj->", _joint(flows, i)))
        said.append(f"{member} {percent(same / n)}")
    alt = (
        f"Flows of {n:,} cells from votes to calls. Cells whose vote lies in the block of the call: {', '.join(said)}."
    )
    if flows.left_out:
        about += f" Not drawn, for room: {', '.join(flows.left_out)}."
    return Drawing(name, title, about, alt, _draw(flows, title, f"n = {n:,} cells. {source}"))


def _joint(flows: Flows, column: int) -> NDArray[np.int64]:
    """Return cells by a column's block and the call's."""
    return flows.bands[column].sum(axis=1)


def _draw(flows: Flows, title: str, said: str) -> Any:
    n_columns, n_places = flows.blocks.shape
    n_only = int((flows.blocks[-1] == 0).sum())
    below = (n_only + 1) * _PITCH if n_only else 0.0
    figure, panel = canvas(width=WIDTH, height=1.0 + _HEIGHT + _SPACE * n_places + below)
    top = heading(panel, title, [said]) + 0.28
    scale = _HEIGHT / flows.n_cells
    labels = [cut(label, TEXT - 0.5, 1.75) for label in flows.labels]
    right = WIDTH - 0.12 - max(text_width(f"00  {text}", TEXT - 0.5) for text in labels)
    x = np.linspace(0.35, right - _BLOCK, n_columns)
    height = flows.blocks * scale
    # The same gaps in every column: blocks of equal size are level.
    start = np.cumsum(height + _SPACE * (flows.blocks > 0), axis=1) - height - _SPACE * (flows.blocks > 0) + top
    for i in range(n_columns - 1):
        _bands(panel, flows, i, x[i] + _BLOCK, x[i + 1], start[i], start[i + 1], scale)
    for i, column in enumerate(flows.columns):
        weight = "bold" if i == n_columns - 1 else "normal"
        panel.text(x[i] + _BLOCK / 2, top - 0.12, cut(column, TEXT, (x[1] - x[0]) - 0.08), ha="center", va="center",
                   fontsize=TEXT, weight=weight)  # fmt: skip
        for j in np.flatnonzero(flows.blocks[i]).tolist():
            _block(panel, flows.looks[j], x[i], start[i, j], height[i, j])
    _names(panel, flows, labels, right + 0.07, start, height)
    _scale(panel, top)
    return figure


def _block(panel: Axes, look: Look, x: float, y: float, height: float) -> None:
    panel.add_patch(segment_patch(x, y, _BLOCK, height, look, zorder=2))
    if look.sign and height > 0.105:
        panel.text(x + _BLOCK / 2, y + height / 2, look.sign, fontsize=SMALL, ha="center", va="center_baseline",
                   color=on_colour(look.face), zorder=3)  # fmt: skip


def _bands(panel: Axes, flows: Flows, i: int, left: float, right: float, from_y: NDArray[np.floating[Any]],
           to_y: NDArray[np.floating[Any]], scale: float) -> None:  # fmt: skip
    from matplotlib.collections import PathCollection
    from matplotlib.path import Path

    bands = flows.bands[i]
    thin = bands < THIN * flows.n_cells
    # One more "call" for the thin ones: grey.
    whole = np.concatenate([np.where(thin, 0, bands), np.where(thin, bands, 0).sum(axis=2, keepdims=True)], axis=2)
    a, b, c = np.nonzero(whole)
    size = whole[a, b, c] * scale
    out, into = np.lexsort((c, b, a)), np.lexsort((c, a, b))
    y0, y1 = np.empty(len(a)), np.empty(len(a))
    y0[out] = from_y[a[out]] + _stacked(size[out], a[out])
    y1[into] = to_y[b[into]] + _stacked(size[into], b[into])
    middle, code = (
        (left + right) / 2,
        [Path.MOVETO, *[Path.CURVE4] * 3, Path.LINETO, *[Path.CURVE4] * 3, Path.CLOSEPOLY],
    )
    paths = [
        Path([(left, p), (middle, p), (middle, q), (right, q), (right, q + s), (middle, q + s), (middle, p + s),
              (left, p + s), (left, p)], code)
        for p, q, s in zip(y0.tolist(), y1.tolist(), size.tolist(), strict=True)
    ]  # fmt: skip
    faces = [*(look.face if look.sign else look.edge if look.hatch else GREY for look in flows.looks), GREY]
    colours = [faces[k] for k in c.tolist()]
    panel.add_collection(PathCollection(paths, facecolors=colours, alpha=0.5, linewidths=0, zorder=1), autolim=False)


def _stacked(size: NDArray[np.floating[Any]], block: NDArray[np.int64]) -> NDArray[np.floating[Any]]:
    """Return where each band begins in its block; bands of a block stand together."""
    before = np.cumsum(size) - size
    first = np.searchsorted(block, block)
    return before - before[first]


def _names(panel: Axes, flows: Flows, labels: Sequence[str], x: float, start: NDArray[np.floating[Any]],
           height: NDArray[np.floating[Any]]) -> None:  # fmt: skip
    """Name the blocks at the right of the last column; those that it does not have, below."""
    wanted = np.where(flows.blocks[-1] > 0, start[-1] + height[-1] / 2, np.inf)
    order = [j for j in np.argsort(wanted, kind="stable").tolist() if flows.blocks[:, j].any()]
    # Also names of thin neighbours keep a line of their own: pushed down, then up where the end is passed.
    n_called = int((flows.blocks[-1] > 0).sum())
    wanted[order[n_called:]] = wanted[order[n_called - 1]] + 3 * _PITCH  # a line for what they are
    ys: list[float] = []
    for j in order:
        gap = 2.2 * _PITCH if len(ys) == n_called else _PITCH
        ys.append(max(float(wanted[j]), ys[-1] + gap) if ys else float(wanted[j]))
    bottom = panel.get_ylim()[0] - 0.12
    for k in range(len(ys) - 1, -1, -1):
        ys[k] = bottom = min(ys[k], bottom)
        bottom -= 2.2 * _PITCH if k == n_called else _PITCH
    if len(ys) > n_called:
        panel.text(x, ys[n_called] - _PITCH, "in votes only", fontsize=SMALL, va="center", color=MUTED, style="italic")
    for j, y in zip(order, ys, strict=True):
        text = f"{flows.looks[j].sign}  {labels[j]}" if flows.looks[j].sign else labels[j]
        in_call = bool(flows.blocks[-1, j])
        panel.text(x, y, text, fontsize=TEXT - 0.5, va="center", color=INK if in_call else MUTED)
        if in_call and abs(y - wanted[j]) > 0.02:
            panel.plot([x - 0.06, x - 0.01], [wanted[j], y], color=MUTED, linewidth=0.5)


def _scale(panel: Axes, top: float) -> None:
    """Draw what a tenth of the cells is."""
    panel.plot([0.17, 0.13, 0.13, 0.17], [top, top, top + _HEIGHT / 10, top + _HEIGHT / 10], color=MUTED, linewidth=0.7)
    panel.text(0.08, top + _HEIGHT / 10 + 0.08, "10 % of\nthe cells", fontsize=SMALL - 1, va="top", color=MUTED, rotation=90,
               ha="left")  # fmt: skip
