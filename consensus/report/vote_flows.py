"""Cells on their way from members' votes to the call, at a level: blocks of each column and bands between columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from celljury.report.figure_stack import OTHER_TERMS, Look, look_of
from celljury.report.figure_style import MUTED
from celljury.report.tally import OTHER, UNRESOLVED, UNSEEN

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from celljury.ontology.graph import CellOntology
    from celljury.report.vote_patterns import VotePatterns

MAX_MEMBERS: Final = 6
MAX_TERMS: Final = 10
ABSTAINED: Final = -9


@dataclass(frozen=True, slots=True)
class Flows:
    """Cells by block, and between the blocks of neighbouring columns.

    Attributes
    ----------
    columns
        Names: members, the call last.
    places
        Of the blocks, the same in every column: terms, then what is none.
    labels, looks
        Of the blocks.
    blocks
        Cells, int64 (n_columns, n_places).
    bands
        Cells between a block of a column, one of the next column, and by what was called, int64
        (n_columns - 1, n_places, n_places, n_places).
    left_out
        Members without a column.
    """

    columns: tuple[str, ...]
    places: tuple[int, ...]
    labels: tuple[str, ...]
    looks: tuple[Look, ...]
    blocks: NDArray[np.int64]
    bands: NDArray[np.int64]
    left_out: tuple[str, ...]

    @property
    def n_cells(self) -> int:
        """All cells: what every column holds."""
        return int(self.blocks[0].sum())


def flows_of(
    patterns: VotePatterns,
    ontology: CellOntology,
    rollup: NDArray[np.int32] | None,
    *,
    max_terms: int = MAX_TERMS,
    last: str = "call",
) -> Flows:
    """Return what flows; of more than `MAX_MEMBERS` members those that voted most.

    Parameters
    ----------
    rollup
        The place of every term at a level, int32 (n_terms,), -1 = other; None = each term is its own.
    last
        What the last column is called.
    """
    votes, call = patterns.of_ontology(ontology)
    cast = ((votes >= 0) * patterns.n_cells[:, None]).sum(axis=0)
    chosen = np.sort(np.argsort(-cast, kind="stable")[:MAX_MEMBERS])
    own = np.arange(len(ontology), dtype=np.int32) if rollup is None else rollup
    at = np.append(own, np.int32(ABSTAINED))  # -1 finds the last
    placed = at[np.column_stack([votes[:, chosen], call])].astype(np.int64)
    placed[call < 0, -1] = UNRESOLVED
    placed[patterns.unseen, -1] = UNSEEN
    placed, places = _few(placed, patterns.n_cells, max_terms)
    index = _index(places, placed)
    n, weights = len(places), patterns.n_cells
    blocks = np.stack([np.bincount(column, weights, n).astype(np.int64) for column in index.T])
    bands = np.stack(
        [
            np.bincount((left * n + right) * n + index[:, -1], weights, n**3).astype(np.int64).reshape(n, n, n)
            for left, right in zip(index.T[:-1], index.T[1:], strict=True)
        ]
    )  # fmt: skip
    names = (*(patterns.members[j] for j in chosen), last)
    rest = tuple(name for j, name in enumerate(patterns.members) if j not in chosen)
    labels = tuple(ontology.labels[p] if 0 <= p < OTHER_TERMS else _LABELS[p] for p in places.tolist())
    looks = tuple(_ABSTAINED if p == ABSTAINED else look_of(p, rank) for rank, p in enumerate(places.tolist()))
    return Flows(names, tuple(places.tolist()), labels, looks, blocks, bands, rest)


_ABSTAINED = Look("white", MUTED, None)
_LABELS = {OTHER_TERMS: "other terms", OTHER: "no term of this level", UNRESOLVED: "unresolved", UNSEEN: "unseen",
           ABSTAINED: "abstained"}  # fmt: skip


def _few(
    placed: NDArray[np.int64], n_cells: NDArray[np.int64], max_terms: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return places with at most so many terms, the others as one, and the blocks in their order."""
    found, which = np.unique(placed, return_inverse=True)
    mass = np.bincount(which.ravel(), np.repeat(n_cells, placed.shape[1]))
    terms = found[found >= 0][np.argsort(-mass[found >= 0], kind="stable")]
    placed = np.where((placed >= 0) & ~np.isin(placed, terms[:max_terms]), OTHER_TERMS, placed)
    rest = [p for p in (OTHER_TERMS, OTHER, UNRESOLVED, UNSEEN, ABSTAINED) if (placed == p).any()]
    return placed, np.array([*terms[:max_terms].tolist(), *rest], np.int64)


def _index(places: NDArray[np.int64], placed: NDArray[np.int64]) -> NDArray[np.int64]:
    order = np.argsort(places)
    return order[np.searchsorted(places[order], placed)]
