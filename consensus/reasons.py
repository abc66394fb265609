"""The closed list of reasons why a cell deserves a look, each with its sentence."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import IntFlag
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from celljury.reduce import Status

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from celljury.ontology.graph import CellOntology
    from celljury.reduce import Reduced


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

    @property
    def code(self) -> str:
        """The code as it stands in tables."""
        return str(self.name).lower()


MEANING = {
    Reason.SIBLING_CONFLICT: "members split over branches of the ontology",
    Reason.GRANULARITY: "members agree as far as they go, but one is coarser or on another axis",
    Reason.BACKED_OFF: "the call is above, or beside, the term with most votes",
    Reason.TOO_GENERAL: "the votes meet only at a term too general to be a label",
    Reason.MEMBER_ABSENT: "a member of the jury did not take part in this run",
    Reason.MEMBER_ABSTAINED: "a member did not vote on this cell",
    Reason.LOW_GENES: "the query has few of the genes that the jury learned from",
    Reason.BROAD_LABEL_MAP: "a label behind the votes was mapped to a broader term, so the cell may be of a narrower type",
    Reason.OBSOLETE_LABEL: "a label behind the votes was written as an id that has since been replaced",
    Reason.RARE_IN_REFERENCE: "few reference cells stand behind the call",
}


@dataclass(frozen=True, slots=True)
class Background:
    """What reasons need to know beside the votes.

    Attributes
    ----------
    members
        Names of all members, in the order of the votes.
    absent
        Why each absent member is absent.
    n_reference
        Reference cells at or below each term, int64 (n_terms,), or None where there is no reference.
    rare_cells
        Fewer than this is rare.
    n_shared, n_genes
        Genes of the jury that the query has, and all of them; 0 where there is no reference.
    low_share
        A smaller share of them is low.
    """

    members: tuple[str, ...]
    absent: dict[str, str]
    n_reference: NDArray[np.int64] | None = None
    rare_cells: int = 0
    n_shared: int = 0
    n_genes: int = 0
    low_share: float = 0.0

    @property
    def low_genes(self) -> bool:
        """Whether too few of the jury's genes are in the query."""
        return self.n_genes > 0 and self.n_shared < self.low_share * self.n_genes


def find_reasons(
    reduced: Reduced, background: Background, *, broad: NDArray[np.bool_], obsolete: NDArray[np.bool_]
) -> NDArray[np.int32]:
    """Return the reasons of each cell as bits of `Reason`, int32 (n_cells,).

    ``broad`` and ``obsolete`` say per cell whether a label behind one of its votes was mapped that way.
    """
    split = (reduced.camp_b >= 0) & ~reduced.crossed
    basis = np.where(reduced.term >= 0, reduced.term, reduced.top_term)
    rare = np.zeros(len(basis), bool)
    if background.n_reference is not None:
        rare = (basis >= 0) & (background.n_reference[basis] < background.rare_cells)
    n_present = len(background.members) - len(background.absent)
    every = np.ones(len(basis), bool)
    when = {
        Reason.SIBLING_CONFLICT: split,
        Reason.GRANULARITY: (reduced.mixed | reduced.crossed) & ~split,
        Reason.BACKED_OFF: reduced.status == Status.BACKED_OFF,
        Reason.TOO_GENERAL: (reduced.status == Status.UNRESOLVED) & (reduced.end >= 0),
        Reason.MEMBER_ABSENT: every & bool(background.absent),
        Reason.MEMBER_ABSTAINED: reduced.n_votes < n_present,
        Reason.LOW_GENES: every & background.low_genes,
        Reason.BROAD_LABEL_MAP: broad,
        Reason.OBSOLETE_LABEL: obsolete,
        Reason.RARE_IN_REFERENCE: rare,
    }
    found = np.zeros(len(basis), np.int32)
    for reason, holds in when.items():
        found |= np.where(holds, np.int32(reason), np.int32(0))
    return found


@cache
def reasons_in(mask: int) -> tuple[Reason, ...]:
    """Return the reasons in a mask, in the order of the list."""
    return tuple(reason for reason in Reason if reason & mask)


@cache
def reason_codes(mask: int) -> str:
    """Return the codes in a mask joined by ``;``, empty = none."""
    return ";".join(reason.code for reason in reasons_in(mask))


def sentences(
    mask: int,
    reduced: Reduced,
    i: int,
    *,
    meet: int,
    votes: NDArray[np.int32],
    background: Background,
    ontology: CellOntology,
) -> list[str]:
    """Say the reasons of row ``i`` to a curator, with their numbers.

    Parameters
    ----------
    meet
        Where the two largest camps meet, -1 = nowhere.
    votes
        The members' terms of this row, int32 (n_members,).
    """

    def name(term: int) -> str:
        return f"{ontology.labels[term]} ({ontology.ids[term]})"

    def line(reason: Reason) -> str:
        n = int(reduced.n_votes[i])
        end, top, a, b = (int(field[i]) for field in (reduced.end, reduced.top_term, reduced.camp_a, reduced.camp_b))
        match reason:
            case Reason.SIBLING_CONFLICT:
                n_a, n_b = round(reduced.size_a[i] * n), round(reduced.size_b[i] * n)
                rest = f", and {n - n_a - n_b} for neither" if n > n_a + n_b else ""
                where = f"the two meet at {name(meet)}" if meet >= 0 else "the two have no common ancestor"
                return f"Members split over branches: {n_a} of {n} votes for {name(a)}, {n_b} for {name(b)}{rest}; {where}."
            case Reason.GRANULARITY if reduced.crossed[i]:
                return f"A cell can be both {name(a)} and {name(b)}: the two do not exclude each other."
            case Reason.GRANULARITY:
                terms = Counter(int(term) for term in votes if term >= 0)
                said = "; ".join(
                    f"{times} {'says' if times == 1 else 'say'} {ontology.labels[term]}"
                    for term, times in sorted(terms.items())
                )
                return f"Members agree, but not on how far down: {said}."
            case Reason.BACKED_OFF if not ontology.is_ancestor(end, top):
                return (
                    f"More votes lie at or below {name(end)} than on {name(top)}, the term with most votes, which lies beside"
                    " it."
                )
            case Reason.BACKED_OFF:
                bits = ontology.ic[top] - ontology.ic[end]
                levels = int(ontology.depth[top] - ontology.depth[end])
                up = "1 level" if levels == 1 else f"{levels} levels"
                return f"Backed off from {name(top)} by {up} to {name(end)}, giving up {bits:.1f} bits."
            case Reason.TOO_GENERAL:
                return f"The votes agree on nothing finer than {name(end)}, which is too general to be a label."
            case Reason.MEMBER_ABSENT:
                who = "; ".join(f"{member} ({why.rstrip('. ')})" for member, why in background.absent.items())
                return f"Took no part in this run: {who}."
            case Reason.MEMBER_ABSTAINED:
                who = ", ".join(
                    member
                    for member, vote in zip(background.members, votes.tolist(), strict=True)
                    if vote < 0 and member not in background.absent
                )
                return f"Did not vote: {who}."
            case Reason.LOW_GENES:
                return f"Only {background.n_shared:,} of the jury's {background.n_genes:,} genes are in the query."
            case Reason.RARE_IN_REFERENCE:
                term = int(reduced.term[i]) if reduced.term[i] >= 0 else top
                n_cells = 0 if background.n_reference is None else int(background.n_reference[term])
                how_many = {0: "No reference cell is", 1: "Only 1 reference cell is"}
                return f"{how_many.get(n_cells, f'Only {n_cells:,} reference cells are')} {name(term)}."
            case _:
                return f"{MEANING[reason][0].upper()}{MEANING[reason][1:]}."

    return [line(reason) for reason in reasons_in(mask)]
