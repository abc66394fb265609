"""Calibrated calls replayed: the jury's held-out cells teach the same decision again, for any mixture of two runs.

A run keeps its members' probabilities, not their pool. The pool, the thresholds and the node of an unseen cell follow
from those and from the jury's held-out cells, by the same functions that made the run. What a run computed from counts
(held-out cells matched to a shallow query) cannot be had again without the query: then there is no replay.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_matrix, vstack

from celljury.compare.causes import NOTHING, Cause
from celljury.compare.inputs import Votes4
from celljury.decide import learn_decision
from celljury.heldout import HeldOut
from celljury.jury import Jury
from celljury.ontology.patterns import distinct_rows
from celljury.origin import jury_folder
from celljury.pool import as_terms, mass_below, pool_mass
from celljury.votes import Votes, votes_from_table
from celljury.walk import climb

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from celljury.compare.inputs import Both
    from celljury.compare.sides import Side
    from celljury.decide import Decision
    from celljury.run import Run

    Ints = NDArray[np.int32]
    Bools = NDArray[np.bool_]
    Rows = NDArray[np.int64]

_OF_THRESHOLD = ("alpha", "tier", "loss", "strata")
POOLED = 20_000
"""Cells pooled at once: bounds memory at tens of MB a member."""


def why_not(both: Both) -> str:
    """Return why calibrated calls of two runs cannot be replayed; empty where they can."""
    if both.other_ontology:
        return "the runs use different ontologies"
    for side in (both.a, both.b):
        if not _on_mass(side):
            continue
        name = side.run.folder
        if not any(side.run.folder.glob("votes/part-*.parquet")):
            return f"{name} has no votes/ any more"
        calibration = side.run.record.get("calibration")
        if not calibration:
            continue
        if (calibration.get("matching") or {}).get("matched"):
            return f"the held-out cells of {name} were matched to its query"
        if jury_folder(side.run) is None:
            return f"the jury of {name} is not there, or was fitted anew since"
        if not Jury.load(_folder(side)).evidence:
            return f"the jury of {name} has no held-out votes any more"
    return ""


def _on_mass(side: Side) -> bool:
    return side.rule == "calibrated" or side.config.reduce.on == "mass"


def _folder(side: Side) -> Any:
    folder = jury_folder(side.run)
    assert folder is not None
    return folder


@dataclass(frozen=True)
class Decisions:
    """The decisions of two runs and of mixtures of them, each learned once."""

    both: Both
    made: dict[tuple[bool, ...], Decision] = field(default_factory=dict)

    @cached_property
    def _juries(self) -> dict[bool, tuple[Jury, HeldOut]]:
        found = {}
        for later, side in ((False, self.both.a), (True, self.both.b)):
            if side.run.record.get("calibration") and jury_folder(side.run) is not None:
                jury = Jury.load(_folder(side))
                if jury.evidence is not None:
                    found[later] = (jury, HeldOut.load(jury.evidence, side.ontology))
        return found

    @cached_property
    def _votes(self) -> Votes4:
        return Votes4.of(self.both, self.both.pairs.a, self.both.pairs.b)

    def calibrated(self, *, later: bool) -> bool:
        """Return whether a run's jury gives held-out evidence."""
        return later in self._juries

    def jury(self, *, later: bool) -> Jury:
        """Return a run's jury."""
        return self._juries[later][0]

    @cached_property
    def _a_knows_all(self) -> bool:
        present = self.both.present(self.both.b)
        return {name for name, here in zip(self.both.members, present, strict=True) if here} <= set(self.both.a.members)

    def of_later(self, taken: Cause) -> bool:
        """Return whether a state rests on the held-out cells of B's jury: a member new in B brings them along."""
        return bool(taken & Cause.EVIDENCE) or (bool(taken & Cause.MEMBERS) and not self._a_knows_all)

    def of(self, taken: Cause) -> Decision:
        """Return the decision when some parts are B's."""
        parts = (bool(taken & cause) for cause in (Cause.MEMBERS, Cause.VOTES, Cause.THRESHOLD))
        sides = (self.of_later(taken), *parts)
        if sides not in self.made:
            self.made[sides] = self._learn(taken)
        return self.made[sides]

    def _learn(self, taken: Cause) -> Decision:
        both = self.both
        later = self.of_later(taken)
        jury, held = self._juries[later]
        side, other = (both.b if later else both.a), (both.b if taken & Cause.THRESHOLD else both.a)
        present = both.present(both.b if taken & Cause.MEMBERS else both.a)
        absent = tuple(name for name in side.members if not present[both.members.index(name)])
        limits = other.config.calibration.model_dump(include=set(_OF_THRESHOLD))
        patterns, n_cells = self._patterns(taken, side)
        return learn_decision(
            held.restricted(side.members, absent), side.ontology, side.config.calibration.model_copy(update=limits),
            terms=side.ontology.indices([row["term"] for row in jury.about["terms"]]), patterns=patterns, n_cells=n_cells,
        )  # fmt: skip

    def _patterns(self, taken: Cause, side: Side) -> tuple[Ints, NDArray[np.int64]]:
        """Return the distinct votes of a state and cells with each: common cells, and those that only its run has."""
        both = self.both
        columns = [both.members.index(name) for name in side.members]
        own, rows = (both.b, both.pairs.only_b) if taken & Cause.VOTES else (both.a, both.pairs.only_a)
        present = both.present(both.b if taken & Cause.MEMBERS else both.a)
        lone = np.full((len(rows), len(both.members)), -1, np.int32)
        for j, name in enumerate(own.members):
            if present[at := both.members.index(name)] and name not in own.absent:
                lone[:, at] = own.calls.votes[rows, j]
        every = np.concatenate([self._votes.at(taken)[:, columns], lone[:, columns]])
        first, which = distinct_rows(every)
        found, inverse = np.unique(every[first], axis=0, return_inverse=True)
        n = np.bincount(inverse.ravel(), weights=np.bincount(which, minlength=len(first)), minlength=len(found))
        return found.astype(np.int32), np.rint(n).astype(np.int64)


@dataclass(frozen=True)
class Pooling:
    """Members' probabilities of some common cells in both runs, and what is made of them.

    Attributes
    ----------
    decisions
        Of the two runs.
    a, b
        Their votes in each run, rows in the same order.
    points_a, points_b
        Their coordinates, float32 (n, n_dims).
    """

    decisions: Decisions
    a: Votes
    b: Votes
    points_a: NDArray[np.float32]
    points_b: NDArray[np.float32]

    @classmethod
    def read(cls, decisions: Decisions, rows_a: Rows, rows_b: Rows) -> Pooling:
        """Read the votes of some cells from the parts of both runs."""
        both = decisions.both
        a, points_a = _read(both.a, rows_a, both.members, both.present(both.a))
        b, points_b = _read(both.b, rows_b, both.members, both.present(both.b))
        return cls(decisions, a, b, points_a, points_b)

    def voted_otherwise(self, taken: Cause, then: Cause) -> Bools:
        """Return whose term or probabilities differ between two states, bool (n, n_members)."""
        own, other = self._at(taken), self._at(then)
        found = own.terms != other.terms
        if own.mass is not None and other.mass is not None:
            for j, (x, y) in enumerate(zip(own.mass, other.mass, strict=True)):
                if x is not y:
                    difference = abs(x - y)
                    found[:, j] |= np.asarray(difference.sum(axis=1)).ravel() > 0
        return np.asarray(found, bool)

    def mass(
        self, taken: Cause, rows: Rows, *, swapped: int | None = None, then: Cause = NOTHING
    ) -> tuple[csr_matrix | None, NDArray[np.float64] | None]:
        """Return the pooled mass of some cells in a state and the support that each needs; None where there is none."""
        votes = self._at(taken)
        if swapped is not None:
            votes = _with_member(votes, self._at(then), swapped)
        votes = votes.rows(rows)
        later = self.decisions.of_later(taken)
        if votes.mass is None:
            return None, None
        if not self.decisions.calibrated(later=later):
            return pool_mass(votes), None
        decision = self.decisions.of(taken)
        both = self.decisions.both
        votes = _of_members(votes, tuple(both.members.index(name) for name in (both.b if later else both.a).members))
        parts, thresholds = [], []
        for start in range(0, votes.n_cells, POOLED):
            found = decision.pool(votes.rows(slice(start, start + POOLED)))
            parts.append(as_terms(found.mass, decision.columns, n_terms=len(both.a.ontology)))
            thresholds.append(decision.threshold(found.top))
        if not parts:
            return csr_matrix((0, len(both.a.ontology)), dtype=np.float32), np.zeros(0)
        return csr_matrix(vstack(parts, format="csr")), np.concatenate(thresholds)

    def node(
        self, rows: Rows, unseen: Bools, mass: Any, threshold: Any, *, general: Bools, later: bool
    ) -> tuple[Ints, NDArray[np.float32]]:
        """Return where unseen cells belong in a state, int32 (n,), -1 = nowhere, and the mass at or below it."""
        both = self.decisions.both
        node = np.full(len(rows), -1, np.int32)
        points = (self.points_b if later else self.points_a)[rows[unseen]]
        if threshold is None or not self.decisions.calibrated(later=later) or not points.shape[1]:
            return node, np.zeros(len(rows), np.float32)
        ontology = both.a.ontology
        walked = climb(mass[unseen], ontology, threshold=threshold[unseen])
        tree = self.decisions.jury(later=later).references.tree
        node[unseen] = tree.name(points, walked.end, walked.top, ontology, general=general)
        support = np.clip(np.round(mass_below(mass, node, ontology), 6), 0, 1).astype(np.float32)
        return node, support

    def _at(self, taken: Cause) -> Votes:
        if taken & Cause.VOTES:
            return self.b
        if not taken & Cause.MEMBERS:
            return self.a
        both = self.decisions.both
        present_a, present_b = both.present(both.a), both.present(both.b)
        found = self.a.without([name for name, here in zip(both.members, present_b, strict=True) if not here])
        for j in np.flatnonzero(present_b & ~present_a).tolist():
            found = _with_member(found, self.b, j)
        return found


def _with_member(votes: Votes, other: Votes, j: int) -> Votes:
    """Return votes with those of one member taken from others on the same cells."""
    terms = votes.terms.copy()
    terms[:, j] = other.terms[:, j]
    mass = votes.mass
    if mass is not None and other.mass is not None:
        mass = tuple(other.mass[k] if k == j else own for k, own in enumerate(mass))
    return Votes(votes.cell_ids, votes.members, terms, mass, votes.strange)


def _of_members(votes: Votes, columns: tuple[int, ...]) -> Votes:
    wanted = list(columns)
    mass = None if votes.mass is None else tuple(votes.mass[j] for j in wanted)
    return Votes(
        votes.cell_ids, tuple(votes.members[j] for j in wanted), votes.terms[:, wanted], mass, votes.strange[:, wanted]
    )


def _read(side: Side, rows: Rows, members: tuple[str, ...], present: Bools) -> tuple[Votes, NDArray[np.float32]]:
    """Return the votes and coordinates of some rows of a run, over all members of both runs."""
    order = np.argsort(rows, kind="stable")
    wanted, found, points, start = rows[order], [], [], 0
    for table in _parts(side.run, wanted):
        if isinstance(table, int):
            start += table
            continue
        low, high = np.searchsorted(wanted, [start, start + len(table)])
        here = wanted[low:high] - start
        votes = votes_from_table(table, side.ontology).without(tuple(side.absent))
        found.append(_over(votes.rows(here), members, present, n_terms=len(side.ontology)))
        if "_space" in table.column_names:
            values = table["_space"].combine_chunks().values.to_numpy().reshape(len(table), -1)
            points.append(values[here].astype(np.float32))
        start += len(table)
    back = np.empty(len(order), np.int64)
    back[order] = np.arange(len(order))
    mass = None
    if found and all(part.mass is not None for part in found):
        mass = tuple(
            csr_matrix(vstack([part.mass[j] for part in found if part.mass is not None], format="csr"))
            for j in range(len(members))
        )
    votes = Votes(
        np.concatenate([part.cell_ids for part in found]), members, np.concatenate([part.terms for part in found]), mass,
        np.concatenate([part.strange for part in found]),
    )  # fmt: skip
    places = np.concatenate(points) if points else np.zeros((len(rows), 0), np.float32)
    return votes.rows(back), places[back]


def _parts(run: Run, wanted: Rows) -> Any:
    """Yield the parts that hold some rows, and of the others only how many cells they have."""
    import pyarrow.parquet as pq

    start = 0
    for path in sorted((run.folder / "votes").glob("part-*.parquet")):
        n = pq.ParquetFile(path).metadata.num_rows
        low, high = np.searchsorted(wanted, [start, start + n])
        yield pq.read_table(path) if high > low else n
        start += n


def _over(votes: Votes, members: tuple[str, ...], present: Bools, *, n_terms: int) -> Votes:
    """Return votes over all members of both runs; those that this run lacks are silent."""
    n = votes.n_cells
    terms = np.full((n, len(members)), -1, np.int32)
    strange = np.full((n, len(members)), np.nan, np.float32)
    mass = [csr_matrix((n, n_terms), dtype=np.float32) for _ in members]
    for j, name in enumerate(votes.members):
        at = members.index(name)
        if present[at]:
            terms[:, at], strange[:, at] = votes.terms[:, j], votes.strange[:, j]
            if votes.mass is not None:
                mass[at] = votes.mass[j]
    return Votes(votes.cell_ids, members, terms, None if votes.mass is None else tuple(mass), strange)
