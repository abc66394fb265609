"""Tables of cells for readers: totals that add up, what a row holds, wide tables that fit, and notes that say what counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from celljury.ontology.slims import other_places
from celljury.report.cell_tables import cell_tables
from celljury.report.counted import Groups, counted_cells
from celljury.report.fraction_tables import ACROSS, BOTH, WIDEST
from celljury.report.levels import load_levels

if TYPE_CHECKING:
    from celljury.ontology.graph import CellOntology
    from celljury.report.counted import Counted
    from celljury.report.levels import Level
    from celljury.report.table import Table

B, T, CD4, CD4_MEMORY, MEMORY = "CL:0000236", "CL:0000084", "CL:0000624", "CL:0000897", "CL:0000813"
NEURON = "CL:0000540"

CALLS = pd.DataFrame(
    {
        "term": [B, B, CD4, T, None, NEURON, None, B, CD4_MEMORY, NEURON],
        "status": ["resolved"] * 3
        + ["backed_off", "unresolved", "unseen", "unseen", "resolved", "resolved", "resolved"],
        "depth": [6, 6, 8, 7, 0, 4, 0, 6, 10, 4],
        "agreement": [1.0, 0.5, 0.75, 1.0, 0.0, 0.5, 0.0, 0.25, 1.0, 1.0],
        "support": [0.9, 0.7, 0.8, 0.95, 0.0, 0.5, 0.0, 0.5, 0.9, 0.9],
        "needs_review": [False, True, False, True, True, True, True, True, False, False],
    }
)
DONOR = Groups("donor", "patient", ("d1", "d2"), np.array([0] * 5 + [1] * 5, np.int32))


@pytest.fixture(scope="module")
def counted(write_run: Any, cl: CellOntology) -> Counted:
    """Ten cells of two donors."""
    return counted_cells(write_run(CALLS), cl, groups=[DONOR])


@pytest.fixture(scope="module")
def mine(cl: CellOntology, tmp_path_factory: pytest.TempPathFactory) -> Level:
    """T cell, CD4-positive T cell, memory T cell and B cell: rows of which one is above another, and a shared term."""
    path = tmp_path_factory.mktemp("levels") / "mine.txt"
    path.write_text(f"{T}\n{CD4}\n{MEMORY}\n{B}\n")
    return load_levels(cl, [path])[0]


def tables(counted: Counted, *levels: Level) -> dict[str, Table]:
    return {table.name: table for table in cell_tables(counted, levels)}


def values(table: Table, *columns: str) -> list[list[Any]]:
    return table.rows[list(columns)].to_numpy().tolist()


def test_names_and_order(counted: Counted, cl: CellOntology, mine: Level) -> None:
    levels = (mine, *load_levels(cl, ["term"]))
    assert list(tables(counted, *levels)) == [
        "cells_mine", "shared_terms_mine", "cells_term", "fractions_status_by_patient", "fractions_mine_by_patient",
        "cells_mine_by_patient", "fractions_term_by_patient", "cells_term_by_patient",
    ]  # fmt: skip


def test_cells_of_a_level_by_hand(counted: Counted, cl: CellOntology, mine: Level) -> None:
    table = tables(counted, mine)["cells_mine"]
    assert cl.ic[cl.index(MEMORY)] > cl.ic[cl.index(CD4)], "a CD4-positive memory T cell is counted as a memory T cell"
    assert values(table, "label", "n_cells", "n_backed_off", "n_review") == [
        ["B cell", 3, 0, 2],
        ["CD4-positive, alpha-beta T cell", 1, 0, 0],
        ["T cell", 1, 1, 1],
        ["memory T cell", 1, 0, 0],
        ["(unseen: does not belong to the reference)", 2, 0, 2],
        ["(other: no term of this level above it)", 1, 0, 0],
        ["(unresolved)", 1, 0, 1],
        ["all cells", 10, 1, 6],
    ]
    assert table.rows["fraction"].tolist() == pytest.approx([0.3, 0.1, 0.1, 0.1, 0.2, 0.1, 0.1, 1])
    assert table.rows["mean_depth"].tolist() == pytest.approx(
        [6, 8, 7, 10, np.nan, 4, np.nan, (18 + 8 + 7 + 10 + 4) / 7], nan_ok=True
    )
    agreement = [1.75 / 3, 0.75, 1, 1, np.nan, 1, np.nan, (1.75 + 0.75 + 1 + 1 + 1) / 7]
    assert table.rows["mean_agreement"].tolist() == pytest.approx(agreement, nan_ok=True)
    assert (table.n_last, table.block) == (1, None)


def test_every_column_of_every_table_is_there_with_its_kind(counted: Counted, cl: CellOntology, mine: Level) -> None:
    for table in tables(counted, mine, *load_levels(cl, ["term", "cell_class"])).values():
        names = [column.name for column in table.columns]
        assert len(set(names)) == len(names)
        assert set(names) <= set(table.rows.columns)
        for column in table.columns:
            own = table.rows[column.name]
            if column.kind == "count":
                assert pd.api.types.is_integer_dtype(own), (table.name, column.name)
                assert (own >= 0).all()
            elif column.kind == "share":
                assert own.between(0, 1).all(), (table.name, column.name)
            elif column.kind in ("text", "id"):
                assert own.map(type).eq(str).all(), (table.name, column.name)
        assert table.about.endswith(".")
        assert all(note.endswith(".") for note in table.notes)
        assert not table.title.endswith(".")


def test_totals_of_groups_add_up(counted: Counted, cl: CellOntology, mine: Level) -> None:
    table = tables(counted, mine)["cells_mine_by_patient"]
    assert (table.block, table.n_last) == ("group", 1)
    assert table.rows["group"].drop_duplicates().tolist() == ["d1", "d2"]
    for _, own in table.rows.groupby("group"):
        assert own["n_cells"].iloc[-1] == own["n_cells"].iloc[:-1].sum() == 5
        assert own["fraction"].iloc[-1] == pytest.approx(1)
        assert own["label"].iloc[-1] == "all cells of the group"
    assert table.rows.loc[table.rows["label"] == "B cell", "n_cells"].tolist() == [2, 1]


def test_statuses_by_hand(counted: Counted, cl: CellOntology, mine: Level) -> None:
    table = tables(counted, mine)["fractions_status_by_patient"]
    assert values(table, "group", "n_cells", "resolved", "backed_off", "unresolved", "unseen", "review") == [
        ["d1", 5, 0.6, 0.2, 0.2, 0, 0.6], ["d2", 5, 0.6, 0, 0, 0.4, 0.6], ["all cells", 10, 0.6, 0.1, 0.1, 0.2, 0.6],
    ]  # fmt: skip
    assert "reviewed" not in {column.name for column in table.columns}, "no decision is counted"


def test_few_groups_stand_side_by_side_with_their_counts(counted: Counted, cl: CellOntology, mine: Level) -> None:
    table = tables(counted, mine)["fractions_mine_by_patient"]
    assert [column.head for column in table.columns] == [
        "cell type", "CL id", "cells", "all", "d1: cells", "d1", "d2: cells", "d2",
    ]  # fmt: skip
    assert values(table, "label", "n_cells", "n_cells_d1", "n_cells_d2") == [
        ["B cell", 3, 2, 1], ["CD4-positive, alpha-beta T cell", 1, 1, 0], ["T cell", 1, 1, 0],
        ["memory T cell", 1, 0, 1], ["(other)", 1, 0, 1],
        ["(unresolved)", 1, 1, 0], ["(unseen)", 2, 0, 2], ["all cells", 10, 5, 5],
    ]  # fmt: skip
    assert table.rows["fraction_d1"].tolist() == pytest.approx([0.4, 0.2, 0.2, 0, 0, 0.2, 0, 1])


def wide(write_run: Any, cl: CellOntology, *, n_groups: int, n_terms: int) -> Table | None:
    """The wide table of a run in which every group has a cell of every term, and one of the first term more."""
    terms = [cl.ids[i] for i in range(n_terms)]
    code = np.repeat(np.arange(n_groups, dtype=np.int32), n_terms + 1)
    frame = pd.DataFrame({"term": [*terms, terms[0]] * n_groups, "status": "resolved"})
    groups = Groups("sample", "cells", tuple(f"s{i}" for i in range(n_groups)), code)
    counted = counted_cells(write_run(frame), cl, groups=[groups])
    return tables(counted, *load_levels(cl, ["term"])).get("fractions_term_by_cells")


@pytest.mark.parametrize(
    ("n_groups", "n_terms", "upright"),
    [
        pytest.param(ACROSS, 3, True, id="terms_as_rows_while_groups_fit"),
        pytest.param(30, 5, False, id="many_groups_and_few_terms_are_turned"),
        pytest.param(30, 60, True, id="the_fewer_stand_side_by_side"),
        pytest.param(WIDEST + 10, WIDEST, False, id="terms_just_fit"),
    ],
)
def test_the_fewer_stand_side_by_side(
    write_run: Any, cl: CellOntology, n_groups: int, n_terms: int, *, upright: bool
) -> None:
    table = wide(write_run, cl, n_groups=n_groups, n_terms=n_terms)
    assert table is not None
    assert (table.columns[0].name == "label") == upright
    assert len(table.rows) == (n_terms if upright else n_groups) + 1
    shares = [column for column in table.columns if column.name.startswith("fraction_")]
    assert len(shares) == (n_groups if upright else n_terms)
    total = table.rows[[column.name for column in shares]].iloc[:-1].sum(axis=0 if upright else 1)
    assert total.tolist() == pytest.approx([1.0] * len(total))
    assert n_groups > BOTH
    assert not upright or shares[0].head == f"s0, n = {n_terms + 1}"


def test_what_is_wide_either_way_is_left_to_the_long_table(write_run: Any, cl: CellOntology) -> None:
    assert wide(write_run, cl, n_groups=WIDEST + 1, n_terms=WIDEST + 1) is None


def test_groups_called_like_columns_keep_their_own(write_run: Any, cl: CellOntology) -> None:
    groups = Groups("other", "label", ("all", "cells", "term"), np.array([0, 1, 2], np.int32))
    run = write_run(pd.DataFrame({"term": [B, T, B], "status": "resolved"}))
    found = tables(counted_cells(run, cl, groups=[groups]), *load_levels(cl, ["term"]))
    table = found["fractions_term_by_label"]
    assert values(table, "label", "n_cells", "n_cells_all", "n_cells_cells", "n_cells_term") == [
        ["B cell", 2, 1, 0, 1], ["T cell", 1, 0, 1, 0], ["all cells", 3, 1, 1, 1],
    ]  # fmt: skip


# Terms with several places --------------------------------------------------------------------------------------------


def test_a_term_with_two_places_is_told(counted: Counted, cl: CellOntology, mine: Level) -> None:
    found = tables(counted, mine)
    assert values(found["shared_terms_mine"], "label", "term", "n_cells", "place_term", "others") == [
        ["CD4-positive, alpha-beta memory T cell", CD4_MEMORY, 1, MEMORY, f"CD4-positive, alpha-beta T cell ({CD4})"],
    ]
    note = "Counted once: one called term belongs under several terms of this level; its cells are counted under one of"
    assert any(line.startswith(note) and "shared_terms_mine" in line for line in found["cells_mine"].notes)


def test_unseen_cells_are_of_no_term_and_share_none(write_run: Any, cl: CellOntology, mine: Level) -> None:
    run = write_run(pd.DataFrame({"term": [CD4_MEMORY, B], "status": ["unseen", "resolved"]}))
    found = tables(counted_cells(run, cl), mine)
    assert list(found) == ["cells_mine"]
    assert not any("Counted once" in note for note in found["cells_mine"].notes)


def test_all_shared_terms_of_a_run_are_told_with_their_cells(write_run: Any, cl: CellOntology) -> None:
    run = write_run(pd.DataFrame({"term": [*cl.ids, *cl.ids], "status": "resolved"}))
    (level,) = load_levels(cl, ["cell_subclass"])
    assert level.slim is not None
    table = tables(counted_cells(run, cl), level)["shared_terms_cell_subclass"]
    wanted = {cl.ids[i] for i in other_places(cl, level.slim)[0].tolist()}
    assert set(table.rows["term"]) == wanted
    assert set(table.rows["n_cells"]) == {2}


# Notes ----------------------------------------------------------------------------------------------------------------


def test_notes_say_what_no_term_is_and_that_rows_do_not_overlap(
    counted: Counted, cl: CellOntology, mine: Level
) -> None:
    notes = tables(counted, mine)["cells_mine"].notes
    assert notes[:4] == (
        "Rows do not overlap: 'T cell' holds only cells that are in no narrower row, such as 'memory T cell'.",
        "Other: one cell of a term that no term of this level is above.",
        "Unresolved: one cell that got no term.",
        "Unseen: 2 cells that fit no type of the reference; they are not counted as cells of any term.",
    )


def test_a_run_without_anything_special_has_no_notes(write_run: Any, cl: CellOntology) -> None:
    run = write_run(pd.DataFrame({"term": [B, NEURON], "status": "resolved"}))
    assert tables(counted_cells(run, cl), *load_levels(cl, ["term"]))["cells_term"].notes == ()


def test_decisions_add_their_columns_and_say_whose_agreement_it_is(write_run: Any, cl: CellOntology) -> None:
    final = pd.DataFrame({"term": [T, T], "status": "resolved", "depth": [7, 7], "reviewed": [True, False]})
    run = write_run(pd.DataFrame({"term": [B, T], "status": "resolved", "agreement": [0.5, 0.75]}), final=final)
    table = tables(counted_cells(run, cl), *load_levels(cl, ["term"]))["cells_term"]
    assert values(table, "label", "n_cells", "mean_agreement", "n_reviewed", "reviewed_share") == [
        ["T cell", 2, 0.75, 1, 0.5], ["all cells", 2, 0.75, 1, 0.5],
    ]  # fmt: skip
    assert table.columns[-1].name == "reviewed_share"
    assert table.notes[-1].startswith("Agreement and support are of the run's calls")


@pytest.mark.parametrize(
    ("record", "said"),
    [
        pytest.param({}, "not calibrated", id="without_calibration"),
        pytest.param({"calibration": {"a": 1}, "tier": "none"}, "not calibrated", id="nothing_promised"),
        pytest.param({"calibration": {"a": 1}, "tier": "cell"}, "mean calibrated probability", id="calibrated"),
    ],
)
def test_support_says_whether_it_is_calibrated(
    write_run: Any, cl: CellOntology, record: dict[str, Any], said: str
) -> None:
    run = write_run(pd.DataFrame({"term": [B], "status": "resolved"}), **record)
    table = tables(counted_cells(run, cl), *load_levels(cl, ["term"]))["cells_term"]
    assert said in table.column("mean_support").meaning
