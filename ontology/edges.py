"""From is_a edges to integer arrays: cycles refused, closure, longest path, information content, order."""

from __future__ import annotations

from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

import numpy as np

from celljury.errors import OntologyError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class EdgeIndex:
    """Arrays over terms in the reducer's order.

    Attributes
    ----------
    ids
        Term ids (n_terms,): information content descending, longest path descending, id ascending.
    parents_indptr, parents_indices
        Direct is_a parents, CSR int32, each row ascending.
    closure_indptr, closure_indices
        Ancestors with the term itself, CSR int32, each row ascending: the term itself comes first.
    depth
        Longest path from a root, int32 (n_terms,); a root has 0.
    ic
        Information content in bits, float64 (n_terms,); the largest root has 0.
    n_descendants
        Terms below, without the term itself, int32 (n_terms,).
    """

    ids: tuple[str, ...]
    parents_indptr: NDArray[np.int32]
    parents_indices: NDArray[np.int32]
    closure_indptr: NDArray[np.int32]
    closure_indices: NDArray[np.int32]
    depth: NDArray[np.int32]
    ic: NDArray[np.float64]
    n_descendants: NDArray[np.int32]


def index_edges(parents: Mapping[str, Sequence[str]]) -> EdgeIndex:
    """Return the arrays of a directed acyclic graph given as term id -> ids of its direct parents.

    Information content is IC(v) = -log2((descendants(v) + 1) / all) over the ontology itself (Seco 2004, intrinsic
    information content), with ``all`` the terms at or below the largest root, so that this root has 0 bits. A term has
    strictly more descendants than any term below it, so IC falls strictly along every path upwards: the order by IC is
    a linear extension of the graph, and the first common ancestor in it has no common ancestor below it.

    Raises
    ------
    OntologyError
        If a parent is not a term, or if there is a cycle; the terms are named.
    """
    names = sorted(parents)
    _refuse_missing_parents(parents)
    upwards = _parents_first(parents)
    position = {term_id: i for i, term_id in enumerate(names)}
    n_terms = len(names)
    # A dense table of n_terms^2 bytes (11 MB for CL) makes the closure one OR per edge.
    above = np.zeros((n_terms, n_terms), np.bool_)
    depth = np.zeros(n_terms, np.int32)
    for term_id in upwards:
        i = position[term_id]
        for parent in parents[term_id]:
            p = position[parent]
            above[i] |= above[p]
            depth[i] = max(depth[i], depth[p] + 1)
        above[i, i] = True
    n_descendants = above.sum(axis=0, dtype=np.int32) - np.int32(1)
    # Fewer descendants = more bits: sorting the counts is exact where bits could differ by rounding.
    # names are sorted and lexsort is stable, so the last tie goes to the smaller id.
    order = np.lexsort((-depth, n_descendants))
    rank = np.empty(n_terms, np.int32)
    rank[order] = np.arange(n_terms, dtype=np.int32)
    closure_indptr, closure_indices = _csr(above[np.ix_(order, order)])
    ids = tuple(names[i] for i in order)
    rows = [sorted({int(rank[position[parent]]) for parent in parents[term_id]}) for term_id in ids]
    n_descendants = n_descendants[order]
    size = float(n_descendants.max(initial=0)) + 1
    return EdgeIndex(
        ids=ids,
        parents_indptr=np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int32),
        parents_indices=np.array([p for row in rows for p in row], dtype=np.int32),
        closure_indptr=closure_indptr,
        closure_indices=closure_indices,
        depth=depth[order],
        ic=np.log2(size / (n_descendants + 1.0)),
        n_descendants=n_descendants,
    )


def _refuse_missing_parents(parents: Mapping[str, Sequence[str]]) -> None:
    missing = [(term_id, parent) for term_id, row in parents.items() for parent in row if parent not in parents]
    if missing:
        shown = ", ".join(f"{term_id} is_a {parent}" for term_id, parent in missing[:5])
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        message = f"{len(missing)} parent(s) are not in the ontology: {shown}{more}. Add them, or correct the ids."
        raise OntologyError(message)


def _parents_first(parents: Mapping[str, Sequence[str]]) -> list[str]:
    try:
        return list(TopologicalSorter(parents).static_order())
    except CycleError as error:
        # graphlib lists the cycle from parent to child, with the first term repeated at the end.
        cycle = " is_a ".join(reversed(error.args[1]))
        message = f"is_a edges form a cycle: {cycle}. Remove one of these parents."
        raise OntologyError(message) from error


def _csr(table: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    rows, columns = np.nonzero(table)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(table)))])
    return indptr.astype(np.int32), columns.astype(np.int32)
