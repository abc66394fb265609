"""The closed list of reasons why a cell deserves a look, and when each holds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag
from functools import cache
from typing import TYPE_CHECKING, Final

import numpy as np

from celljury.reduce import Status
from celljury.signs import TIERS, Signs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from celljury.marker_ranges import MarkerStatement
    from celljury.ontology.relations import Relations
    from celljury.reduce import Reduced

    Bools = NDArray[np.bool_]

# p <= eps is out of reference; up to so many times eps it is close to it (`decision.md`, F).
BORDERLINE: Final = 3.0
# Classifiers are sure from here on. A convention: whatever it is, a softmax reaches it on cells of another organ.
SURE: Final = 0.9
# Fewer members agree by chance too often for their agreement to be worth a word.
MIN_AGREEING: Final = 3


class Reason(IntFlag):
    """Reason codes; the names in lower case are the values in the column ``reasons`` and do not change."""

    SIBLING_CONFLICT = 1 << 0
    GRANULARITY = 1 << 1
    BACKED_OFF = 1 << 2
    TOO_GENERAL = 1 << 3
    MEMBER_ABSENT = 1 << 4
    MEMBER_ABSTAINED = 1 << 5
    LOW_GENES = 1 << 6
    BROAD_LABEL_MAP = 1 << 7
    OBSOLETE_LABEL = 1 << 8
    RARE_IN_REFERENCE = 1 << 9
    LINEAGE_TRANSITION = 1 << 10
    MARKER_CONTRADICTION = 1 << 11
    UNSEEN = 1 << 12
    BORDERLINE_UNSEEN = 1 << 13
    CONFIDENT_BUT_STRANGE = 1 << 14
    DISTANCE_ONLY = 1 << 15
    SHARED_BIAS = 1 << 16
    LOW_QUALITY = 1 << 17
    POSSIBLE_DOUBLET = 1 << 18
    UNCALIBRATED = 1 << 19
    OUT_OF_PLACE = 1 << 20

    @property
    def code(self) -> str:
        """The code as it stands in tables."""
        return str(self.name).lower()


MEANING: Final = {
    Reason.UNSEEN: "the cell does not belong to the reference",
    Reason.BORDERLINE_UNSEEN: "the cell barely belongs to the reference",
    Reason.CONFIDENT_BUT_STRANGE: "classifiers are sure, yet the cell does not belong to the reference",
    Reason.SHARED_BIAS: "all members agree, yet the cell does not belong to the reference that they share",
    Reason.DISTANCE_ONLY: "Symphony's distance puts the cell outside the reference, scANVI's latent does not",
    Reason.SIBLING_CONFLICT: "members split over branches of the ontology",
    Reason.LINEAGE_TRANSITION: "members split between a type and what it develops from",
    Reason.GRANULARITY: "members agree as far as they go, but one is coarser or on another axis",
    Reason.MARKER_CONTRADICTION: "a gene that the term has or lacks by definition is absent or present against it",
    Reason.OUT_OF_PLACE: "the called type is stated not to occur in the sample's organism or tissue",
    Reason.BACKED_OFF: "the call is above, or beside, the term with most votes",
    Reason.TOO_GENERAL: "the votes meet only at a term too general to be a label",
    Reason.POSSIBLE_DOUBLET: "the cell may be two cells",
    Reason.LOW_QUALITY: "few counts, few genes or a high mitochondrial share",
    Reason.RARE_IN_REFERENCE: "few reference cells or donors stand behind the call",
    Reason.MEMBER_ABSTAINED: "a member did not vote on this cell",
    Reason.BROAD_LABEL_MAP: "a label behind the votes was mapped to a broader term, so the cell may be of a narrower type",
    Reason.OBSOLETE_LABEL: "a label behind the votes was written as an id that has since been replaced",
    Reason.LOW_GENES: "the query has few of the genes that the jury learned from",
    Reason.MEMBER_ABSENT: "a member of the jury did not take part in this run",
    Reason.UNCALIBRATED: "no error rate is promised for this call",
}
"""What each means, in the order that they are listed: what makes the label moot first, what is so of whole runs last."""

RUN_WIDE: Final = Reason.LOW_GENES | Reason.MEMBER_ABSENT | Reason.UNCALIBRATED
"""Reasons that mostly hold for all cells of a run alike."""


@dataclass(frozen=True, slots=True)
class Background:
    """What reasons need to know beside the votes and the signs of a cell: the same for all cells of a run.

    Attributes
    ----------
    members
        Names of all members, in the order of the votes.
    absent
        Why each absent member is absent.
    n_reference, n_reference_donors
        Reference cells, and donors of them, at or below each term, int64 (n_terms,), or None where there is no
        reference or its donors are not known.
    rare_cells, rare_donors
        Fewer than this is rare.
    n_shared, n_genes
        Genes of the jury that the query has, and all of them; 0 where there is no reference.
    low_share
        A smaller share of them is low.
    calibrated_run
        Whether the run's threshold was calibrated; None = there is nothing to calibrate, as with labels alone.
    tier
        What the run's threshold rests on, one of `celljury.signs.TIERS`; a cell's own tier comes first.
    alpha
        Wanted share of wrong calls; None = none was named.
    eps
        A cell with p at most this is out of reference; None = not tested.
    relations
        What the ontology says beyond is_a; None = not used.
    marker_table
        Statements that `Signs.marker` is an index into.
    organism, tissue
        The sample's, as `Relations.excluded_by_taxon` and `excluded_by_location` read them; None = unknown.
    """

    members: tuple[str, ...]
    absent: dict[str, str]
    n_reference: NDArray[np.int64] | None = None
    rare_cells: int = 0
    n_shared: int = 0
    n_genes: int = 0
    low_share: float = 0.0
    n_reference_donors: NDArray[np.int64] | None = None
    rare_donors: int = 0
    calibrated_run: bool | None = None
    tier: str = "none"
    alpha: float | None = None
    eps: float | None = None
    relations: Relations | None = None
    marker_table: tuple[MarkerStatement, ...] = ()
    organism: str | None = None
    tissue: str | None = None

    @property
    def low_genes(self) -> bool:
        """Whether too few of the jury's genes are in the query."""
        return self.n_genes > 0 and self.n_shared < self.low_share * self.n_genes


def find_reasons(
    reduced: Reduced, background: Background, *, broad: Bools, obsolete: Bools, signs: Signs | None = None
) -> NDArray[np.int32]:
    """Return the reasons of each cell as bits of `Reason`, int32 (n_cells,).

    A cell's reasons depend on that cell and on the background alone.

    Parameters
    ----------
    broad, obsolete
        Whether a label behind one of a cell's votes was mapped that way, bool (n_cells,).
    signs
        What is known of the cells beyond their votes; nothing if None.

    Raises
    ------
    ConfigError
        If the background's organism is unknown, see `celljury.ontology.taxa.lineage`.
    """
    n = len(reduced.term)
    signs = Signs.unknown(n) if signs is None else signs
    split = (reduced.camp_b >= 0) & ~reduced.crossed
    joined = _joined(reduced, split, background.relations)
    n_present = len(background.members) - len(background.absent)
    every = np.ones(n, bool)
    out = _out(reduced, signs, background.eps)
    eps = -1.0 if background.eps is None else background.eps  # no p is below 0
    when = {
        Reason.SIBLING_CONFLICT: split & ~joined,
        Reason.GRANULARITY: (reduced.mixed | reduced.crossed) & ~split,
        Reason.BACKED_OFF: reduced.status == Status.BACKED_OFF,
        Reason.TOO_GENERAL: (reduced.status == Status.UNRESOLVED) & (reduced.end >= 0),
        Reason.MEMBER_ABSENT: every & bool(background.absent),
        Reason.MEMBER_ABSTAINED: reduced.n_votes < n_present,
        Reason.LOW_GENES: every & background.low_genes,
        Reason.BROAD_LABEL_MAP: broad,
        Reason.OBSOLETE_LABEL: obsolete,
        Reason.RARE_IN_REFERENCE: _rare(reduced, background),
        Reason.LINEAGE_TRANSITION: joined,
        Reason.MARKER_CONTRADICTION: signs.marker >= 0,
        Reason.UNSEEN: out,
        Reason.BORDERLINE_UNSEEN: ~out & (signs.p_seen <= BORDERLINE * eps),
        Reason.CONFIDENT_BUT_STRANGE: out & (signs.confidence >= SURE),
        Reason.DISTANCE_ONLY: (signs.p_symphony <= eps) & (signs.p_scanvi > eps),
        # No second camp: every vote is the lowest one, or lies above it.
        Reason.SHARED_BIAS: out & (reduced.n_votes >= MIN_AGREEING) & (reduced.camp_b < 0),
        Reason.LOW_QUALITY: signs.low_quality > 0,
        Reason.POSSIBLE_DOUBLET: signs.doublet | (signs.split_b >= 0),
        Reason.UNCALIBRATED: _uncalibrated(signs, background),
        Reason.OUT_OF_PLACE: _out_of_place(reduced, background),
    }
    found = np.zeros(n, np.int32)
    for reason, holds in when.items():
        found |= np.where(holds, np.int32(reason), np.int32(0))
    return found


def judged_term(reduced: Reduced) -> NDArray[np.int32]:
    """Return the term that a cell's reference is looked up by, int32 (n,): its call, else its top term; -1 = neither."""
    return np.where(reduced.term >= 0, reduced.term, reduced.top_term)


@cache
def reasons_in(mask: int) -> tuple[Reason, ...]:
    """Return the reasons in a mask, in the order of `MEANING`."""
    return tuple(reason for reason in MEANING if reason & mask)


@cache
def reason_codes(mask: int) -> str:
    """Return the codes in a mask joined by ``;``, empty = none."""
    return ";".join(reason.code for reason in reasons_in(mask))


def _joined(reduced: Reduced, split: Bools, relations: Relations | None) -> Bools:
    """Return whether develops_from joins the two camps of a split, bool (n,)."""
    found = np.zeros(len(split), bool)
    rows = np.flatnonzero(split)
    if relations is not None and len(rows):
        found[rows] = relations.pairs_joined(reduced.camp_a[rows], reduced.camp_b[rows])[:, 0] >= 0
    return found


def _out(reduced: Reduced, signs: Signs, eps: float | None) -> Bools:
    """Return whether a cell is out of reference: by its p-value, or as the walk down the tree has left it."""
    unseen = reduced.status == Status.UNSEEN
    return unseen if eps is None else unseen | (signs.p_seen <= eps)


def _rare(reduced: Reduced, background: Background) -> Bools:
    term = judged_term(reduced)
    rare = np.zeros(len(term), bool)
    for behind, enough in (
        (background.n_reference, background.rare_cells),
        (background.n_reference_donors, background.rare_donors),
    ):
        if behind is not None:
            rare |= (term >= 0) & (behind[term] < enough)
    return rare


def _uncalibrated(signs: Signs, background: Background) -> Bools:
    if background.calibrated_run is None:
        return np.zeros(len(signs), bool)
    tier = np.where(signs.tier >= 0, signs.tier, TIERS.index(background.tier))
    return (tier == TIERS.index("none")) | signs.unlike_batch


def _out_of_place(reduced: Reduced, background: Background) -> Bools:
    relations, organism, tissue = background.relations, background.organism, background.tissue
    found = np.zeros(len(reduced.term), bool)
    if relations is None or (organism is None and tissue is None):
        return found
    excluded = [
        term
        for term in np.unique(reduced.term[reduced.term >= 0]).tolist()
        if (organism is not None and relations.excluded_by_taxon(term, organism))
        or (tissue is not None and relations.excluded_by_location(term, tissue))
    ]
    return np.isin(reduced.term, excluded)
