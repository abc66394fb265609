"""Simple rules on the same votes, to set a run's calls beside; none of them calibrates or rejects anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from celljury.ontology.patterns import distinct_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from celljury.ontology.graph import CellOntology
    from celljury.votes import Votes

    Ints = NDArray[np.int32]

TOP_PROBABILITIES = (0.5, 0.7, 0.9)
# The strict ancestor vote lets one member that is always wrong decide (OnClass had accuracy 0 on every cell of our first
# benchmark pair), so the rule is also shown with two votes forgiven.
TOLERATED = 2
CHUNK_BYTES = 1 << 26


def baseline_calls(votes: Votes, ontology: CellOntology) -> dict[str, Ints]:
    """Return the calls of every baseline, int32 (n_cells,) each, -1 = no label.

    ``member:M``: the member's own top vote, for members that voted at all. ``majority``, ``popv_ancestor`` (none
    tolerated) and ``popv_ancestor_2`` (two), ``lca``. ``top_p_0.5`` ... : where votes carry probabilities.
    """
    found = {f"member:{name}": votes.terms[:, j].copy() for j, name in enumerate(votes.members)}
    found["majority"] = majority(votes.terms)
    found["popv_ancestor"] = ancestor_vote(votes.terms, ontology)
    found[f"popv_ancestor_{TOLERATED}"] = ancestor_vote(votes.terms, ontology, tolerated=TOLERATED)
    found["lca"] = ontology.lca_rows(votes.terms)
    if votes.mass is not None:
        term, probability = top_mean(votes)
        for threshold in TOP_PROBABILITIES:
            found[f"top_p_{threshold}"] = np.where(probability >= threshold, term, np.int32(-1))
    return found


def majority(terms: Ints) -> Ints:
    """Return the term with most votes, int32 (n_cells,), -1 where nobody voted.

    Ties go to the more informative term, then the deeper one, then the smaller id: the order of the index.

    Parameters
    ----------
    terms
        Top votes, int32 (n_cells, n_members), -1 = abstained.
    """
    ordered = np.sort(terms, axis=1)
    first, which = distinct_rows(ordered)
    rows = ordered[first]
    if not rows.size:
        return np.full(len(terms), -1, np.int32)
    votes = (rows[:, :, None] == rows[:, None, :]).sum(axis=2)
    votes[rows < 0] = 0
    # Sorted rows: of equal counts argmax takes the smallest index.
    best = np.take_along_axis(rows, votes.argmax(axis=1)[:, None], axis=1)[:, 0]
    return best[which].astype(np.int32)


def ancestor_vote(terms: Ints, ontology: CellOntology, *, tolerated: int = 0) -> Ints:
    """Return popV's ancestor rule as we read it, int32 (n_cells,), -1 where nobody voted.

    Ergen 2024 (doi:10.1038/s41588-024-01993-3) aggregates votes over the ontology. Our reading: every vote adds one to
    its term and to all ancestors of it; of the nodes with the highest count the one farthest from the root is called,
    by shortest path; a further tie goes to the more informative node. The root always has the highest count, so with
    none ``tolerated`` this is a common ancestor of all votes. Written from the description, not from popV's code.
    Shortest paths are not monotone in CL: a unanimous vote can be demoted to an ancestor.

    Parameters
    ----------
    tolerated
        Nodes with up to that many votes fewer than the highest count stand for election too, but never one without a
        vote.
    """
    ordered = np.sort(terms, axis=1)
    first, which = distinct_rows(ordered)
    rows = ordered[first]
    used = np.unique(rows[rows >= 0])
    if not used.size:
        return np.full(len(terms), -1, np.int32)
    above = ontology.ancestor_rows(used)
    nodes = np.flatnonzero(above.any(axis=0))
    # One row more, for votes that were not cast.
    table = np.vstack([above[:, nodes], np.zeros((1, nodes.size), np.bool_)]).astype(np.int16)
    codes = np.where(rows >= 0, np.searchsorted(used, rows), used.size)
    # Farthest first, then most informative: the first node that passes is the call.
    order = np.lexsort((nodes, -shortest_depth(ontology)[nodes]))
    table, nodes = table[:, order], nodes[order]
    called = np.full(len(rows), -1, np.int32)
    step = max(1, CHUNK_BYTES // (2 * nodes.size))
    for start in range(0, len(rows), step):
        chunk = codes[start : start + step]
        count = table[chunk[:, 0]].copy()
        for column in chunk.T[1:]:
            count += table[column]
        most = count.max(axis=1, keepdims=True)
        passes = count >= np.maximum(most - tolerated, 1)
        called[start : start + step] = np.where(most[:, 0] > 0, nodes[passes.argmax(axis=1)], -1)
    return called[which]


def shortest_depth(ontology: CellOntology) -> Ints:
    """Return the length of the shortest path from a root to each term, int32 (n_terms,)."""
    depth = np.zeros(len(ontology), np.int32)
    # Every term stands before its ancestors, so from the end parents come first.
    for i_term in range(len(ontology) - 1, -1, -1):
        parents = ontology.parents(i_term)
        if len(parents):
            depth[i_term] = depth[parents].min() + 1
    return depth


def top_mean(votes: Votes) -> tuple[Ints, NDArray[np.float64]]:
    """Return the term with the highest mean probability over the members that voted, and that probability.

    int32 and float64 (n_cells,); -1 and 0 where nobody voted. Ties, to six digits, go to the more informative term.
    """
    if votes.mass is None:
        message = "these votes carry top terms only; a mean of probabilities needs votes with mass"
        raise ValueError(message)
    term, probability = np.full(votes.n_cells, -1, np.int32), np.zeros(votes.n_cells)
    used = np.unique(np.concatenate([matrix.indices for matrix in votes.mass]))
    if not used.size:
        return term, probability
    cast = np.maximum(votes.n_votes, 1)
    columns = [matrix[:, used] for matrix in votes.mass]
    step = max(1, CHUNK_BYTES // (8 * used.size))
    for start in range(0, votes.n_cells, step):
        rows = slice(start, start + step)
        mean = sum(column[rows].toarray().astype(np.float64) for column in columns) / cast[rows, None]
        mean = np.round(mean, 6)
        top = mean.argmax(axis=1)
        probability[rows] = mean[np.arange(len(top)), top]
        term[rows] = np.where(probability[rows] > 0, used[top], -1)
    return term, probability
