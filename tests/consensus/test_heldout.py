"""Held-out votes on disk and in part: nothing is lost, and each member keeps its own folds."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy.sparse import csr_matrix

from celljury.errors import UnreadableFileError
from celljury.heldout import HeldOut
from celljury.ontology.load import ontology_from_edges
from celljury.votes import Votes

if TYPE_CHECKING:
    from pathlib import Path

    from celljury.ontology.graph import CellOntology

MEMBERS = ("light", "heavy", "silent")


@pytest.fixture(scope="module")
def toy() -> CellOntology:
    parents: dict[str, list[str]] = {"cell": [], "T": ["cell"], "B": ["cell"], "CD4": ["T"]}
    return ontology_from_edges({name: name for name in parents}, parents, release="toy")


@pytest.fixture(scope="module")
def held(toy: CellOntology) -> HeldOut:
    """Six cells of two donors; the third member abstains, and a signal is not known everywhere."""
    rng = np.random.default_rng(0)
    terms = rng.integers(0, len(toy), (6, 3)).astype(np.int32)
    terms[:, 2] = terms[1, 0] = -1
    mass = np.where((terms >= 0)[..., None], np.eye(len(toy), dtype=np.float32)[np.maximum(terms, 0)], 0)
    strange = rng.normal(0, 1, (6, 3)).astype(np.float32)
    strange[:, 2] = np.nan
    signals = {("residual", "light"): strange[:, 0].copy(), ("crowding", "heavy"): strange[:, 1].copy()}
    signals["residual", "light"][2] = np.nan
    votes = Votes(np.array([f"c{i}" for i in range(6)]), MEMBERS, terms,
                  tuple(csr_matrix(mass[:, j]) for j in range(3)), strange, signals)  # fmt: skip
    codes = [
        np.array(row, np.int32) for row in ([0, 1, 2, 3, 0, 1], [0, 0, 0, 1, 1, 1], [0, 1, 2, 3, 4, 0], [0, 1] * 3)
    ]
    return HeldOut(votes, codes[0], codes[1], ("dönor 1", "d2"), "donor", codes[2], codes[3], ("heavy",),
                   np.array([1, 1, 0, 1, 1, 1], bool), rng.normal(0, 1, (6, 4)).astype(np.float32),
                   rng.normal(3, 1, 6).astype(np.float32))  # fmt: skip


def same(left: HeldOut, right: HeldOut) -> None:
    for field in fields(HeldOut):
        mine, other = getattr(right, field.name), getattr(left, field.name)
        if field.name == "votes":
            same_votes(other, mine)
        elif isinstance(other, np.ndarray):
            assert_array_equal(mine, other, err_msg=field.name)
            assert mine.dtype == other.dtype, field.name
        else:
            assert mine == other, field.name


def same_votes(left: Votes, right: Votes) -> None:
    assert right.members == left.members
    for name in ("cell_ids", "terms", "strange"):
        assert_array_equal(getattr(right, name), getattr(left, name), err_msg=name)
    assert set(right.signals) == set(left.signals)
    for key, values in left.signals.items():
        assert_array_equal(right.signals[key], values, err_msg=str(key))
    assert right.mass is not None
    assert left.mass is not None
    for mine, other in zip(right.mass, left.mass, strict=True):
        assert_array_equal(mine.toarray(), other.toarray())


@pytest.mark.parametrize("changes", [
    pytest.param({}, id="donors"),
    pytest.param({"unit": None, "heavy": ()}, id="cells_of_one_donor"),
    pytest.param({"unit": "batch"}, id="batches"),
])  # fmt: skip
def test_saved_evidence_is_the_same(held: HeldOut, toy: CellOntology, tmp_path: Path, changes: dict[str, Any]) -> None:
    held = replace(held, **changes)
    held.save(tmp_path / "new" / "folder", toy)
    same(held, HeldOut.load(tmp_path / "new" / "folder", toy))
    assert {path.name for path in (tmp_path / "new" / "folder").iterdir()} == {"votes.parquet", "heldout.json"}


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda folder: (folder / "votes.parquet").unlink(), id="votes_gone"),
        pytest.param(lambda folder: (folder / "heldout.json").unlink(), id="facts_gone"),
        pytest.param(lambda folder: (folder / "votes.parquet").write_bytes(b"PAR1"), id="votes_cut_short"),
        pytest.param(lambda folder: (folder / "heldout.json").write_text("{}"), id="facts_empty"),
        pytest.param(lambda folder: (folder / "heldout.json").write_text("{"), id="facts_cut_short"),
    ],
)
def test_damaged_evidence_is_named(held: HeldOut, toy: CellOntology, tmp_path: Path, damage: Any) -> None:
    held.save(tmp_path, toy)
    damage(tmp_path)
    with pytest.raises(UnreadableFileError, match=r"the calibration in .* cannot be read: .*fit it again"):
        HeldOut.load(tmp_path, toy)


def test_evidence_without_its_own_columns_is_named(held: HeldOut, toy: CellOntology, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    held.save(tmp_path, toy)
    pq.write_table(pq.read_table(tmp_path / "votes.parquet").drop_columns("_known"), tmp_path / "votes.parquet")
    with pytest.raises(UnreadableFileError, match="_known"):
        HeldOut.load(tmp_path, toy)


@pytest.mark.parametrize("rows", [
    pytest.param(np.array([4, 0, 2]), id="by_number_in_their_order"),
    pytest.param(np.array([1, 0, 0, 1, 0, 1], bool), id="by_a_mask"),
])  # fmt: skip
def test_some_cells(held: HeldOut, rows: Any) -> None:
    found = held.take(rows)
    chosen = np.arange(6)[rows]
    assert found.n_cells == 3
    assert found.votes.cell_ids.tolist() == [f"c{i}" for i in chosen]
    for name in ("truth", "donor", "fold", "heavy_fold", "known", "points", "log_counts"):
        assert_array_equal(getattr(found, name), getattr(held, name)[chosen])
    assert (found.donors, found.unit, found.heavy) == (held.donors, held.unit, held.heavy)


def test_members_have_folds_by_their_weight(held: HeldOut) -> None:
    assert held.fold_of("heavy") is held.heavy_fold
    assert held.fold_of("light") is held.fold
    assert held.donor_codes() is held.donor
    assert replace(held, unit=None).donor_codes() is None


def test_members_of_a_run_in_its_order(held: HeldOut) -> None:
    found = held.restricted(("heavy", "light"), ())
    assert found.votes.members == ("heavy", "light")
    assert_array_equal(found.votes.terms, held.votes.terms[:, [1, 0]])
    assert_array_equal(found.votes.strange, held.votes.strange[:, [1, 0]])
    assert_array_equal(found.votes.mass[1].toarray(), held.votes.mass[0].toarray())
    assert set(found.votes.signals) == set(held.votes.signals)
    assert set(held.restricted(("light",), ()).votes.signals) == {("residual", "light")}
    same(held.restricted(MEMBERS, ()), held)


def test_absent_members_keep_their_place_and_are_silent(held: HeldOut) -> None:
    found = held.restricted(MEMBERS, ("heavy",)).votes
    assert found.members == MEMBERS
    assert (found.terms[:, 1] == -1).all()
    assert np.isnan(found.strange[:, 1]).all()
    assert not found.mass[1].nnz
    assert set(found.signals) == {("residual", "light")}
    assert_array_equal(found.terms[:, 0], held.votes.terms[:, 0])


def test_other_votes_on_the_same_cells(held: HeldOut) -> None:
    votes = held.votes.without(("light",))
    found = held.with_votes(votes, np.zeros(6, np.float32))
    assert found.votes is votes
    assert not found.log_counts.any()
    same(found.with_votes(held.votes, held.log_counts), held)


def test_facts_can_be_read_by_people(held: HeldOut, toy: CellOntology, tmp_path: Path) -> None:
    held.save(tmp_path, toy)
    text = json.loads((tmp_path / "heldout.json").read_text(encoding="utf-8"))
    assert text == {"donors": ["dönor 1", "d2"], "unit": "donor", "heavy": ["heavy"]}
