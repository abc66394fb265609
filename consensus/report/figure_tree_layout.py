"""Where the terms of a run stand in the ontology: called terms and the ancestors that join them, a row each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from celljury.ontology.general import too_general

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from celljury.ontology.graph import CellOntology

MAX_TERMS: Final = 80
"""Terms with a row of their own; the smallest beyond that are folded."""


@dataclass(frozen=True, slots=True)
class TreeNode:
    """A term in the tree.

    Attributes
    ----------
    term
        Index in the ontology.
    parent
        Row of the term that it is drawn under, -1 = none.
    others
        Rows of further terms directly above it.
    depth
        Longest path from the root.
    n_at, n_below, n_unseen
        Cells called so; called so or anything below it, also what is folded; unseen cells that are new under it.
    """

    term: int
    parent: int
    others: tuple[int, ...]
    depth: int
    n_at: int
    n_below: int
    n_unseen: int

    @property
    def drawn(self) -> bool:
        """Whether cells have it, rather than that it only joins others."""
        return self.n_at > 0 or self.n_unseen > 0


@dataclass(frozen=True, slots=True)
class RunTree:
    """The tree of a run.

    Attributes
    ----------
    nodes
        Every parent before what is under it, the largest branch first.
    n_folded, n_folded_cells, n_folded_unseen
        Terms too small for a row of their own, their cells, and unseen cells under them.
    """

    nodes: tuple[TreeNode, ...]
    n_folded: int
    n_folded_cells: int
    n_folded_unseen: int


def run_tree(
    ontology: CellOntology, called: Mapping[int, int], unseen: Mapping[int, int], *, max_terms: int = MAX_TERMS
) -> RunTree:
    """Return the tree of some terms.

    An ancestor has a row only where two or more branches meet in it; of several in which the same branches meet, the most
    specific. A term with several parents is drawn under the one that joins it with fewest others, and last under a term
    that is too general to be a label.

    Parameters
    ----------
    called, unseen
        Cells by term, and unseen cells by the node that they are new under; indices of the ontology.
    """
    terms = sorted({*called, *unseen}, key=lambda t: (-called.get(t, 0) - unseen.get(t, 0), t))
    kept, folded = terms[:max_terms], terms[max_terms:]
    general = too_general(ontology)
    joins = _joining(ontology, kept)
    while True:
        parents = _parents(ontology, joins, general)
        n_children = dict.fromkeys(joins, 0)
        for own in parents.values():
            if own:
                n_children[own[0]] += 1
        passing = [node for node in joins if n_children[node] < 2 and node not in called and node not in unseen]
        if not passing:
            break
        joins = {node: mask for node, mask in joins.items() if node not in set(passing)}
    below = _below(ontology, sorted(joins), called)
    rows = _rows(parents, {node: below[node] + unseen.get(node, 0) for node in joins})
    place = {node: row for row, node in enumerate(rows)}
    nodes = tuple(
        TreeNode(
            term=node,
            parent=place[parents[node][0]] if parents[node] else -1,
            others=tuple(place[other] for other in parents[node][1:]),
            depth=int(ontology.depth[node]),
            n_at=called.get(node, 0) if node in set(kept) else 0,
            n_below=below[node],
            n_unseen=unseen.get(node, 0) if node in set(kept) else 0,
        )
        for node in rows
    )
    return RunTree(nodes, len(folded), sum(called.get(t, 0) for t in folded), sum(unseen.get(t, 0) for t in folded))


def _joining(ontology: CellOntology, terms: list[int]) -> dict[int, int]:
    """Return terms and ancestors that join some -> which of ``terms`` are at or below, as bits."""
    masks: dict[int, int] = {}
    for bit, term in enumerate(terms):
        for above in ontology.ancestors(term).tolist():
            masks[above] = masks.get(above, 0) | 1 << bit
    # Ascending: the most specific of those with the same terms below comes first, and a term before its own ancestors.
    first: dict[int, int] = {}
    for node in sorted(masks):
        first.setdefault(masks[node], node)
    return {node: mask for mask, node in first.items()}


def _parents(ontology: CellOntology, joins: Mapping[int, int], general: NDArray[np.bool_]) -> dict[int, list[int]]:
    """Return of each node the lowest nodes above it, the one that it is drawn under first."""
    nodes = np.array(sorted(joins), np.int64)
    above = ontology.is_ancestor(nodes[None, :], nodes[:, None]) & ~np.eye(len(nodes), dtype=bool)  # [below, above]
    # Above something that is itself above: not the lowest.
    lowest = above & ~((above.astype(np.int32) @ above.astype(np.int32)) > 0)
    return {
        int(node): sorted(
            nodes[lowest[i]].tolist(), key=lambda other: (bool(general[other]), joins[other].bit_count(), other)
        )
        for i, node in enumerate(nodes.tolist())
    }


def _below(ontology: CellOntology, nodes: list[int], called: Mapping[int, int]) -> dict[int, int]:
    terms = np.array(sorted(called), np.int64)
    cells = np.array([called[term] for term in terms.tolist()], np.int64)
    under = ontology.is_ancestor(np.array(nodes, np.int64)[:, None], terms[None, :])
    return dict(zip(nodes, (under @ cells).tolist(), strict=True))


def _rows(parents: Mapping[int, list[int]], size: Mapping[int, int]) -> list[int]:
    """Return the nodes, each before what is under it."""
    children: dict[int, list[int]] = {}
    for node, own in parents.items():
        children.setdefault(own[0] if own else -1, []).append(node)
    rows: list[int] = []
    waiting = sorted(children.get(-1, []), key=lambda node: (size[node], -node))
    while waiting:
        node = waiting.pop()
        rows.append(node)
        waiting += sorted(children.get(node, []), key=lambda child: (size[child], -child))
    return rows
