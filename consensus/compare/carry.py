"""Terms of one release carried into another, and what the release changed about them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from celljury.ontology.graph import CellOntology

    Ints = NDArray[np.int32]
    Bools = NDArray[np.bool_]


class How(IntEnum):
    """How a term was found in the other release."""

    SAME = 0
    REPLACED = 1
    OBSOLETE = 2
    LACKING = 3
    NOWHERE = 4


SAID = {
    How.SAME: "has the term",
    How.REPLACED: "replaced its id",
    How.OBSOLETE: "made it obsolete without naming a successor",
    How.LACKING: "does not have it",
    How.NOWHERE: "has neither it nor any term above it",
}


@dataclass(frozen=True, slots=True)
class Carried:
    """Every term of one ontology in another; the last place of each array stands for "no term".

    Attributes
    ----------
    to
        Index in the other ontology, int32 (n_terms + 1,): the term itself, its successor, or else its most informative
        living ancestor; -1 = none.
    how
        `How`, int8 (n_terms + 1,).
    """

    to: Ints
    how: NDArray[np.int8]

    @property
    def exact(self) -> Bools:
        """Whether the term itself or its successor is there, bool (n_terms + 1,)."""
        return np.asarray(self.how <= How.REPLACED, bool)

    @property
    def live(self) -> Bools:
        """Whether the very id is a live term there, bool (n_terms + 1,)."""
        return np.asarray(self.how == How.SAME, bool)


def same_ontology(a: CellOntology, b: CellOntology) -> bool:
    """Return whether two indices hold the same terms and edges, wherever they came from."""
    return a is b or (
        a.ids == b.ids
        and a.labels == b.labels
        and np.array_equal(a.closure_indptr, b.closure_indptr)
        and np.array_equal(a.closure_indices, b.closure_indices)
        and np.array_equal(a.parents_indices, b.parents_indices)
    )


def carry(old: CellOntology, new: CellOntology) -> Carried:
    """Find every term of ``old`` in ``new``."""
    n = len(old)
    to, how = np.full(n + 1, -1, np.int32), np.zeros(n + 1, np.int8)
    place = {term: i for i, term in enumerate(new.ids)}
    direct = np.array([place.get(term, -1) for term in old.ids], np.int32)
    to[:n] = direct
    gone = np.flatnonzero(direct < 0)
    for i in gone.tolist():
        if (successor := new.replaced.get(old.ids[i])) is not None:
            to[i], how[i] = place[successor], How.REPLACED
    for i in gone[how[gone] == How.SAME].tolist():
        # Ancestors stand from the most informative to the least, as the old release counts it.
        above = to[old.ancestors(i, include_self=False)]
        found = above[above >= 0]
        to[i] = found[0] if len(found) else -1
        how[i] = (How.OBSOLETE if old.ids[i] in new.obsolete else How.LACKING) if len(found) else How.NOWHERE
    return Carried(to, how)


@dataclass(frozen=True, slots=True)
class TermChange:
    """What differs about a term between the two releases.

    Attributes
    ----------
    term
        Its id.
    old_label, new_label
        Its label in each; empty where the release does not have it live.
    how
        What became of it in the new release.
    became
        The id that stands for it there; empty where it is the same or there is none.
    lost, gained
        Ids of ancestors that it had only before, and has only now.
    moved
        Whether a term that both releases have is among them: not only new or retired terms in between.
    """

    term: str
    old_label: str
    new_label: str
    how: How
    became: str
    lost: tuple[str, ...]
    gained: tuple[str, ...]
    moved: bool

    def sentence(self, old: str, new: str) -> str:
        """Return what changed in a line; ``old`` and ``new`` name the releases."""
        said = []
        if not self.old_label:
            said.append(f"not a live term in {old}")
        elif self.how != How.SAME:
            tail = f": {self.became} stands for it" if self.became else ""
            said.append(f"{new} {SAID[self.how]}{tail}")
        elif self.old_label != self.new_label:
            said.append(f"label was {self.old_label!r}")
        if self.lost:
            said.append(f"no longer under {', '.join(self.lost)}")
        if self.gained:
            said.append(f"now also under {', '.join(self.gained)}")
        return "; ".join(said)


def term_changes(used: Iterable[str], old: CellOntology, new: CellOntology, carried: Carried) -> tuple[TermChange, ...]:
    """Return what changed about the ``used`` ids, sorted by id; terms that are the same in both are left out."""
    place_old = {term: i for i, term in enumerate(old.ids)}
    place_new = {term: i for i, term in enumerate(new.ids)}
    found = []
    for term in sorted(set(used)):
        i, k = place_old.get(term, -1), place_new.get(term, -1)
        how = How(int(carried.how[i])) if i >= 0 else How.SAME
        above_old = {old.ids[j] for j in old.ancestors(i).tolist()} if i >= 0 else set()
        above_new = {new.ids[j] for j in new.ancestors(k).tolist()} if k >= 0 else set()
        both = i >= 0 and k >= 0
        lost, gained = (above_old - above_new, above_new - above_old) if both else (set(), set())
        moved = any(t in place_new for t in lost) or any(t in place_old for t in gained)
        change = TermChange(
            term, old.labels[i] if i >= 0 else "", new.labels[k] if k >= 0 else "", how,
            new.ids[carried.to[i]] if i >= 0 and how != How.SAME and carried.to[i] >= 0 else "",
            tuple(sorted(lost)), tuple(sorted(gained)), moved,
        )  # fmt: skip
        if not both or change.old_label != change.new_label or lost or gained:
            found.append(change)
    return tuple(found)
