"""Pairs of terms against pairs of ends: each distinct pair once, all ends at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from celljury.ontology.patterns import distinct_rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from celljury.ontology.graph import CellOntology

    Ints = NDArray[np.int32]
    Bools = NDArray[np.bool_]
    Sides = Callable[[Ints, Bools], tuple[Bools, Bools]]

CHUNK_BYTES: Final = 32_000_000


def transition_paths(ontology: CellOntology, edges: Ints, general: Bools) -> tuple[Ints, Ints]:
    """Return the paths of one or two steps that can tell a transition.

    Parameters
    ----------
    edges
        (later, earlier), int32 (n_edges, 2).
    general
        Terms that are no end of a step, bool (n_terms,).

    Returns
    -------
    ends
        (later, earlier), int32 (n_paths, 2), each once: one step before two, then the more informative ends.
    between
        The term between them, int32 (n_paths,), -1 = one step.
    """
    edges = edges[~general[edges].any(axis=1)]
    # A step taken at a term above the middle one holds of the middle one too.
    first, second = np.nonzero(ontology.is_ancestor(edges[None, :, 0], edges[:, None, 1]))
    ends = np.concatenate([edges, np.column_stack([edges[first, 0], edges[second, 1]])]).astype(np.int32)
    between = np.concatenate([np.full(len(edges), -1), edges[first, 1]]).astype(np.int32)
    # A term that develops from its own ancestor, or from itself by way of another, tells no two camps apart.
    a, b = ends.T
    apart = ~ontology.is_ancestor(a, b) & ~ontology.is_ancestor(b, a)
    ends, between = ends[apart], between[apart]
    bits = ontology.ic[ends].sum(axis=1)
    order = np.lexsort((between, ends[:, 1], ends[:, 0], -bits, between >= 0))
    ends, between = ends[order], between[order]
    kept = np.sort(distinct_rows(ends)[0])
    return ends[kept], between[kept]


def first_pair(
    ontology: CellOntology, n_ends: int, a: Ints, b: Ints, sides: Sides, *, on_one_line: bool
) -> NDArray[np.int64]:
    """Return the first of ``n_ends`` ends that both terms of each pair lie at, either way round, int64 (n,), -1 = none.

    ``sides`` tells of terms, and of their rows of ancestors, at which ends they lie: bool (n_used, n_ends) twice.
    Without ``on_one_line`` pairs of a term and its ancestor have none.
    """
    rows = np.column_stack([a, b]).astype(np.int32)
    if not (len(rows) and n_ends):
        return np.full(len(rows), -1, np.int64)
    first, which = distinct_rows(rows)
    pairs = rows[first]
    whole = (pairs >= 0).all(axis=1)
    if not on_one_line:
        whole &= ~ontology.is_ancestor(pairs[:, 0], pairs[:, 1]) & ~ontology.is_ancestor(pairs[:, 1], pairs[:, 0])
    used = np.unique(pairs[whole])
    left, right = sides(used, ontology.ancestor_rows(used))
    codes = np.searchsorted(used, pairs[whole])
    found = np.full(codes.shape[0], -1, np.int64)
    step = max(1, CHUNK_BYTES // n_ends)
    for start in range(0, len(codes), step):
        x, y = codes[start : start + step].T
        hit = (left[x] & right[y]) | (right[x] & left[y])
        found[start : start + step] = np.where(hit.any(axis=1), hit.argmax(axis=1), -1)
    result = np.full(len(pairs), -1, np.int64)
    result[whole] = found
    return result[which]
