"""Which cells are of a type that the reference lacks, and whether the node that an unseen call names is right."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from celljury.ontology.graph import CellOntology

NAMED = ("right", "root only", "wrong")


class Belongs(IntEnum):
    """How a true term lies to the reference's terms."""

    SEEN = 0
    UNSEEN = 1
    OPEN = 2


@dataclass(frozen=True, slots=True)
class Belonging:
    """True terms against a reference; fields have one entry a row.

    Attributes
    ----------
    kind
        `Belongs`, int8. ``SEEN``: at or below a reference term. ``UNSEEN``: on no line with any. ``OPEN``: only above
        reference terms, so the truth is too coarse to tell.
    best
        Lowest ancestor of the true term that has reference terms at or below it, int32, -1 = none: the most that a
        call can rightly say of it.
    """

    kind: NDArray[np.int8]
    best: NDArray[np.int32]


def belonging(truth: NDArray[np.int32], reference: NDArray[np.int32], ontology: CellOntology) -> Belonging:
    """Return how true terms, int32 (n_rows,), lie to the terms of a reference, int32 (n_reference_terms,)."""
    used, code = np.unique(truth, return_inverse=True)
    above = ontology.ancestor_rows(used)
    is_reference = np.zeros(len(ontology), np.bool_)
    is_reference[reference] = True
    reached = ontology.ancestor_rows(reference).any(axis=0)
    seen = (above & is_reference).any(axis=1)
    kind = np.where(seen, Belongs.SEEN, np.where(np.asarray(reached)[used], Belongs.OPEN, Belongs.UNSEEN)).astype(
        np.int8
    )
    meets = above & reached
    # Terms stand in order of falling information: the first is a lowest one.
    best = np.where(meets.any(axis=1), meets.argmax(axis=1), -1).astype(np.int32)
    return Belonging(kind[code.ravel()], best[code.ravel()])


def judge_node(
    node: NDArray[np.int32], truth: NDArray[np.int32], best: NDArray[np.int32], ontology: CellOntology
) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    """Return what the nodes of unseen calls are worth, for cells of types that the reference lacks.

    Parameters
    ----------
    node
        Named node, int32 (n_rows,), -1 = plain unseen.
    best
        As in `Belonging`.

    Returns
    -------
    named
        Index into `NAMED`, int8 (n_rows,): the node is an ancestor of the truth; no node, or a root; neither.
    kept
        IC(node) / IC(best), at most 1, float64 (n_rows,): 0 where wrong or nothing is named, 1 where nothing is named
        and there was nothing to name.
    """
    plain = (node < 0) | np.isin(node, ontology.roots)
    right = ~plain & ontology.is_ancestor(node, truth)
    bits = np.where(best >= 0, ontology.ic[best], 0.0)
    part = np.divide(ontology.ic[node], bits, out=np.ones(len(node)), where=bits > 0)
    kept = np.where(right, np.minimum(part, 1.0), np.where(plain & (bits <= 0), 1.0, 0.0))
    return np.select((right, plain), (0, 1), default=2).astype(np.int8), kept
