"""Members' probabilities pooled into one distribution per cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_matrix, diags

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from celljury.votes import Votes


def checked_weights(weights: NDArray[np.float64] | None, n_members: int) -> NDArray[np.float64]:
    """Return the members' weights, float64 (n_members,), all 1 if None.

    Raises
    ------
    ValueError
        If there is not one finite weight a member, one is below zero, or all are zero.
    """
    given = np.ones(n_members) if weights is None else np.asarray(weights, np.float64)
    valid = given.shape == (n_members,) and bool((np.isfinite(given) & (given >= 0)).all())
    if not valid or (n_members and not given.any()):
        message = f"weights: expected {n_members} numbers, none below zero and not all zero, got {given.tolist()}"
        raise ValueError(message)
    return given


def member_weights(votes: Votes, weights: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """Return each member's weight on each cell, float64 (n_cells, n_members): 0 where it abstained, rows sum to 1 or 0."""
    given = checked_weights(weights, len(votes.members))
    cast = (votes.terms >= 0) * given
    total = cast.sum(axis=1, keepdims=True)
    return np.divide(cast, total, out=np.zeros_like(cast), where=total > 0)


def pool_mass(votes: Votes, weights: NDArray[np.float64] | None = None) -> csr_matrix:
    """Return P(l|x) = sum_m w_m p_m(l|x), CSR float32 (n_cells, n_ontology_terms); an abstention is never a vote.

    A linear pool with equal weights unless others are given; over the members that voted on the cell. Rows sum to 1,
    or to 0 where nobody voted.
    """
    if votes.mass is None:
        message = "these votes carry top terms only; reduce them on votes"
        raise ValueError(message)
    share = member_weights(votes, weights)
    pooled = csr_matrix(votes.mass[0].shape, dtype=np.float64) if votes.mass else csr_matrix((votes.n_cells, 0))
    for j, matrix in enumerate(votes.mass):
        pooled = pooled + diags(share[:, j]) @ matrix
    return csr_matrix(pooled, dtype=np.float32)
