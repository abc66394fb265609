"""How far members agree with each other and with the call: the same term, or terms one of which holds the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from celljury.ontology.graph import CellOntology
    from celljury.report.vote_patterns import VotePatterns


@dataclass(frozen=True, slots=True)
class MemberAgreement:
    """Agreement of the call and every member with each other.

    Attributes
    ----------
    names
        ``call``, then the members.
    n_both
        Cells on which both named a term, int64 (n_names, n_names). Unseen cells have no call.
    same
        Share of them with the same term, float64, NaN where there are none.
    compatible
        Share of them with terms one of which is at or below the other, float64, NaN where there are none.
    """

    names: tuple[str, ...]
    n_both: NDArray[np.int64]
    same: NDArray[np.float64]
    compatible: NDArray[np.float64]


def agreement_of(patterns: VotePatterns, ontology: CellOntology | None) -> MemberAgreement:
    """Return how far members agree; a pair is judged once a pattern of votes.

    Parameters
    ----------
    ontology
        Says which terms hold others; None = that is not asked, and ``compatible`` is NaN.
    """
    votes, call = (patterns.votes, patterns.call) if ontology is None else patterns.of_ontology(ontology)
    said = np.column_stack([np.where(patterns.unseen, np.int32(-1), call), votes])
    n, cells = said.shape[1], patterns.n_cells
    n_both, n_same, n_compatible = (np.zeros((n, n), np.int64) for _ in range(3))
    for i in range(n):
        a = said[:, [i]]
        both = (a >= 0) & (said >= 0)
        n_both[i] = cells @ both
        n_same[i] = cells @ (both & (a == said))
        if ontology is not None:
            n_compatible[i] = cells @ (both & (ontology.is_ancestor(a, said) | ontology.is_ancestor(said, a)))
    none = np.full((n, n), np.nan)
    same = np.divide(n_same, n_both, out=none.copy(), where=n_both > 0)
    compatible = np.divide(n_compatible, n_both, out=none.copy(), where=(n_both > 0) & (ontology is not None))
    return MemberAgreement(("call", *patterns.members), n_both, same, compatible)
