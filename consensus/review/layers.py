"""Where the nodes of a small drawing of the ontology stand: in layers by longest path, none on another.

After Sugiyama 1981 (doi:10.1109/TSMC.1981.4308636): layers by longest path, an edge that skips layers takes a narrow
place in each, orders by barycentre, positions as near to the neighbours as the room allows.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from celljury.ontology.graph import CellOntology

# A node is at least so wide, so that a member's name and number fit; and at most so wide, so that names stay blocks.
NARROWEST, WIDEST = 96.0, 200.0
GAP = 12.0
LANE = 8.0  # what an edge that passes between nodes takes
SWEEPS = 8

Place = tuple[int, int, int]
"""A place in a layer: (node, node, 0), or (upper node, lower node, layer) where an edge passes."""


@dataclass(frozen=True, slots=True)
class Layering:
    """Where nodes stand.

    Attributes
    ----------
    layer
        Of each node, 0 at the top.
    x
        Middle of each node.
    node_width
        Of the nodes of each layer, from the top.
    lanes
        Per edge (upper, lower) that skips layers where it passes each: layer -> x.
    width
        Of the whole: what was asked for, or more where a layer needs it.
    """

    layer: Mapping[int, int]
    x: Mapping[int, float]
    node_width: Sequence[float]
    lanes: Mapping[tuple[int, int], Mapping[int, float]]
    width: float


def edges_among(terms: Sequence[int], ontology: CellOntology) -> list[tuple[int, int]]:
    """Return (upper, lower) for all pairs of these terms with none of the others between them: the transitive reduction."""
    nodes = np.array(sorted(set(terms)), np.int64)
    above = ontology.is_ancestor(nodes[:, None], nodes[None, :]) & (nodes[:, None] != nodes[None, :])
    between = (above.astype(np.int32) @ above.astype(np.int32)) > 0
    upper, lower = np.nonzero(above & ~between)
    return list(zip(nodes[upper].tolist(), nodes[lower].tolist(), strict=True))


def levels_between(upper: int, lower: int, ontology: CellOntology) -> int:
    """Return how many terms stand between two on the longest path from one to the other."""
    longest = {upper: 0}
    line = ontology.ancestors(lower)
    # Every term stands before its ancestors: from the last to the first, parents are known before their children.
    for term in line[ontology.is_ancestor(upper, line)][::-1].tolist():
        steps = [longest[parent] + 1 for parent in ontology.parents(term).tolist() if parent in longest]
        if steps:
            longest[term] = max(steps)
    return max(longest[lower] - 1, 0)


def layered(nodes: Sequence[int], edges: Sequence[tuple[int, int]], *, width: float) -> Layering:
    """Return where nodes stand; ``edges`` are (upper, lower) without cycles. Depends on no order but that of ``nodes``."""
    layer = _longest_path(nodes, edges)
    rows = _rows(nodes, edges, layer)
    links = _links(edges, layer)
    rows = _ordered(rows, links)
    n_nodes = [sum(place[0] == place[1] for place in row) for row in rows]
    free = [GAP * (len(row) - 1) + LANE * (len(row) - n) for row, n in zip(rows, n_nodes, strict=True)]
    width = max([width, *(NARROWEST * n + room for n, room in zip(n_nodes, free, strict=True))])
    node_width = [min(WIDEST, (width - room) / max(n, 1)) for n, room in zip(n_nodes, free, strict=True)]
    x = _positions(rows, links, node_width, width)
    lanes: dict[tuple[int, int], dict[int, float]] = {}
    for place, at in x.items():
        if place[0] != place[1]:
            lanes.setdefault(place[:2], {})[place[2]] = at
    return Layering(layer, {a: at for (a, b, _), at in x.items() if a == b}, node_width, lanes, width)


def _longest_path(nodes: Sequence[int], edges: Sequence[tuple[int, int]]) -> dict[int, int]:
    layer = dict.fromkeys(nodes, 0)
    for _ in nodes:
        for upper, lower in edges:
            layer[lower] = max(layer[lower], layer[upper] + 1)
    # A node without parents stands just above its children, and not far up beside their other ancestors.
    for node in nodes:
        below = [layer[lower] for upper, lower in edges if upper == node]
        if below and all(lower != node for _, lower in edges):
            layer[node] = min(below) - 1
    return layer


def _rows(nodes: Sequence[int], edges: Sequence[tuple[int, int]], layer: Mapping[int, int]) -> list[list[Place]]:
    rows: list[list[Place]] = [[] for _ in range(max(layer.values(), default=-1) + 1)]
    for node in nodes:
        rows[layer[node]].append((node, node, 0))
    for upper, lower in edges:
        for at in range(layer[upper] + 1, layer[lower]):
            rows[at].append((upper, lower, at))
    return rows


def _links(edges: Sequence[tuple[int, int]], layer: Mapping[int, int]) -> list[tuple[Place, Place]]:
    """Return the steps of all edges from one layer to the next."""
    steps = []
    for upper, lower in edges:
        line = [
            (upper, upper, 0),
            *((upper, lower, at) for at in range(layer[upper] + 1, layer[lower])),
            (lower, lower, 0),
        ]
        steps += list(pairwise(line))
    return steps


def _ordered(rows: list[list[Place]], links: list[tuple[Place, Place]]) -> list[list[Place]]:
    """Return the layers in the order with the fewest crossings that barycentre sweeps found, the first of equals."""
    best, fewest = rows, _crossings(rows, links)
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        rows = [list(row) for row in rows]
        at = {place: i for row in rows for i, place in enumerate(row)}
        order = range(1, len(rows)) if down else range(len(rows) - 2, -1, -1)
        for i in order:
            near = _neighbours(rows[i], links, upward=down)
            middle = {p: float(np.mean([at[q] for q in near[p]])) if near[p] else float(at[p]) for p in rows[i]}
            rows[i].sort(key=lambda place, middle=middle: middle[place])  # type: ignore[misc]
            at |= {place: j for j, place in enumerate(rows[i])}
        if (crossed := _crossings(rows, links)) < fewest:
            best, fewest = rows, crossed
    return best


def _neighbours(row: list[Place], links: list[tuple[Place, Place]], *, upward: bool) -> dict[Place, list[Place]]:
    found: dict[Place, list[Place]] = {place: [] for place in row}
    for upper, lower in links:
        own, other = (lower, upper) if upward else (upper, lower)
        if own in found:
            found[own].append(other)
    return found


def _crossings(rows: list[list[Place]], links: list[tuple[Place, Place]]) -> int:
    at = {place: (i, j) for i, row in enumerate(rows) for j, place in enumerate(row)}
    drawn = [(*at[upper], at[lower][1]) for upper, lower in links]
    return sum(one[0] == two[0] and (one[1] - two[1]) * (one[2] - two[2]) < 0 for one, two in combinations(drawn, 2))


def _positions(
    rows: list[list[Place]], links: list[tuple[Place, Place]], node_width: Sequence[float], width: float
) -> dict[Place, float]:
    """Return the middle of each place, as near to the middle of its neighbours as order and room allow."""
    size = {p: node_width[i] if p[0] == p[1] else LANE for i, row in enumerate(rows) for p in row}
    x = {p: width * (j + 1) / (len(row) + 1) for row in rows for j, p in enumerate(row)}
    for sweep in range(2 * SWEEPS):
        down = sweep % 2 == 0
        for row in rows if down else rows[::-1]:
            near = _neighbours(row, links, upward=down)
            wanted = [float(np.mean([x[q] for q in near[p]])) if near[p] else x[p] for p in row]
            x |= dict(zip(row, _apart(wanted, [size[p] for p in row], width), strict=True))
    # In the middle of its room as a whole.
    left, right = min((x[p] - size[p] / 2 for p in x), default=0.0), max((x[p] + size[p] / 2 for p in x), default=0.0)
    return {p: at + (width - left - right) / 2 for p, at in x.items()}


def _apart(wanted: Sequence[float], size: Sequence[float], width: float) -> list[float]:
    """Return middles in this order, `GAP` apart and inside 0 to ``width``, with the least squared way from ``wanted``.

    Without the room that each takes, it is an isotonic regression: neighbours that come too near are pooled.
    """
    offset = np.concatenate([[0.0], np.cumsum([(a + b) / 2 + GAP for a, b in pairwise(size)])])
    blocks: list[tuple[float, int]] = []
    for value in (np.asarray(wanted) - offset).tolist():
        blocks.append((value, 1))
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (left, n), (right, m) = blocks[-2:]
            blocks[-2:] = [((left * n + right * m) / (n + m), n + m)]
    pooled = np.repeat([value for value, _ in blocks], [n for _, n in blocks])
    # Rounded down at the right end: the last must not pass it by a float's width.
    low, high = size[0] / 2, width - size[-1] / 2 - offset[-1]
    return [float(value) for value in np.clip(pooled, low, max(low, high)) + offset]
