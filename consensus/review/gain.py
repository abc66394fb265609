"""What a look at a cell is expected to win, in bits: the order of the review queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from celljury.ontology.graph import CellOntology
    from celljury.reduce import Reduced

LEAST: Final = 0.01
"""Bits of a cell from which nothing is expected: of two such items the larger one still comes first."""


def expected_gain(reduced: Reduced, ontology: CellOntology) -> NDArray[np.float64]:
    """Return the bits that a curator's label is expected to win for each cell, float64 (n,), at least `LEAST`.

    ``max(ic(top) - ic(call), 0) + (1 - support) x ic(call)``: what was given up between the term with most votes (or mass)
    and the call, and what the call is expected to say wrongly. ``ic`` is the information content, that of no call 0, so
    an unresolved cell, and an unseen one with no node, counts with all bits of its top term. Where nobody voted, a label
    would give what the terms voted for in these rows hold on average. ``support`` is the calibrated probability, on labels
    alone the share of votes.

    Chosen on seven cross pairs of reference and query with known types (four members). Measured was how many bits come
    back if each item gets the true type of most of its cells; bits lost are the distance of Jiang and Conrath (1997,
    arXiv:cmp-lg/9709008), ``ic(a) + ic(b) - 2 ic(lca)``, of call and truth, none where the call is a kind of the truth.
    Share won after the first 10 and 25 % of items, and area under that curve; means over these pairs, and over P1, P2, P3
    and P3-200 in brackets, on which nothing was chosen:

    ================================== =========== =========== ===========
    order                              10 %        25 %        area
    ================================== =========== =========== ===========
    best possible                      0.47 (0.45) 0.68 (0.68) 0.80 (0.79)
    this                               0.42 (0.41) 0.62 (0.61) 0.74 (0.73)
    bits given up alone                0.42 (0.39) 0.61 (0.59) 0.74 (0.72)
    mean distance of votes to the call 0.42 (0.39) 0.62 (0.60) 0.74 (0.72)
    this, with what is wrong twice     0.40 (0.41) 0.59 (0.59) 0.73 (0.71)
    number of cells                    0.36 (0.36) 0.54 (0.47) 0.67 (0.64)
    cells x disagreement x levels      0.22 (0.16) 0.35 (0.32) 0.55 (0.54)
    ================================== =========== =========== ===========
    """
    ic = np.concatenate([ontology.ic, [0.0]])  # no term: no bits
    called = ic[reduced.term]
    gain = np.maximum(ic[reduced.top_term] - called, 0) + (1 - reduced.support.astype(np.float64)) * called
    voted = np.unique(reduced.top_term[reduced.top_term >= 0])
    typical = float(ontology.ic[voted].mean() if len(voted) else ontology.ic.mean())
    return np.maximum(np.where(reduced.n_votes > 0, gain, typical), LEAST)
