"""The review queue: every cell that needs a look in one item, items named by their evidence, the most useful first."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from celljury.calls import make_calls
from celljury.config import ReduceSettings
from celljury.ontology.load import ontology_from_edges
from celljury.reasons import Background, Reason, find_reasons
from celljury.reduce import Status
from celljury.review.queue import Queue, build_queue
from celljury.run import Run, append_columns, part_name, write_part
from celljury.signs import Signs
from celljury.votes import Votes

if TYPE_CHECKING:
    from celljury.ontology.graph import CellOntology

AXES = {"T:7": "memory T cell", "T:8": "memory CD4 T cell"}
LABELS = {
    "T:1": "cell",
    "T:2": "T cell",
    "T:3": "CD4 T cell",
    "T:4": "CD8 T cell",
    "T:5": "B cell",
    "T:6": "naive CD4 T cell",
}
PARENTS = {"T:2": ["T:1"], "T:3": ["T:2"], "T:4": ["T:2"], "T:5": ["T:1"], "T:6": ["T:3"]}
ONTOLOGY = ontology_from_edges(LABELS, PARENTS)
HEADER = [
    "item_id", "n_cells", "gain", "samples", "term", "label", "status", "depth", "agreement", "reasons", "sentence",
    "votes", "candidates", "markers", "example_cells", "family", "evidence",
]  # fmt: skip
CELL, T, CD4, CD8, B, NAIVE, NONE = *LABELS, ""


def write_run(
    folder: Path,
    rows: list[tuple[str, ...]],
    *,
    members: tuple[str, ...] = ("a", "b", "c"),
    names: list[str] | None = None,
    clusters: list[int] | None = None,
    batches: list[int] | None = None,
    mass: list[list[dict[str, float]]] | None = None,
    block: int = 1000,
    ontology: CellOntology = ONTOLOGY,
    absent: dict[str, str] | None = None,
    broad: list[bool] | None = None,
    signs: dict[str, list[Any]] | None = None,
    background: Background | None = None,
    **settings: Any,
) -> tuple[Run, Background]:
    """Write the parts of a run from votes given as ids, and return it with its background.

    Signs, where given, stand in the parts as `Signs.columns` names them.
    """
    n = len(rows)
    terms = np.array([[ontology.index(i) if i else -1 for i in row] for row in rows], np.int32).reshape(n, len(members))
    matrices = None
    if mass is not None:
        dense = np.zeros((len(members), n, len(ontology)), np.float32)
        for i, cell in enumerate(mass):
            for j, shares in enumerate(cell):
                for term_id, share in shares.items():
                    dense[j, i, ontology.index(term_id)] = share
        matrices = tuple(csr_matrix(member) for member in dense)
    cells = np.array(names or [f"cell{i:03d}" for i in range(n)], dtype=str)
    votes = Votes(cells, members, terms, matrices, np.full(terms.shape, np.nan, np.float32))
    background = background or Background(members, absent or {})
    general = np.zeros(len(ontology), bool)
    general[ontology.index(CELL)] = True
    marks = np.array(broad or [False] * n)
    place = pa.table(
        {"_batch": pa.array(batches or [0] * n, pa.int32()), "_cluster": pa.array(clusters or [0] * n, pa.int32())}
    )
    for i, start in enumerate(range(0, max(n, 1), block)):
        cut = slice(start, start + block)
        calls = make_calls(
            votes.rows(cut), ontology, settings=ReduceSettings(**settings), too_general=general, background=background,
            max_conflict=0.25, broad=marks[cut], obsolete=np.zeros_like(marks[cut]),
        )  # fmt: skip
        if signs is not None:
            known = Signs.from_columns({f"_sign_{k}": np.array(v[cut]) for k, v in signs.items()}, n_cells=len(calls))
            reasons = find_reasons(
                calls.reduced, background, broad=marks[cut], obsolete=np.zeros_like(marks[cut]), signs=known
            )
            status = np.where(reasons & Reason.UNSEEN > 0, Status.UNSEEN, calls.reduced.status).astype(np.int8)
            unseen = status == Status.UNSEEN
            reduced = replace(calls.reduced, status=status)
            calls = replace(
                calls, reduced=reduced, reasons=reasons, needs_review=calls.needs_review | unseen, signs=known
            )
        table = append_columns(calls.to_table(), calls.evidence())
        write_part(append_columns(table, place.slice(start, block)), folder / "calls" / part_name(i))
    return Run(folder), background


def whole_queue(rows: list[tuple[str, ...]], *, batch_names: tuple[str, ...] = ("s0", "s1"), **options: Any) -> Queue:
    ontology = options.get("ontology", ONTOLOGY)
    markers = options.pop("markers", None)
    with tempfile.TemporaryDirectory() as folder:
        run, background = write_run(Path(folder), rows, **options)
        return build_queue(run, ontology, background, batches=batch_names, markers=markers)


def queue_of(rows: list[tuple[str, ...]], **options: Any) -> pd.DataFrame:
    return whole_queue(rows, **options).table


SPLIT, SPLIT_LOW, UNLIKE, SURE = (CD4, CD8, CD8), (CD8, CD4, CD4), (CD4, B, B), (B, B, B)


# What is in it ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rows", [pytest.param([], id="no_cells"), pytest.param([SURE, SURE], id="no_cell_needs_review")]
)
def test_empty_queue_has_the_header(rows: list[tuple[str, ...]]) -> None:
    queue = queue_of(rows)
    assert queue.columns.tolist() == HEADER
    assert len(queue) == 0


def test_columns_of_one_item() -> None:
    queue = queue_of([SPLIT, SURE, SPLIT], batches=[1, 0, 0], markers={CD8: ["CD8A", "CD8B", "G3", "G4", "G5", "G6"]})
    assert queue.columns.tolist() == HEADER
    (item,) = queue.to_dict("records")
    assert [len(item.pop(name)) for name in ("item_id", "family", "evidence")] == [12, 8, 16]
    assert item == {
        "n_cells": 2,
        "gain": 4.0,
        "samples": "s0=1;s1=1",
        "term": T,
        "label": "T cell",
        "status": "backed_off",
        "depth": 1,
        "agreement": 1.0,
        "reasons": "sibling_conflict;backed_off",
        "sentence": "Members split over branches: 2 of 3 votes for CD8 T cell (T:4), 1 for CD4 T cell (T:3); the two meet at"
        " T cell (T:2). The votes decide no further: do not force a leaf. Backed off from CD8 T cell (T:4) by 1 level to T"
        " cell (T:2), giving up 2.0 bits.",
        "votes": "a=T:3;b=T:4;c=T:4",
        "candidates": "T:4;T:3",
        "markers": "T:4:CD8A,CD8B,G3,G4,G5",
        "example_cells": "cell000;cell002",
    }


def test_cell_that_nobody_voted_on() -> None:
    (item,) = queue_of([(NONE, NONE, NONE)]).to_dict("records")
    assert [item[name] for name in ("term", "label", "status", "votes", "candidates", "markers")] == [
        "", "", "unresolved", "", "", "",
    ]  # fmt: skip
    assert item["sentence"] == "Did not vote: a, b, c."


def test_absent_member_is_named_and_has_no_vote() -> None:
    (item,) = queue_of([(CD4, CD8, NONE)], absent={"c": "not installed"}).to_dict("records")
    assert item["votes"] == "a=T:3;b=T:4"
    assert item["reasons"] == "sibling_conflict;backed_off;member_absent"


def test_examples_are_the_first_five_names() -> None:
    names = [f"cell{i}" for i in (9, 3, 7, 1, 8, 2, 5)]
    (item,) = queue_of([SPLIT] * 7, names=names).to_dict("records")
    assert item["example_cells"] == "cell1;cell2;cell3;cell5;cell7"
    assert item["n_cells"] == 7


def test_clusters_are_reviewed_apart() -> None:
    queue = queue_of([SPLIT] * 3, clusters=[0, 1, 1])
    assert sorted(queue["n_cells"]) == [1, 2]
    assert queue["item_id"].is_unique


def test_reasons_are_those_of_any_cell_of_the_item() -> None:
    """Two labels can map to one term, one of them by a broad match: the votes are alike, the reasons are not."""
    for marks in ([True, False], [False, True]):
        (item,) = queue_of([SPLIT, SPLIT], broad=marks).to_dict("records")
        assert item["reasons"] == "sibling_conflict;backed_off;broad_label_map"
        assert "was mapped to a broader term" in item["sentence"]


def test_items_with_the_same_votes_and_another_call_have_their_own_sentence() -> None:
    """With pooled mass two cells with the same top votes can end in different terms."""
    unsure = [{NAIVE: 0.4, CD4: 0.35, CD8: 0.25}] * 3
    surer = [{NAIVE: 0.5, CD4: 0.45, CD8: 0.05}] * 3
    queue = queue_of([(NAIVE,) * 3] * 2, mass=[unsure, surer], rule="quorum", quorum=0.9, on="mass")
    assert set(queue["term"]) == {T, CD4}
    for item in queue.to_dict("records"):
        assert f"to {item['label']} ({item['term']})" in item["sentence"]


def test_types_on_two_axes_are_followed_by_what_is_both() -> None:
    both = ontology_from_edges(LABELS | AXES, PARENTS | {"T:7": ["T:2"], "T:8": ["T:3", "T:7"]})
    (item,) = queue_of([(CD4, "T:7", "T:7")], ontology=both).to_dict("records")
    assert item["candidates"] == "T:7;T:3;T:8"
    assert "What is both: memory CD4 T cell (T:8)." in item["sentence"]


TESTED = Background(("a", "b", "c"), {}, eps=0.05)


def test_cell_with_most_reasons_speaks_for_the_item_and_others_are_told_apart() -> None:
    """Votes and call are alike in all four cells; b has two reasons more, c one, and only a is close to the limit."""
    signs = {
        "p_seen": [0.9, 0.8, 0.8, 0.11], "low_quality": [0, 4, 4, 0], "mito": [0.01, 0.02, 0.23, 0.03],
        "doublet": [False, False, True, False], "doublet_score": [0.1, 0.1, 0.43, 0.1],
    }  # fmt: skip
    options: dict[str, Any] = {"signs": signs, "background": TESTED, "names": ["d", "c", "b", "a"]}
    for block in (1000, 1):
        (item,) = queue_of([SPLIT] * 4, block=block, **options).to_dict("records")
        assert item["reasons"] == "borderline_unseen;sibling_conflict;backed_off;possible_doublet;low_quality"
        assert item["sentence"].startswith("In others of these cells: Barely belongs to the reference: p = 0.11 (")
        assert item["sentence"].endswith(
            "May be two cells: its doublet score of 0.43 is above the batch's limit."
            " Low quality: 23 % of the counts are mitochondrial."
        )
        assert item["example_cells"] == "a;b;c;d"


def test_first_by_name_speaks_where_cells_have_as_many_reasons() -> None:
    signs = {"p_seen": [0.12, 0.1, 0.14]}
    (item,) = queue_of([SPLIT] * 3, signs=signs, background=TESTED, names=["c", "a", "b"]).to_dict("records")
    assert item["sentence"].startswith("Barely belongs to the reference: p = 0.1 (")
    assert "others" not in item["sentence"]


def test_unseen_cells_are_items_of_their_own_and_keep_their_node() -> None:
    signs = {"p_seen": [0.01, 0.9, 0.02], "strange_kind": [4, -1, 4]}
    queue = queue_of([SPLIT] * 3, signs=signs, background=TESTED)
    assert queue[["n_cells", "status", "term", "label"]].to_numpy().tolist() == [
        [2, "unseen", T, "T cell"], [1, "backed_off", T, "T cell"],
    ]  # fmt: skip
    said = queue["sentence"][0]
    assert said.startswith("Does not belong to the reference: p = 0.01 (at most 0.05 is out); last fits T cell (T:2).")
    assert "nearest cells" in said


def test_signs_change_no_id_and_no_order() -> None:
    known = queue_of(ROWS, signs={"p_seen": [0.1] * len(ROWS)}, background=TESTED)
    plain = queue_of(ROWS)
    among = known[known["item_id"].isin(plain["item_id"])]
    assert among["item_id"].tolist() == plain["item_id"].tolist()
    assert set(known["item_id"]) == set(plain["item_id"])
    assert known["reasons"].str.startswith("borderline_unseen").all()


def test_parts_without_some_signs_are_read() -> None:
    (item,) = queue_of([SPLIT], signs={"p_seen": [0.01]}, background=TESTED).to_dict("records")
    with tempfile.TemporaryDirectory() as folder:
        run, background = write_run(Path(folder), [SPLIT], signs={"p_seen": [0.01]}, background=TESTED)
        path = run.folder / "calls" / part_name(0)
        table = next(iter(run.parts("calls")))
        kept = [name for name in table.column_names if name == "_sign_p_seen" or not name.startswith("_sign_")]
        write_part(table.select(kept), path)
        (fewer,) = build_queue(run, ONTOLOGY, background, batches=("s0", "s1")).table.to_dict("records")
    assert fewer == item


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[tuple[str, ...]], list[int], list[int]]:
    """Draw votes, clusters and samples of 1 to 12 cells."""
    n = draw(st.integers(1, 12))
    rows = draw(st.lists(st.tuples(*[st.sampled_from([*LABELS, NONE])] * 3), min_size=n, max_size=n))
    few = st.lists(st.integers(0, 1), min_size=n, max_size=n)
    return rows, draw(few), draw(few)


@settings(max_examples=40, deadline=None)
@given(tables(), st.sampled_from([1, 5, 1000]))
def test_every_cell_that_needs_review_is_in_exactly_one_item(
    table: tuple[list[tuple[str, ...]], list[int], list[int]], block: int
) -> None:
    rows, clusters, batches = table
    with tempfile.TemporaryDirectory() as folder:
        run, background = write_run(Path(folder), rows, clusters=clusters, batches=batches, block=block)
        queue = build_queue(run, ONTOLOGY, background, batches=("s0", "s1")).table
        review = np.concatenate([part["needs_review"].to_numpy() for part in run.parts("calls")])
    groups: dict[tuple[Any, ...], list[int]] = {}
    for i in np.flatnonzero(review):
        groups.setdefault((rows[i], clusters[i]), []).append(i)  # votes decide call and status here
    expected = sorted(
        (
            len(cells),
            ";".join(f"{member}={vote}" for member, vote in zip("abc", votes, strict=True) if vote),
            ";".join(sorted(f"cell{i:03d}" for i in cells)[:5]),
            ";".join(f"s{b}={n}" for b in (0, 1) if (n := sum(batches[i] == b for i in cells))),
        )
        for (votes, _), cells in groups.items()
    )
    found = queue[["n_cells", "votes", "example_cells", "samples"]].itertuples(index=False, name=None)
    assert sorted(found) == expected
    assert queue["item_id"].is_unique


@settings(max_examples=40, deadline=None)
@given(tables(), st.sampled_from([1, 5, 1000]), st.randoms(use_true_random=False))
def test_cells_stand_item_after_item_and_every_cell_once(
    table: tuple[list[tuple[str, ...]], list[int], list[int]], block: int, random: Any
) -> None:
    rows, clusters, batches = table
    names = [f"cell{i}" for i in range(len(rows))]
    random.shuffle(names)
    with tempfile.TemporaryDirectory() as folder:
        run, background = write_run(Path(folder), rows, clusters=clusters, batches=batches, block=block, names=names)
        queue = build_queue(run, ONTOLOGY, background, batches=("s0", "s1"))
        parts = pa.concat_tables(run.parts("calls"))
    assert sorted(queue.row.tolist()) == np.flatnonzero(parts["needs_review"].to_numpy()).tolist()
    assert queue.batch.tolist() == [batches[i] for i in queue.row]
    own = np.column_stack([parts[f"support_{name}"].to_numpy() for name in "abc"])
    np.testing.assert_array_equal(queue.support, own[queue.row])
    start = 0
    for item in queue.table.to_dict("records"):
        cells = queue.row[start : start + item["n_cells"]]
        start += item["n_cells"]
        assert [names[i] for i in cells] == sorted(names[i] for i in cells)
        assert {(rows[i], clusters[i]) for i in cells} == {(rows[cells[0]], clusters[cells[0]])}
        assert item["votes"] == ";".join(f"{m}={v}" for m, v in zip("abc", rows[cells[0]], strict=True) if v)
    assert start == len(queue.row)


def test_run_without_cells_for_review_has_a_queue_of_the_same_kind() -> None:
    empty, some = whole_queue([SURE]), whole_queue([SPLIT, SURE])
    for name in ("table", "facts"):
        none, one = getattr(empty, name), getattr(some, name)
        assert len(none) == 0
        assert none.columns.tolist() == one.columns.tolist()
    assert (len(empty.row), len(empty.batch), empty.support.shape) == (0, 0, (0, 3))


def test_facts_of_an_item() -> None:
    queue = whole_queue([SPLIT] * 3 + [SURE], signs={"p_seen": [0.4, 0.2, 0.9, 0.5]}, background=TESTED)
    (item,) = queue.facts.to_dict("records")
    assert item == {
        "ic": pytest.approx(0.585, abs=1e-3), "support": 1.0, "p_seen": pytest.approx(0.4), "top_term": CD8,
        "camp_a": CD8, "camp_b": CD4, "size_a": pytest.approx(2 / 3, abs=1e-5), "size_b": pytest.approx(1 / 3, abs=1e-5),
        "n_votes": 3,
    }  # fmt: skip


def test_absent_member_has_no_support() -> None:
    queue = whole_queue([(CD4, CD8, NONE)], absent={"c": "not installed"})
    assert queue.members == ("a", "b")
    assert queue.support.shape == (1, 2)


# Evidence and families ------------------------------------------------------------------------------------------


def test_evidence_is_of_the_item_its_cells_and_its_reasons() -> None:
    (first,) = queue_of([SPLIT, SPLIT], names=["x", "y"])["evidence"]
    (turned,) = queue_of([SPLIT, SPLIT], names=["y", "x"])["evidence"]
    (beside,) = queue_of([SPLIT, SURE, SPLIT], names=["x", "z", "y"], block=1)["evidence"]
    assert first == turned == beside
    (more,) = queue_of([SPLIT] * 3, names=["x", "y", "z"])["evidence"]
    (renamed,) = queue_of([SPLIT] * 2, names=["x", "w"])["evidence"]
    (reasoned,) = queue_of([SPLIT] * 2, names=["x", "y"], broad=[True, False])["evidence"]
    (elsewhere,) = queue_of([SPLIT] * 2, names=["x", "y"], clusters=[1, 1])["evidence"]
    assert len({first, more, renamed, reasoned, elsewhere}) == 5


@pytest.mark.parametrize(
    ("rows", "options", "same"),
    [
        pytest.param([(CD8, CD4, CD8)], {}, True, id="who_said_what"),
        pytest.param([SPLIT_LOW], {}, True, id="which_camp_is_larger"),
        pytest.param([SPLIT], {"clusters": [1]}, True, id="the_cluster"),
        pytest.param([(NAIVE, CD8, CD8)], {}, False, id="another_camp"),
        pytest.param([SPLIT], {"rule": "quorum", "quorum": 0.6}, False, id="the_call"),
        pytest.param(
            [SPLIT], {"signs": {"p_seen": [0.01]}, "background": Background(("a", "b", "c"), {}, eps=0.05)}, False,
            id="the_status",
        ),
    ],
)  # fmt: skip
def test_family_is_of_items_that_are_alike_but_for(
    rows: list[tuple[str, ...]],
    options: dict[str, Any],
    same: bool,  # noqa: FBT001 (a claim of the table above)
) -> None:
    (family,) = queue_of([SPLIT])["family"]
    assert (queue_of(rows, **options)["family"].tolist() == [family]) is same


# Ids --------------------------------------------------------------------------------------------------------------

ROWS = [SPLIT, UNLIKE, SPLIT, (NAIVE, CD4, T), (NONE, NONE, NONE), SURE, UNLIKE, (CD4, NONE, B)]


def test_queue_is_the_same_for_shuffled_cells_blocks_and_runs() -> None:
    names = [f"cell{i}" for i in range(len(ROWS))]
    first = queue_of(ROWS, names=names)
    assert len(first) == 5
    for seed, block in ((0, 1000), (1, 3), (2, 1)):
        order = np.random.default_rng(seed).permutation(len(ROWS))
        again = queue_of([ROWS[i] for i in order], names=[names[i] for i in order], block=block)
        pd.testing.assert_frame_equal(again, first)


def test_id_does_not_depend_on_how_many_cells_there_are() -> None:
    few, many = queue_of([SPLIT, UNLIKE]), queue_of([SPLIT, UNLIKE] * 20 + [SURE])
    assert set(few["item_id"]) == set(many["item_id"])


def test_id_stays_when_the_ontology_grows() -> None:
    """A release with more terms numbers all terms anew; the evidence is the same."""
    larger = ontology_from_edges(LABELS | {"T:0": "memory CD4 T cell"}, PARENTS | {"T:0": ["T:3"]})
    assert larger.index(CD8) != ONTOLOGY.index(CD8)
    assert queue_of([SPLIT], ontology=larger)["item_id"].tolist() == queue_of([SPLIT])["item_id"].tolist()


def test_id_does_not_depend_on_the_order_of_members() -> None:
    a, b, c = SPLIT
    turned = queue_of([(c, a, b)], members=("c", "a", "b"))
    assert turned["item_id"].tolist() == queue_of([SPLIT])["item_id"].tolist()


@pytest.mark.parametrize(
    ("rows", "options"),
    [
        pytest.param([(CD8, CD4, CD8)], {}, id="who_said_what"),
        pytest.param([SPLIT], {"members": ("a", "b", "z")}, id="the_member"),
        pytest.param([SPLIT], {"clusters": [1]}, id="the_cluster"),
        pytest.param([SPLIT], {"rule": "quorum", "quorum": 0.6}, id="the_call"),
    ],
)
def test_id_changes_with(rows: list[tuple[str, ...]], options: dict[str, Any]) -> None:
    found = queue_of(rows, **options)
    assert len(found) == 1
    assert found["item_id"].tolist() != queue_of([SPLIT])["item_id"].tolist()


# Order ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second"),
    [
        # Bits a cell: 2.58 - 0.58 from the CD8 to the T cell; 1.58 - 0.58 from the CD4 T cell.
        pytest.param([SPLIT] * 2, [SPLIT_LOW] * 3, id="more_bits_given_up_first"),
        pytest.param([SPLIT_LOW] * 3, [SPLIT], id="more_cells_first"),
        pytest.param([UNLIKE], [SPLIT], id="cell_without_a_call_counts_with_all_bits"),
        pytest.param([(NONE, NONE, NONE)], [SPLIT], id="cell_that_nobody_voted_on_counts_as_others_on_average"),
        pytest.param([SPLIT] * 2, [(CELL, CELL, CELL)] * 50, id="unanimous_but_too_general_comes_late"),
    ],
)
def test_rank(first: list[tuple[str, ...]], second: list[tuple[str, ...]]) -> None:
    for rows in (first + second, second + first):
        queue = queue_of(rows)
        assert queue["n_cells"].tolist() == [len(first), len(second)]
        assert queue["votes"].tolist() == [
            ";".join(f"{m}={v}" for m, v in zip("abc", row[0], strict=True) if v) for row in (first, second)
        ]


def test_order_is_by_gain() -> None:
    gain = queue_of(ROWS * 3, clusters=[i % 2 for i in range(len(ROWS) * 3)])["gain"].to_numpy()
    assert (np.diff(gain) <= 0).all()
    assert (gain > 0).all()


def test_equal_items_stand_in_the_order_of_their_ids() -> None:
    queue = queue_of([SPLIT] * 4, clusters=[0, 1, 2, 3])
    assert queue["item_id"].tolist() == sorted(queue["item_id"])
