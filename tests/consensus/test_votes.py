"""Votes side by side, in parts, without the absent, and to parquet and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from celljury.members.base import MemberVotes
from celljury.ontology.load import ontology_from_edges
from celljury.run import write_part
from celljury.votes import MemberRecord, Votes, name_column, votes_from_table, votes_of_members, votes_to_table

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from celljury.ontology.graph import CellOntology

# In the reducer's order: "T:3", "T:4" and "T:5" (no term below, deeper first), then "T:2", "T:1".
ONTOLOGY = ontology_from_edges(
    {"T:1": "cell", "T:2": "T cell", "T:3": "CD4 T cell", "T:4": "CD8 T cell", "T:5": "B cell"},
    {"T:2": ["T:1"], "T:3": ["T:2"], "T:4": ["T:2"], "T:5": ["T:1"]},
)
CD4, CD8, B, T, CELL = (ONTOLOGY.index(f"T:{i}") for i in (3, 4, 5, 2, 1))


def put_together(
    found: dict[str, tuple[list[list[float]], list[int]]], *, members: tuple[str, ...] = ("a", "b"), n_cells: int = 2
) -> Votes:
    """Return votes from plain lists: per member its probabilities and the terms of its columns."""
    given = {
        name: (MemberVotes(np.array(mass, np.float32), np.arange(n_cells, dtype=np.float32)), np.array(terms, np.int32))
        for name, (mass, terms) in found.items()
    }
    return votes_of_members(np.array([f"c{i}" for i in range(n_cells)]), members, given, n_terms=len(ONTOLOGY))


def test_index_is_as_the_cases_assume() -> None:
    assert ONTOLOGY.ids == ("T:3", "T:4", "T:5", "T:2", "T:1")


def test_columns_of_members_find_their_terms() -> None:
    votes = put_together({"a": ([[0.9, 0.1], [0.2, 0.8]], [B, CD4]), "b": ([[1.0], [1.0]], [T])})
    assert votes.terms.tolist() == [[B, T], [CD4, T]]
    assert votes.mass is not None
    np.testing.assert_allclose(votes.mass[0].toarray()[0, [CD4, B]], [0.1, 0.9], rtol=1e-6)
    assert votes.n_votes.tolist() == [2, 2]


@pytest.mark.parametrize(
    "columns", [pytest.param([T, CD4], id="general_first"), pytest.param([CD4, T], id="specific_first")]
)
def test_of_equal_probabilities_the_more_informative_term_is_voted(columns: list[int]) -> None:
    votes = put_together({"a": ([[0.5, 0.5]], columns)}, members=("a",), n_cells=1)
    assert votes.terms.tolist() == [[CD4]]


def test_noise_in_the_last_bits_does_not_decide_a_vote() -> None:
    votes = put_together({"a": ([[0.49999997, 0.50000003]], [CD4, T])}, members=("a",), n_cells=1)
    assert votes.terms.tolist() == [[CD4]]


def test_empty_row_abstains() -> None:
    votes = put_together({"a": ([[0, 0], [0, 1]], [CD4, T]), "b": ([[1], [1]], [B])})
    assert votes.terms.tolist() == [[-1, B], [T, B]]
    assert votes.n_votes.tolist() == [1, 2]
    assert votes.mass is not None
    assert votes.mass[0].sum(axis=1).ravel().tolist() == [[0.0, 1.0]]


def test_absent_member_keeps_its_column() -> None:
    votes = put_together({"b": ([[1], [1]], [B])})
    assert votes.members == ("a", "b")
    assert votes.terms.tolist() == [[-1, B], [-1, B]]
    assert np.isnan(votes.strange[:, 0]).all()
    assert votes.strange[:, 1].tolist() == [0, 1]


def test_tiny_probabilities_are_dropped_and_the_rest_rescaled() -> None:
    votes = put_together({"a": ([[0.99995, 0.00005]], [CD4, T])}, members=("a",), n_cells=1)
    assert votes.mass is not None
    assert votes.mass[0].nnz == 1
    assert votes.mass[0].sum() == 1.0


def test_probability_at_the_floor_is_kept() -> None:
    votes = put_together({"a": ([[0.9998, 0.0002]], [CD4, T])}, members=("a",), n_cells=1)
    assert votes.mass is not None
    assert votes.mass[0].nnz == 2


@pytest.mark.parametrize("wrong", ["terms", "strange"])
def test_votes_of_another_shape_are_refused(wrong: str) -> None:
    shapes = {"terms": (2, 1), "strange": (2, 1)} | {wrong: (1, 2)}
    with pytest.raises(ValueError, match=r"votes of \(2, 1\) \(cells, members\) got terms"):
        Votes(np.array(["c0", "c1"]), ("a",), np.zeros(shapes["terms"], np.int32), None,
              np.zeros(shapes["strange"], np.float32))  # fmt: skip


def test_record_of_a_member_is_plain_values() -> None:
    record = MemberRecord("a", version="lib 1", absent="it fell over").as_dict()
    assert record == {"name": "a", "version": "lib 1", "settings": {}, "seconds": {}, "cpu_seconds": {},
                      "absent": "it fell over"}  # fmt: skip


def test_rows_cut_all_fields_alike() -> None:
    votes = put_together({"a": ([[1, 0], [0, 1]], [CD4, T]), "b": ([[1], [1]], [B])})
    cut = votes.rows(slice(1, 2))
    assert (cut.cell_ids.tolist(), cut.terms.tolist(), cut.strange.tolist()) == (["c1"], [[T, B]], [[1, 1]])
    assert cut.mass is not None
    assert cut.mass[0].toarray()[0, T] == 1


# Without the absent -----------------------------------------------------------------------------------------------


def test_without_silences_a_member_everywhere() -> None:
    votes = put_together({"a": ([[1, 0], [0, 1]], [CD4, T]), "b": ([[1], [1]], [B])})
    silenced = votes.without(("a",))
    assert silenced.members == ("a", "b")
    assert silenced.terms.tolist() == [[-1, B], [-1, B]]
    assert np.isnan(silenced.strange[:, 0]).all()
    assert silenced.strange[:, 1].tolist() == [0, 1]
    assert silenced.mass is not None
    assert [matrix.nnz for matrix in silenced.mass] == [0, 2]
    assert silenced.terms.dtype == np.int32
    assert silenced.strange.dtype == np.float32
    assert votes.terms[0, 0] == CD4, "the votes it was made from are left as they were"


@pytest.mark.parametrize("absent", [pytest.param((), id="nobody"), pytest.param(("z",), id="somebody_else")])
def test_without_nobody_is_the_same_votes(absent: tuple[str, ...]) -> None:
    votes = put_together({"a": ([[1, 0], [0, 1]], [CD4, T])})
    assert votes.without(absent) is votes


def test_without_works_on_labels_alone() -> None:
    votes = Votes(np.array(["c"]), ("a", "b"), np.array([[CD4, B]], np.int32), None, np.zeros((1, 2), np.float32))
    silenced = votes.without(("b",))
    assert silenced.mass is None
    assert silenced.terms.tolist() == [[CD4, -1]]


# To a table and back ----------------------------------------------------------------------------------------------


@st.composite
def random_votes(draw: st.DrawFn) -> Votes:
    """Draw votes of 0 to 5 cells by 1 to 3 members, with or without probabilities; some abstain, some are absent."""
    n_cells, n_members = draw(st.integers(0, 5)), draw(st.integers(1, 3))
    members = tuple(f"m{j}" for j in range(n_members))
    cell_ids = np.array([f"cell {i}" for i in range(n_cells)], dtype=str)
    if draw(st.booleans()):
        row = st.lists(st.integers(-1, len(ONTOLOGY) - 1), min_size=n_members, max_size=n_members)
        terms = np.array(draw(st.lists(row, min_size=n_cells, max_size=n_cells)), np.int32)
        shape = (n_cells, n_members)
        return Votes(cell_ids, members, terms.reshape(shape), None, np.full(shape, np.nan, np.float32))
    found = {}
    for name in draw(st.sets(st.sampled_from(members))):
        index = draw(st.permutations(range(len(ONTOLOGY))))[: draw(st.integers(1, len(ONTOLOGY)))]
        parts = st.lists(st.integers(0, 1000), min_size=len(index), max_size=len(index))
        mass = np.array(draw(st.lists(parts, min_size=n_cells, max_size=n_cells)), np.float32)
        mass = mass.reshape(n_cells, len(index))
        mass /= np.maximum(mass.sum(axis=1, keepdims=True), 1)
        number = st.floats(-1e6, 1e6, width=32) | st.just(float("nan"))
        strange = np.array(draw(st.lists(number, min_size=n_cells, max_size=n_cells)), np.float32)
        found[name] = (MemberVotes(mass, strange), np.array(index, np.int32))
    return votes_of_members(cell_ids, members, found, n_terms=len(ONTOLOGY))


def equal(left: Votes, right: Votes) -> None:
    assert left.cell_ids.tolist() == right.cell_ids.tolist()
    assert left.members == right.members
    np.testing.assert_array_equal(left.terms, right.terms)
    np.testing.assert_array_equal(left.strange, right.strange)
    assert (left.terms.dtype, left.strange.dtype) == (right.terms.dtype, right.strange.dtype)
    assert (left.mass is None) == (right.mass is None)
    for a, b in zip(left.mass or (), right.mass or (), strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        assert (a != b).nnz == 0


@settings(max_examples=150, deadline=None)
@given(random_votes())
def test_round_trip_is_exact(votes: Votes) -> None:
    equal(votes_from_table(votes_to_table(votes, ONTOLOGY), ONTOLOGY), votes)


@settings(max_examples=50, deadline=None)
@given(random_votes(), st.data())
def test_rows_of_a_table_are_rows_of_the_votes(votes: Votes, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, votes.n_cells))
    table = votes_to_table(votes, ONTOLOGY).slice(start)
    equal(votes_from_table(table, ONTOLOGY), votes.rows(slice(start, None)))


@pytest.mark.parametrize(
    "mass",
    [
        pytest.param([[0.3, 0.7], [0.6, 0.4]], id="probabilities"),
        pytest.param([[0, 0], [0, 0]], id="all_abstained"),
        pytest.param(np.zeros((0, 2)).tolist(), id="no_cells"),
    ],
)
def test_round_trip_through_a_part_file(mass: list[list[float]], tmp_path: Path) -> None:
    array = np.array(mass, np.float32).reshape(-1, 2)
    found: dict[str, Any] = {"a": (array.tolist(), [B, T])} if len(array) else {}
    votes = put_together(found, n_cells=len(array))
    path = tmp_path / "votes" / "part-00000.parquet"
    write_part(votes_to_table(votes, ONTOLOGY), path)
    equal(votes_from_table(pq.read_table(path), ONTOLOGY), votes)


def test_table_holds_ids_so_that_another_index_reads_it() -> None:
    """A release with one more term numbers all terms anew; the votes stay the same terms."""
    votes = put_together({"a": ([[0.3, 0.7], [1, 0]], [B, T])}, members=("a",))
    labels = dict(zip(ONTOLOGY.ids, ONTOLOGY.labels, strict=True)) | {"T:0": "CD4 memory T cell"}
    larger = ontology_from_edges(
        labels, {"T:2": ["T:1"], "T:3": ["T:2"], "T:4": ["T:2"], "T:5": ["T:1"], "T:0": ["T:3"]}
    )
    read = votes_from_table(votes_to_table(votes, ONTOLOGY), larger)
    assert [larger.ids[i] for i in read.terms[:, 0]] == ["T:2", "T:5"]
    assert read.terms[:, 0].tolist() != votes.terms[:, 0].tolist()
    assert read.mass is not None
    assert read.mass[0].shape == (2, len(larger))
    assert read.mass[0].toarray()[0, larger.index("T:5")] == np.float32(0.3)


def test_columns_of_the_table() -> None:
    table = votes_to_table(put_together({"a": ([[1], [1]], [B])}), ONTOLOGY)
    a = ["vote_a", "strange_a", "mass_terms_a", "mass_a"]
    assert table.column_names == ["cell_id", *a, *(name.replace("_a", "_b") for name in a)]
    assert table["vote_a"].to_pylist() == ["T:5", "T:5"]
    assert table["vote_b"].to_pylist() == [None, None]


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        pytest.param([CD4, -1, B, CD4], ["T:3", None, "T:5", "T:3"], id="missing_is_null"),
        pytest.param([-1, -1], [None, None], id="all_missing"),
        pytest.param([], [], id="empty"),
    ],
)
def test_name_column(index: list[int], expected: list[str | None]) -> None:
    array: NDArray[np.int32] = np.array(index, np.int32)
    column = name_column(array, ONTOLOGY.ids)
    assert column.to_pylist() == expected
    assert str(column.type) == "dictionary<values=string, indices=int32, ordered=0>"


def test_real_ontology_round_trip(cl: CellOntology) -> None:
    rng = np.random.default_rng(0)
    index = rng.choice(len(cl), 50, replace=False).astype(np.int32)
    mass = rng.random((40, 50)).astype(np.float32) ** 8
    mass /= mass.sum(axis=1, keepdims=True)
    found = {"a": (MemberVotes(mass, rng.random(40).astype(np.float32)), index)}
    votes = votes_of_members(np.array([f"c{i}" for i in range(40)]), ("a", "b"), found, n_terms=len(cl))
    equal(votes_from_table(votes_to_table(votes, cl), cl), votes)
    assert votes.mass is not None
    assert isinstance(votes.mass[0], csr_matrix)
