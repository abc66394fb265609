"""Cross-fitting: who is held out when, and that no member ever voted on cells that it was trained on.

The spies below remember which signature genes they were trained on. Every donor (where there is one donor: every cell)
has a signature gene of its own, and a spy calls a cell strange if it was trained on its signature.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_matrix

from celljury.config import Config
from celljury.crossfit import (
    Plan,
    as_query_sees,
    block_sample,
    cross_fit,
    fold_tasks,
    gather,
    members_of,
    plan_folds,
    read_cells,
    read_terms,
    rows_of,
    training_part,
    vote_held_out,
)
from celljury.engine import Bench, member_class
from celljury.errors import MemberUnavailableError, UnreadableFileError
from celljury.heldout import HeldOut
from celljury.members.arrays import load_arrays, save_arrays
from celljury.members.base import Block, Member, MemberVotes, Reference
from celljury.members.normalize import gene_shares
from celljury.ontology.load import ontology_from_edges
from celljury.progress import silent
from celljury.space import Space
from celljury.votes import MemberRecord, Votes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from celljury.ontology.graph import CellOntology
TERMS = ("A", "B", "C")
N_TERMS = len(TERMS)


class Spy(Member):
    """Votes for the type whose marker (gene 0, 1, ...) is highest; strange = it was trained on the cell's signature."""

    name = "spy"
    modules = ()
    strangeness = "1 where it was trained on the cell's signature, else 0"
    fits: ClassVar[list[tuple[str, int]]] = []
    fails: ClassVar[Callable[[NDArray[np.bool_]], bool]] = staticmethod(lambda seen: False)

    seen: NDArray[np.bool_]
    n_trained: int

    def _fit(self, reference: Reference) -> None:
        self.seen = np.asarray(reference.cells.counts.sum(axis=0)).ravel() > 0
        self.seen[:N_TERMS] = False
        self.n_trained = reference.cells.n_cells
        self.fits.append((self.name, self.n_trained))
        if type(self).fails(self.seen):
            message = "the spy was caught"
            raise RuntimeError(message)

    def _predict(self, block: Block) -> MemberVotes:
        markers = block.counts[:, [TERMS.index(term) for term in self.terms]].toarray()
        mass = np.eye(len(self.terms), dtype=np.float32)[markers.argmax(axis=1)]
        strange = np.asarray(block.counts @ self.seen.astype(np.float32) > 0, np.float32)
        return MemberVotes(mass, strange, {"residual": strange})

    def _save(self, folder: Path) -> None:
        save_arrays(folder / "spy.npz", seen=self.seen, n_trained=np.array(self.n_trained))

    def _load(self, folder: Path) -> None:
        arrays = load_arrays(folder / "spy.npz")
        self.seen, self.n_trained = arrays["seen"].astype(bool), int(arrays["n_trained"])


class HeavySpy(Spy):
    """The same, trained for fewer folds."""

    name = "heavy_spy"
    heavy = True


@pytest.fixture(autouse=True)
def spies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the spies, and forget what earlier ones did."""
    known = {"spy": Spy, "heavy_spy": HeavySpy}

    def found(name: str) -> type[Member]:
        if name == "gone":
            message = "it cannot be imported"
            raise MemberUnavailableError(message)
        return known.get(name) or member_class(name)

    monkeypatch.setattr("celljury.crossfit.member_class", found)
    monkeypatch.setattr("celljury.engine.member_class", found)
    monkeypatch.setattr(Spy, "fits", [])


@pytest.fixture(scope="module")
def ontology() -> CellOntology:
    parents: dict[str, list[str]] = {"cell": [], **{term: ["cell"] for term in TERMS}}
    return ontology_from_edges({name: name for name in parents}, parents, release="toy")


@dataclass(frozen=True)
class Made:
    """A labelled table: 10 counts of the type's marker, 5 of the signature, and noise."""

    reference: Reference
    cell_ids: NDArray[np.str_]
    donor: NDArray[np.int32]
    donors: tuple[str, ...]

    @classmethod
    def of(cls, label: Any, donor: Any, *, signature: Any = None, n_noise: int = 0) -> Made:
        label, donor = np.asarray(label, np.int32), np.asarray(donor, np.int32)
        signature = donor if signature is None else np.asarray(signature)
        counts = np.zeros((len(label), N_TERMS + int(signature.max()) + 1), np.float32)
        counts[np.arange(len(label)), label] = 10
        counts[np.arange(len(label)), N_TERMS + signature] = 5
        rng = np.random.default_rng(0)
        counts += rng.poisson(1, counts.shape) * (np.arange(counts.shape[1]) < N_TERMS)
        counts = np.hstack([counts, rng.poisson(2, (len(label), n_noise)).astype(np.float32)])
        names = tuple(f"d{i}" for i in range(int(donor.max()) + 1))
        genes = tuple(f"G{i}" for i in range(counts.shape[1]))
        cells = Block(csr_matrix(counts), genes, np.ones(len(genes), bool), donor, names)
        return cls(Reference(cells, label, TERMS), np.array([f"c{i}" for i in range(len(label))]), donor, names)

    def take(self, rows: NDArray[np.int64]) -> Made:
        """Return its cells in another order."""
        cells = self.reference.cells
        moved = Block(csr_matrix(cells.counts[rows]), cells.genes, cells.present, cells.batch[rows], cells.batches)
        reference = Reference(moved, self.reference.label[rows], TERMS)
        return Made(reference, self.cell_ids[rows], self.donor[rows], self.donors)

    def plan(self, *, by_batch: bool = False, **calibration: Any) -> Plan:
        return plan_folds(
            self.reference, self.cell_ids, donor=None if by_batch else self.donor, donors=() if by_batch else self.donors,
            config=settings(**calibration),
        )  # fmt: skip


def settings(*members: str, **calibration: Any) -> Config:
    calibration = {"folds": 3, "heavy_folds": 2} | calibration
    return Config(members=members or ("spy", "heavy_spy"), engine="local", calibration=calibration)


def donors(n: int = 7, *, per_type: int = 4, n_noise: int = 0) -> Made:
    """Return donors with cells of every type; the later ones have more."""
    pairs = [(t, d) for d in range(n) for t in range(N_TERMS) for _ in range(per_type + d)]
    return Made.of([t for t, _ in pairs], [d for _, d in pairs], n_noise=n_noise)


def records(*names: str, absent: tuple[str, ...] = ()) -> dict[str, MemberRecord]:
    return {name: MemberRecord(name, absent="why not" if name in absent else None) for name in (*names, *absent)}


def fitted(made: Made, plan: Plan, home: Path, *members: str, **calibration: Any) -> None:
    config = settings(*members, **calibration)
    with Bench("local", home.parent / "scratch", threads=1) as bench:
        cross_fit(made.reference, plan, records(*config.member_names), home, bench, config, silent)


def voted(made: Made, plan: Plan, home: Path, ontology: CellOntology, *members: str) -> Votes:
    config = settings(*members)
    with Bench("local", home.parent / "scratch", threads=1) as bench:
        return vote_held_out(
            home, read_cells(home), plan, records(*config.member_names), bench, config, silent,
            cell_ids=made.cell_ids[plan.rows], ontology=ontology,
        )  # fmt: skip


# The plan -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("folds", "heavy_folds"), [(3, 2), (5, 2), (5, 3), (2, 2), (9, 4), (2, 3)])
def test_folds_hold_whole_donors_and_heavy_folds_whole_folds(folds: int, heavy_folds: int) -> None:
    made = donors()
    plan = made.plan(folds=folds, heavy_folds=heavy_folds)
    for inner, outer in ((made.donor, plan.fold), (plan.fold, plan.heavy_fold)):
        pairs = np.unique(np.stack([inner, outer]), axis=1)
        assert len(np.unique(pairs[0])) == pairs.shape[1], "an inner group lies in two outer ones"
    assert len(np.unique(plan.fold)) == min(folds, 7)
    assert len(np.unique(plan.heavy_fold)) == min(folds, heavy_folds)
    assert plan.unit == "donor"
    assert_array_equal(plan.rows, np.arange(len(made.cell_ids)))


def test_batches_stand_in_for_donors() -> None:
    made = donors()
    plan, by_batch = made.plan(), made.plan(by_batch=True)
    assert by_batch.unit == "batch"
    assert by_batch.donors == made.donors
    assert_array_equal(by_batch.fold, plan.fold)


def test_cells_of_a_single_donor_are_held_out_at_random() -> None:
    made = Made.of(np.arange(60) % 3, np.zeros(60))
    plan = made.plan(folds=4)
    assert plan.unit is None
    assert_array_equal(np.bincount(plan.fold), [15] * 4)
    assert all(np.ptp(np.bincount(plan.fold[made.reference.label == t], minlength=4)) <= 1 for t in range(3))


@pytest.mark.parametrize("unit", ["donors", "cells"])
def test_plan_does_not_depend_on_the_order_of_cells(unit: str) -> None:
    made = donors() if unit == "donors" else Made.of(np.arange(60) % 3, np.zeros(60))
    order = np.random.default_rng(1).permutation(len(made.cell_ids))
    plan, again = made.plan(max_cells=50), made.take(order).plan(max_cells=50)
    assert_array_equal(again.fold, plan.fold[order])
    assert set(made.cell_ids[order][again.rows]) == set(made.cell_ids[plan.rows])


def test_held_out_cells_are_shared_out_over_donors() -> None:
    made = donors(per_type=20)
    plan = made.plan(max_cells=70)
    assert_array_equal(np.bincount(made.donor[plan.rows]), [10] * 7)
    assert (np.diff(plan.rows) > 0).all()


def test_one_heavy_fold_is_judged_by_the_other_half() -> None:
    made = donors()
    plan = made.plan(heavy_folds=1)
    assert set(plan.heavy_fold[plan.rows]) == {1}
    assert set(plan.heavy_fold) == {0, 1}
    assert fold_tasks(plan, (), ("heavy_spy",)) == [(("heavy_spy",), {"heavy": 1})]


def test_rounds_of_work() -> None:
    plan = donors().plan(folds=3, heavy_folds=2)
    assert fold_tasks(plan, ("a", "b"), ("h",)) == [
        (("a", "b", "h"), {"light": 0, "heavy": 0}),
        (("a", "b", "h"), {"light": 1, "heavy": 1}),
        (("a", "b"), {"light": 2}),
    ]
    assert fold_tasks(plan, (), ()) == []


def test_members_that_take_part() -> None:
    asked = records("spy", "heavy_spy", "gone", absent=("logistic",))
    assert members_of(asked) == (("spy",), ("heavy_spy",))


def test_saved_plan_is_the_same(tmp_path: Path) -> None:
    for plan in (donors().plan(), Made.of(np.arange(12) % 3, np.zeros(12)).plan()):
        plan.save(tmp_path / "plan.npz")
        again = Plan.load(tmp_path / "plan.npz")
        for name in ("rows", "fold", "heavy_fold", "donor"):
            assert_array_equal(getattr(again, name), getattr(plan, name))
        assert (again.donors, again.unit) == (plan.donors, plan.unit)


def no_votes(cell_ids: NDArray[np.str_]) -> Votes:
    n = len(cell_ids)
    return Votes(cell_ids, ("spy",), np.full((n, 1), -1, np.int32), None, np.full((n, 1), np.nan, np.float32))


def space_of(made: Made) -> Space:
    return Space.fit(made.reference, share=gene_shares(made.reference.cells.counts), seed=0)


# Nobody votes on what it was trained on -----------------------------------------------------------------------------


@pytest.mark.parametrize("unit", ["donors", "cells_of_one_donor"])
def test_no_member_saw_the_cells_that_it_votes_on(unit: str, ontology: CellOntology, tmp_path: Path) -> None:
    made = donors() if unit == "donors" else Made.of(np.arange(60) % 3, np.zeros(60), signature=np.arange(60))
    whole = Spy().fit(made.reference).predict(made.reference.cells)
    assert whole.strange.min() == 1, "a spy that was trained on these cells knows them"
    plan = made.plan()
    fitted(made, plan, tmp_path / "home")
    votes = voted(made, plan, tmp_path / "home", ontology)
    assert votes.members == ("spy", "heavy_spy")
    assert (votes.strange == 0).all()
    assert (votes.signals["residual", "spy"] == 0).all()
    assert (votes.signals["residual", "heavy_spy"] == 0).all()
    truth = ontology.indices(TERMS)[made.reference.label]
    assert_array_equal(votes.terms, np.stack([truth, truth], axis=1))
    assert_array_equal(votes.cell_ids, made.cell_ids)


def test_every_fold_is_trained_on_all_others(tmp_path: Path) -> None:
    made = donors()
    plan = made.plan(max_cells=50)  # the cells that are not voted on are trained on all the same
    fitted(made, plan, tmp_path / "home", max_cells=50)
    for name, codes in (("spy", plan.fold), ("heavy_spy", plan.heavy_fold)):
        for fold in np.unique(codes):
            spy = {"spy": Spy, "heavy_spy": HeavySpy}[name].load(tmp_path / "home" / "folds" / str(fold) / name)
            assert spy.n_trained == (codes != fold).sum()
            assert_array_equal(np.flatnonzero(spy.seen[N_TERMS:]), np.unique(made.donor[codes != fold]))
    assert len(Spy.fits) == 3 + 2
    assert [path.name for path in (tmp_path / "home").iterdir() if path.name.startswith("scratch")] == []


def test_what_was_trained_is_not_trained_again(ontology: CellOntology, tmp_path: Path) -> None:
    made, home = donors(), tmp_path / "home"
    plan = made.plan()
    fitted(made, plan, home)
    before = voted(made, plan, home, ontology)
    stamps = {path: path.stat().st_mtime_ns for path in home.glob("folds/*/*/*")}
    (home / "folds" / "1" / "spy" / "fitted.json").unlink()
    Spy.fits.clear()
    fitted(made, plan, home)
    assert Spy.fits == [("spy", int((plan.fold != 1).sum()))]
    again = {path for path, stamp in stamps.items() if path.stat().st_mtime_ns != stamp}
    assert {path.parent for path in again} == {home / "folds" / "1" / "spy"}
    after = voted(made, plan, home, ontology)
    assert_array_equal(after.terms, before.terms)


def test_member_that_fails_in_a_fold_abstains_there(
    ontology: CellOntology, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made, home = donors(), tmp_path / "home"
    plan = made.plan()
    # It fails where it is trained without donor 0.
    monkeypatch.setattr(Spy, "fails", staticmethod(lambda seen: not seen[N_TERMS]))
    monkeypatch.setattr(HeavySpy, "fails", staticmethod(lambda seen: False))
    with caplog.at_level(logging.WARNING, logger="celljury.crossfit"):
        fitted(made, plan, home)
    assert "member spy failed without fold" in caplog.text
    assert "the spy was caught" in caplog.text
    votes = voted(made, plan, home, ontology)
    lost = plan.fold == plan.fold[made.donor == 0][0]
    assert_array_equal(votes.terms[:, 0] < 0, lost)
    assert_array_equal(np.isnan(votes.strange[:, 0]), lost)
    assert_array_equal(np.isnan(votes.signals["residual", "spy"]), lost)
    assert not votes.mass[0][lost].nnz
    assert (votes.terms[:, 1] >= 0).all()
    # Once the cause is mended a resumed fit trains it, and nothing else.
    monkeypatch.setattr(Spy, "fails", staticmethod(lambda seen: False))
    Spy.fits.clear()
    fitted(made, plan, home)
    assert len(Spy.fits) == 1
    assert (voted(made, plan, home, ontology).terms >= 0).all()


def test_types_of_one_donor_are_not_known(ontology: CellOntology) -> None:
    """Type C only in donor 0, type B only in donors of one heavy fold: the heavy member cannot know it there."""
    made = donors()
    plan = made.plan(folds=4)
    label = made.reference.label.copy()
    label[(label == 2) & (made.donor != 0)] = 0
    first = plan.heavy_fold == 1
    label[(label == 1) & ~first] = 0
    reference = replace(made.reference, label=label)
    votes = no_votes(made.cell_ids)
    held = gather(votes, reference, plan, records("spy", "heavy_spy"), space=space_of(made), ontology=ontology)
    assert_array_equal(held.known, label == 0)
    # With donors of both heavy folds it is known.
    held = gather(votes, made.reference, plan, records("spy"), space=space_of(made), ontology=ontology)
    assert held.known.all()


def test_gathered_evidence(ontology: CellOntology, tmp_path: Path) -> None:
    made, home = donors(), tmp_path / "home"
    plan = made.plan(max_cells=50)
    fitted(made, plan, home, max_cells=50)
    votes = voted(made, plan, home, ontology)
    held = gather(votes, made.reference, plan, records("spy", "heavy_spy"), space=space_of(made), ontology=ontology)
    assert isinstance(held, HeldOut)
    assert_array_equal(held.truth, ontology.indices(TERMS)[made.reference.label[plan.rows]])
    assert [held.donors[i] for i in held.donor] == [made.donors[i] for i in made.donor[plan.rows]]
    assert (held.unit, held.heavy) == ("donor", ("heavy_spy",))
    assert_array_equal(held.fold_of("heavy_spy"), plan.heavy_fold[plan.rows])
    assert_array_equal(held.fold_of("spy"), plan.fold[plan.rows])
    counts = np.asarray(made.reference.cells.counts.sum(axis=1)).ravel()[plan.rows]
    assert_allclose(held.log_counts, np.log10(1 + counts), rtol=1e-6)
    assert held.points.dtype == np.float32


def test_donors_that_are_left_out_of_the_vote_are_not_named(ontology: CellOntology) -> None:
    made = donors()
    plan = made.plan(heavy_folds=1)
    votes = no_votes(made.cell_ids[plan.rows])
    held = gather(votes, made.reference, plan, records("spy"), space=space_of(made), ontology=ontology)
    kept = np.unique(made.donor[plan.rows])
    assert held.donors == tuple(made.donors[i] for i in kept)
    assert len(kept) < 7
    assert_array_equal(kept[held.donor], made.donor[plan.rows])


def test_fold_that_leaves_one_type_trains_nobody(ontology: CellOntology, tmp_path: Path) -> None:
    """Two donors, one type each, as where a batch is a sorted population: nobody can be trained, all abstain."""
    made = Made.of([0] * 10 + [1] * 10, [0] * 10 + [1] * 10)
    plan = made.plan()
    fitted(made, plan, tmp_path / "home")
    assert Spy.fits == []
    votes = voted(made, plan, tmp_path / "home", ontology)
    assert (votes.terms == -1).all()
    held = gather(votes, made.reference, plan, records("spy", "heavy_spy"), space=space_of(made), ontology=ontology)
    assert not held.known.any()


def in_order_of(
    made: Made, order: NDArray[np.int64], members: tuple[str, ...], ontology: CellOntology, to: Path
) -> tuple[HeldOut, HeldOut]:
    """Return the evidence of a reference and of the same cells in another order, both in that order."""
    found = []
    for name, one in (("straight", made), ("shuffled", made.take(order))):
        plan = one.plan()
        fitted(one, plan, to / name / "home", *members)
        votes = voted(one, plan, to / name / "home", ontology, *members)
        found.append(gather(votes, one.reference, plan, records(*members), space=space_of(one), ontology=ontology))
    return found[0].take(order), found[1]


def test_order_of_reference_cells_changes_no_bit_of_the_evidence(ontology: CellOntology, tmp_path: Path) -> None:
    made = donors(5, per_type=6)
    order = np.random.default_rng(2).permutation(len(made.cell_ids))
    left, right = in_order_of(made, order, ("spy", "heavy_spy"), ontology, tmp_path)
    for name in ("truth", "donor", "fold", "heavy_fold", "known", "log_counts"):
        assert_array_equal(getattr(right, name), getattr(left, name), err_msg=name)
    assert (right.donors, right.unit, right.heavy) == (left.donors, left.unit, left.heavy)
    for name in ("cell_ids", "terms", "strange"):
        assert_array_equal(getattr(right.votes, name), getattr(left.votes, name), err_msg=name)
    for mine, other in zip(right.votes.mass, left.votes.mass, strict=True):
        assert_array_equal(mine.toarray(), other.toarray())


def test_order_of_reference_cells_changes_a_real_member_as_little_as_its_solver(
    ontology: CellOntology, tmp_path: Path
) -> None:
    """Logistic regression in float32 stops a little elsewhere; no clear vote turns on it."""
    made = donors(5, per_type=6, n_noise=150)
    order = np.random.default_rng(2).permutation(len(made.cell_ids))
    left, right = (held.votes for held in in_order_of(made, order, ("logistic",), ontology, tmp_path))
    difference = np.abs(right.mass[0].toarray() - left.mass[0].toarray()).max(axis=1)
    assert np.median(difference) < 0.005
    clear = np.sort(left.mass[0].toarray(), axis=1)[:, -1] > 0.7
    assert clear.mean() > 0.5
    assert_array_equal(right.terms[clear], left.terms[clear])


# Parts and views ----------------------------------------------------------------------------------------------------


def test_training_part_forgets_types_that_are_left_out() -> None:
    made = donors()
    part = training_part(made.reference, (made.reference.label != 1) & (made.donor < 3))
    assert part is not None
    assert part.terms == ("A", "C")
    assert part.cells.batches == made.donors[:3]
    assert set(part.label) == {0, 1}
    assert training_part(made.reference, made.reference.label == 1) is None


def test_cells_as_the_query_sees_them() -> None:
    rng = np.random.default_rng(3)
    counts = csr_matrix(rng.poisson(20, (200, 4)).astype(np.float32))
    block = Block(counts, tuple("wxyz"), np.array([1, 1, 1, 0], bool), np.zeros(200, np.int32), ("b",))
    present = np.array([1, 0, 1, 1], bool)
    same = as_query_sees(block, present=present, keep=1, seed=0)
    assert_array_equal(same.present, [True, False, True, False])
    assert_array_equal(same.counts.toarray(), counts.toarray() * present)
    thin = as_query_sees(block, present=present, keep=0.25, seed=0)
    dense = thin.counts.toarray()
    assert (dense == np.rint(dense)).all()
    assert (dense <= same.counts.toarray()).all()
    assert dense.sum() / same.counts.sum() == pytest.approx(0.25, abs=0.01)
    assert_array_equal(as_query_sees(block, present=present, keep=0.25, seed=0).counts.toarray(), dense)
    assert as_query_sees(block, present=present, keep=0.25, seed=1).counts.sum() != dense.sum()
    assert counts.sum() == block.counts.sum(), "the cells themselves are left as they were"


def test_sample_of_a_block_does_not_depend_on_its_order() -> None:
    made = donors()
    cells = rows_of(made.reference.cells, np.flatnonzero(made.donor > 1))
    assert cells.batches == made.donors[2:]
    names = made.cell_ids[made.donor > 1]
    order = np.random.default_rng(4).permutation(len(names))
    one, other = (
        block_sample(rows_of(cells, rows), names[rows], per_batch=3) for rows in (np.arange(len(names)), order)
    )
    assert_array_equal(one.counts.toarray(), other.counts.toarray())
    assert_array_equal(np.bincount(one.batch), [3] * 5)


def test_damaged_evidence_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFileError, match="The jury is damaged; fit it again"):
        read_terms(tmp_path)
    (tmp_path / "cells").mkdir()
    (tmp_path / "cells" / "block.json").write_text("{", encoding="utf-8")
    with pytest.raises(UnreadableFileError, match=str(tmp_path)):
        read_terms(tmp_path)
