"""Why calls differ: the parts of a run that are swapped one after the other, in one fixed order."""

from __future__ import annotations

from enum import IntFlag
from functools import cache
from typing import Final


class Cause(IntFlag):
    """Causes in the order in which they are swapped; the names in lower case are the codes in the column ``why``."""

    ONTOLOGY = 1 << 0
    MEMBERS = 1 << 1
    VOTES = 1 << 2
    EVIDENCE = 1 << 3
    RULE = 1 << 4
    TOO_GENERAL = 1 << 5
    THRESHOLD = 1 << 6
    EPS = 1 << 7
    BELONGING = 1 << 8
    REVIEW = 1 << 9
    CURATOR = 1 << 10
    NOT_EXPLAINED = 1 << 11

    @property
    def code(self) -> str:
        """The name as it stands in tables."""
        return str(self.name).lower()


NOTHING: Final = Cause(0)
"""Everything is A's."""

STEPS: Final = tuple(cause for cause in Cause if cause != Cause.NOT_EXPLAINED)
"""What is swapped, in this order."""

MEANING: Final = {
    Cause.ONTOLOGY: "the ontology release: terms, their ids or what lies above them",
    Cause.MEMBERS: "which members take part",
    Cause.VOTES: "what members that take part in both said of the cell",
    Cause.EVIDENCE: "the jury's held-out cells, or how members are pooled by them",
    Cause.RULE: "the rule, or its quorum",
    Cause.TOO_GENERAL: "the list of terms that are too general",
    Cause.THRESHOLD: "the support that a call needs (alpha, tier, loss, strata)",
    Cause.EPS: "the share eps of cells that may be called unseen, or whether that is tested",
    Cause.BELONGING: "how strange the cell is to the reference (p_seen), or the node where it belongs",
    Cause.REVIEW: "the conflict that is let pass, or signs beside the votes (quality, doublets, markers)",
    Cause.CURATOR: "a curator's decision",
    Cause.NOT_EXPLAINED: "not explained: the stored values do not give both calls",
}


@cache
def why(mask: int) -> str:
    """Return the codes of some causes joined by ``+``, in order; empty for none."""
    return "+".join(cause.code for cause in Cause if mask & cause)


class How(IntFlag):
    """How a cause was found."""

    REPLAY = 1
    EVIDENCE = 2

    @property
    def code(self) -> str:
        """The name as it stands in tables."""
        return str(self.name).lower()
