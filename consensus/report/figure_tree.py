"""The ontology tree of a run: every called term, the ancestors that join them, and how many cells stand where."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from celljury.report.figure_style import (
    CALL,
    FAINT,
    GREY,
    INK,
    MUTED,
    SMALL,
    STRANGE,
    TEXT,
    WIDTH,
    Drawing,
    canvas,
    heading,
    styled,
)
from celljury.report.figure_text import cut, percent
from celljury.report.figure_tree_layout import run_tree

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes

    from celljury.ontology.graph import CellOntology
    from celljury.report.figure_tree_layout import RunTree, TreeNode

_LEFT, _NUMBERS, _BELOW = 0.2, 5.75, 7.08  # inches from the left: depth 0, and where the two numbers end
_BAR: Final = 0.66  # inches of the largest bar
_LINE: Final = 0.165  # inches a row, where there are few


@styled
def tree_drawing(ontology: CellOntology, counts: Mapping[int, int], *, max_terms: int = 80) -> Drawing | None:
    """Return the tree; None where no term was called and no cell is new under one.

    Parameters
    ----------
    counts
        Cells by place as of `celljury.report.tally.Tally`, at the level ``term``.
    """
    called = {place: n for place, n in counts.items() if place >= 0 and n}
    unseen = {-4 - place: n for place, n in counts.items() if place <= -4 and n}
    if not called and not unseen:
        return None
    tree = run_tree(ontology, called, unseen, max_terms=max_terms)
    n_cells = sum(counts.values())
    terms = "1 called term" if len(called) == 1 else f"{len(called)} called terms"
    title = f"Where {terms} stand{'s' if len(called) == 1 else ''} in the Cell Ontology, and how many cells are there"
    rest = {"unresolved, without a term": counts.get(-2, 0), "unseen, new under no term": counts.get(-3, 0)}
    about = (
        "A line leads from a term to what it is a kind of (is_a); terms between that no cell has and where nothing branches"
        " are left out. Further right and lighter is deeper: the longest path from the root. A filled circle is a called"
        " term, its area the share of the cells called just so; an open one only joins others. A triangle is cells that are"
        " unseen: new somewhere below the term above it. Thin dashed lines lead to further parents."
    )
    largest = sorted(called.items(), key=lambda item: -item[1])[:5]
    said = [f"{ontology.labels[t]} {n:,} ({percent(n / n_cells)}, depth {ontology.depth[t]})" for t, n in largest]
    said += [
        f"unseen {sum(unseen.values()) + rest['unseen, new under no term']:,}",
        f"unresolved {counts.get(-2, 0):,}",
    ]
    alt = f"Tree of {len(called)} called terms, {n_cells:,} cells. Most cells: {'; '.join(said)}."
    return Drawing("ontology_tree", title, about, alt, _draw(tree, ontology, n_cells, title, rest))


def _draw(tree: RunTree, ontology: CellOntology, n_cells: int, title: str, rest: Mapping[str, int]) -> Any:
    rest = {label: n for label, n in rest.items() if n}
    n_rows = sum(1 + bool(node.n_unseen) for node in tree.nodes) + len(rest) + bool(tree.n_folded) + 1
    line = _LINE if n_rows <= 50 else max(0.125, 8.2 / n_rows)
    figure, panel = canvas(width=WIDTH, height=1.12 + n_rows * line)
    top = heading(panel, title, [f"n = {n_cells:,} cells, Cell Ontology {ontology.source.release}"])
    deepest = max(node.depth for node in tree.nodes) + 1
    step = min(0.24, 2.7 / deepest)
    y = top + 0.5
    _axis(panel, deepest, step, top + 0.08, y + (n_rows - 1) * line)
    # Circles and bars have one scale; rows below the tree are longer than it at times.
    widest = max([*(max(node.n_at, node.n_unseen) for node in tree.nodes), *rest.values(), tree.n_folded_cells])
    at = {}
    for row, node in enumerate(tree.nodes):
        at[row] = (_LEFT + node.depth * step, y)
        y += line * (1 + bool(node.n_unseen))
    _edges(panel, tree, at)
    for row, node in enumerate(tree.nodes):
        _node(panel, node, *at[row], ontology, line=line, step=step, deepest=deepest, most=widest)
    for label, n in rest.items():
        _mark(panel, "x" if label.startswith("unresolved") else "^", _LEFT, y)
        _row(panel, label, n, None, _LEFT, y, most=widest, line=line, colour=STRANGE if "unseen" in label else INK)
        y += line
    if tree.n_folded:
        label = f"{tree.n_folded} smaller terms, not drawn (also counted at or below)"
        _row(
            panel,
            label,
            tree.n_folded_cells + tree.n_folded_unseen,
            None,
            _LEFT,
            y,
            most=widest,
            line=line,
            colour=MUTED,
        )
        y += line
    panel.plot([_NUMBERS - 0.55, _NUMBERS], [y - line / 2] * 2, color=MUTED, linewidth=0.6)
    panel.text(_NUMBERS, y, f"{n_cells:,}", ha="right", va="center", fontsize=SMALL, weight="bold")
    panel.text(_NUMBERS - 0.6, y, "all cells", ha="right", va="center", fontsize=SMALL, weight="bold")
    return figure


def _axis(panel: Axes, deepest: int, step: float, top: float, bottom: float) -> None:
    panel.text(_LEFT, top, "depth of the term (longest path from the root)", fontsize=SMALL, va="center", color=MUTED)
    for depth in range(deepest + 1):
        x = _LEFT + depth * step
        panel.plot([x, x], [top + 0.28, bottom], color=FAINT, linewidth=0.5, zorder=0)
        panel.text(x, top + 0.16, str(depth), fontsize=SMALL, ha="center", va="center", color=MUTED)
        panel.add_patch(_rectangle(x - step / 2, top + 0.23, step, 0.04, _shade(depth, deepest)))
    for x, text in ((_NUMBERS, "at the term"), (_BELOW, "at or below")):
        panel.text(x, top + 0.16, text, fontsize=SMALL, ha="right", va="center", color=MUTED)
    panel.text(_BELOW, top, "cells", fontsize=SMALL, ha="right", va="center", color=MUTED)


def _edges(panel: Axes, tree: RunTree, at: Mapping[int, tuple[float, float]]) -> None:
    for row, node in enumerate(tree.nodes):
        x, y = at[row]
        if node.parent >= 0:
            left, above = at[node.parent]
            panel.plot([left, left, x], [above, y, y], color=MUTED, linewidth=0.8, zorder=1, solid_joinstyle="round")
        for other in node.others:
            left, above = at[other]
            panel.add_patch(_curve((x, y), (left, above)))


def _node(panel: Axes, node: TreeNode, x: float, y: float, ontology: CellOntology, *, line: float, step: float,
          deepest: int, most: int) -> None:  # fmt: skip
    label = f"{ontology.labels[node.term]}"
    if node.n_at:
        radius = 0.028 + (0.46 * line - 0.028) * (node.n_at / most) ** 0.5
        panel.add_patch(_circle(x, y, radius, _shade(node.depth, deepest), INK))
    else:
        radius = 0.024
        panel.add_patch(_circle(x, y, radius, "white", MUTED))
    below = node.n_below if node.n_below != node.n_at or not node.n_at else None
    _row(
        panel,
        label,
        node.n_at or None,
        below,
        x + radius - 0.05,
        y,
        most=most,
        line=line,
        colour=INK if node.n_at else MUTED,
    )
    if node.n_unseen:
        under = x + step
        panel.plot(
            [x, x, under], [y, y + line, y + line], color=STRANGE, linewidth=0.8, linestyle=(0, (2, 1.5)), zorder=1
        )
        _mark(panel, "^", under, y + line)
        text = f"unseen, new under {ontology.labels[node.term]}"
        _row(panel, text, node.n_unseen, None, under, y + line, most=most, line=line, colour=STRANGE)


def _row(panel: Axes, label: str, n: int | None, below: int | None, x: float, y: float, *, most: int, line: float,
         colour: str) -> None:  # fmt: skip
    """Write a row's label at its mark and its numbers in their columns, with a bar under the first."""
    start = x + 0.1
    short = cut(label, TEXT, _NUMBERS - 0.5 - start)
    ground = {"facecolor": "white", "edgecolor": "none", "pad": 0.4, "alpha": 0.8}
    panel.text(start, y, short, fontsize=TEXT, va="center", color=colour, zorder=4, bbox=ground)
    if n:
        length = _BAR * n / most
        tint, hatch = (FAINT, "/////") if colour == STRANGE else ("#cfe3ec" if colour == INK else FAINT, None)
        bar = _rectangle(_NUMBERS + 0.05, y - 0.36 * line, length, 0.72 * line, tint)
        bar.set(hatch=hatch, edgecolor="#e3b1ad" if hatch else CALL, linewidth=0 if hatch else 0.3)
        panel.add_patch(bar)
        panel.text(_NUMBERS, y, f"{n:,}", fontsize=SMALL, ha="right", va="center", zorder=4)
    if below is not None:
        panel.text(_BELOW, y, f"{below:,}", fontsize=SMALL, ha="right", va="center", color=MUTED)


def _mark(panel: Axes, marker: str, x: float, y: float) -> None:
    colour = INK if marker == "x" else STRANGE
    panel.plot([x], [y], marker=marker, markersize=4.6, color=colour, markeredgewidth=0.9, linestyle="none", zorder=3)


def _shade(depth: int, deepest: int) -> Any:
    from matplotlib import colormaps

    return colormaps["cividis"](0.08 + 0.92 * depth / max(deepest, 1))


def _circle(x: float, y: float, radius: float, face: Any, edge: str) -> Any:
    from matplotlib.patches import Circle

    return Circle((x, y), radius, facecolor=face, edgecolor=edge, linewidth=0.6, zorder=3)


def _rectangle(x: float, y: float, width: float, height: float, face: Any) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((x, y), width, height, facecolor=face, linewidth=0, zorder=0.5)


def _curve(start: tuple[float, float], end: tuple[float, float]) -> Any:
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    bend = (end[0] - 0.06, start[1])
    path = Path([start, bend, (end[0] - 0.06, end[1]), end], [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4])
    return PathPatch(path, facecolor="none", edgecolor=GREY, linewidth=0.6, linestyle=(0, (3, 2)), zorder=0.8)
