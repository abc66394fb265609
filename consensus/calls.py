"""The calls: one row a cell, one schema in every mode, invariants checked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from celljury.pool import mass_below, pool_mass
from celljury.reasons import Reason, find_reasons, reason_codes
from celljury.reduce import Status, reduce_mass, reduce_votes, under_node
from celljury.signs import TIERS, Signs
from celljury.votes import name_column

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

    from celljury.config import ReduceSettings
    from celljury.ontology.graph import CellOntology
    from celljury.reasons import Background
    from celljury.reduce import Reduced
    from celljury.votes import Votes

# A curator looks at these whatever the call; the others inform.
ALWAYS_REVIEWED = Reason.LOW_QUALITY | Reason.POSSIBLE_DOUBLET | Reason.MARKER_CONTRADICTION

STATUS_NAMES = tuple(status.name.lower() for status in Status)


@dataclass(frozen=True, slots=True)
class Calls:
    """The calls of some cells.

    Attributes
    ----------
    ontology
        The index behind the numbers.
    votes
        What the members said (n_cells).
    reduced
        What the reducer made of it; the same rows.
    reasons
        Bits of `celljury.reasons.Reason`, int32 (n_cells,).
    needs_review
        Whether a curator should see the cell, bool (n_cells,).
    member_support
        Each member's probability at or below the called term, float32 (n_cells, n_members), NaN = no call or no vote.
    signs
        What is known of the cells beside the votes.
    """

    ontology: CellOntology
    votes: Votes
    reduced: Reduced
    reasons: NDArray[np.int32]
    needs_review: NDArray[np.bool_]
    member_support: NDArray[np.float32]
    signs: Signs

    def __len__(self) -> int:
        return self.votes.n_cells

    def check(self) -> None:
        """Raise AssertionError where the rows contradict each other: a defect of ours, never of the input."""
        reduced = self.reduced
        labelled = reduced.term >= 0
        unseen = reduced.status == Status.UNSEEN
        told = np.where(unseen, labelled, reduced.status != Status.UNRESOLVED)
        assert np.array_equal(labelled, told), "a label and no label at once"
        parts = reduced.agreement + reduced.coarser + reduced.conflict
        assert (parts <= 1 + 1e-3).all(), "agreement, coarser and conflict exceed all votes"
        assert not labelled[reduced.n_votes == 0].any(), "a call without a vote"

    def to_table(self) -> pa.Table:
        """Return the columns of ``calls.parquet``."""
        import pyarrow as pa

        reduced, ontology = self.reduced, self.ontology
        none = reduced.term < 0
        masks, code = np.unique(self.reasons, return_inverse=True)
        reasons = pa.array([reason_codes(int(mask)) for mask in masks], pa.string())
        n = len(self)
        columns: dict[str, Any] = {
            "cell_id": pa.array(self.votes.cell_ids, pa.string()),
            "term": name_column(reduced.term, ontology.ids),
            "label": name_column(reduced.term, ontology.labels),
            "status": pa.DictionaryArray.from_arrays(pa.array(reduced.status.astype(np.int32)), pa.array(STATUS_NAMES)),
            "depth": pa.array(np.where(none, 0, ontology.depth[reduced.term]).astype(np.int32)),
            "ic": pa.array(np.where(none, 0, ontology.ic[reduced.term]).astype(np.float32)),
            "top_term": name_column(reduced.top_term, ontology.ids),
            "agreement": pa.array(reduced.agreement),
            "conflict": pa.array(reduced.conflict),
            "coarser": pa.array(reduced.coarser),
            "n_votes": pa.array(reduced.n_votes.astype(np.int32)),
            "n_members": pa.array(np.full(n, len(self.votes.members), np.int32)),
            "support": pa.array(reduced.support),
            "runner_up": name_column(reduced.runner_up, ontology.ids),
            "p_seen": pa.array(self.signs.p_seen, from_pandas=True),
            "reasons": pa.DictionaryArray.from_arrays(pa.array(code.ravel().astype(np.int32)), reasons),
            "needs_review": pa.array(self.needs_review),
            "tier": pa.DictionaryArray.from_arrays(
                pa.array(np.maximum(self.signs.tier, 0).astype(np.int32)), pa.array(TIERS)
            ),
        }
        for j, name in enumerate(self.votes.members):
            columns[f"vote_{name}"] = name_column(self.votes.terms[:, j], ontology.ids)
            columns[f"support_{name}"] = pa.array(self.member_support[:, j])
        return pa.table(columns)

    def evidence(self) -> pa.Table:
        """Return what lies behind the calls, as ontology indices and bits; columns start with ``_`` (see `Reduced`)."""
        import pyarrow as pa

        columns = {f"_{name}": pa.array(getattr(self.reduced, name)) for name in self.reduced.__slots__}
        columns["_reasons"] = pa.array(self.reasons)
        columns |= {name: pa.array(values) for name, values in self.signs.columns().items()}
        for j, name in enumerate(self.votes.members):
            columns[f"_vote_{name}"] = pa.array(self.votes.terms[:, j])
        return pa.table(columns)

    def to_pandas(self) -> pd.DataFrame:
        """Return the columns of ``calls.parquet`` as a frame indexed by cell name."""
        return self.to_table().to_pandas().set_index("cell_id")


def make_calls(
    votes: Votes,
    ontology: CellOntology,
    *,
    settings: ReduceSettings,
    too_general: NDArray[np.bool_],
    background: Background,
    max_conflict: float,
    broad: NDArray[np.bool_],
    obsolete: NDArray[np.bool_],
    verdict: Weighed | None = None,
) -> Calls:
    """Reduce votes and say why.

    Parameters
    ----------
    settings
        The rule; ``on = "mass"`` needs votes that carry probabilities.
    too_general
        Terms that are no label, bool (n_terms,).
    max_conflict
        A resolved call with a larger share of conflicting votes needs review.
    broad, obsolete
        Whether a label behind a cell's votes was mapped that way, bool (n_cells,).
    verdict
        What held-out donors add; None where there is no calibration.
    """
    rule = settings.effective(calibrated=verdict is not None)
    if rule == "calibrated":
        assert verdict is not None
        reduced = reduce_mass(verdict.mass, votes.terms, ontology, threshold=verdict.threshold, too_general=too_general,
                              climb=True)  # fmt: skip
    elif settings.on == "mass":
        mass = pool_mass(votes) if verdict is None else verdict.mass
        reduced = reduce_mass(mass, votes.terms, ontology, threshold=settings.threshold, too_general=too_general)
    else:
        reduced = reduce_votes(votes.terms, ontology, threshold=settings.threshold, too_general=too_general)
    signs = Signs.unknown(votes.n_cells) if verdict is None else verdict.signs
    if verdict is not None:
        if rule != "calibrated":  # another rule's calls were not calibrated, whatever the held-out donors say
            signs = replace(signs, tier=np.zeros(votes.n_cells, np.int8))
        if verdict.unseen.any():
            support = mass_below(verdict.mass, verdict.node, ontology)
            reduced = under_node(reduced, verdict.unseen, verdict.node, votes.terms, ontology, support=support)
    reasons = find_reasons(reduced, background, broad=broad, obsolete=obsolete, signs=signs)
    needs_review = (reduced.status != Status.RESOLVED) | (reduced.conflict > max_conflict)
    needs_review |= (reasons & int(ALWAYS_REVIEWED)) > 0
    support = member_support(votes, reduced.term, ontology)
    calls = Calls(ontology, votes, reduced, reasons, np.asarray(needs_review, bool), support, signs)
    calls.check()
    return calls


@dataclass(frozen=True, slots=True)
class Weighed:
    """What held-out donors add to some cells' votes.

    Attributes
    ----------
    mass
        Pooled probabilities, CSR float32 (n_cells, n_ontology_terms).
    threshold
        Share of the mass that a call has to hold, float64 (n_cells,).
    unseen
        Whether the cell does not belong to the reference, bool (n_cells,).
    node
        Where an unseen cell still belongs, int32 (n_cells,), -1 = nowhere: plain ``unseen``.
    signs
        What is known beside the votes.
    """

    mass: csr_matrix
    threshold: NDArray[np.float64]
    unseen: NDArray[np.bool_]
    node: NDArray[np.int32]
    signs: Signs


def member_support(votes: Votes, term: NDArray[np.int32], ontology: CellOntology) -> NDArray[np.float32]:
    """Return each member's mass at or below the called term, float32 (n_cells, n_members), NaN = no call or no vote.

    Where only top terms are known it is 1 or 0.
    """
    support = np.full(votes.terms.shape, np.nan, np.float32)
    for j in range(len(votes.members)):
        voted = (votes.terms[:, j] >= 0) & (term >= 0)
        if votes.mass is None:
            value = ontology.is_ancestor(term, votes.terms[:, j]).astype(np.float32)
        else:
            value = mass_below(votes.mass[j], term, ontology)
        support[voted, j] = value[voted]
    return support
