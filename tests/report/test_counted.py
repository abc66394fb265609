"""What is counted: calls or final terms, of these calls and no others, wherever the folder is and whoever wrote it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from celljury.errors import UnreadableFileError
from celljury.questions import parquet_sql
from celljury.report.counted import OPTIONAL, Groups, counted_cells
from celljury.report.levels import load_levels
from celljury.report.tally import tally

if TYPE_CHECKING:
    from pathlib import Path

    from celljury.ontology.graph import CellOntology
    from celljury.run import Run

B, T, NEURON = "CL:0000236", "CL:0000084", "CL:0000540"

CALLS = pd.DataFrame(
    {
        "term": [B, B, T, None, NEURON],
        "status": ["resolved", "resolved", "backed_off", "unresolved", "unseen"],
        "needs_review": [False, True, True, True, True],
    }
)
# The second cell is confirmed, the third made a neuron, the fifth a B cell; the fourth is still open.
FINAL = pd.DataFrame(
    {
        "term": [B, B, NEURON, None, B],
        "status": ["resolved", "resolved", "resolved", "unresolved", "resolved"],
        "reviewed": [False, True, True, False, True],
    }
)


@pytest.fixture
def decided(write_run: Any) -> Run:
    """Five cells with decisions over them."""
    return write_run(CALLS, final=FINAL)


def terms(run: Run, cl: CellOntology, **options: Any) -> list[str | None]:
    counted = counted_cells(run, cl, **options)
    found = counted.query("SELECT counted_term::VARCHAR AS term FROM cells ORDER BY row")["term"]
    return found.astype(object).where(found.notna(), None).tolist()


def rewrite(path: Path, change: Any) -> None:
    pq.write_table(change(pq.read_table(path)), path)


def test_final_terms_are_counted_where_they_are(decided: Run, cl: CellOntology) -> None:
    assert counted_cells(decided, cl).source == "final"
    assert terms(decided, cl) == FINAL["term"].tolist()
    assert terms(decided, cl, calls="final") == FINAL["term"].tolist()
    assert terms(decided, cl, calls="calls") == CALLS["term"].tolist()


def test_the_view_has_both_the_call_and_what_counts(decided: Run, cl: CellOntology) -> None:
    groups = Groups("donor", "d", ("x", "y"), np.array([0, 1, 1, 0, 0], np.int32))
    counted = counted_cells(decided, cl, groups=[groups])
    found = counted.query(
        "SELECT row, cell_id, term, status, counted_status, reviewed, needs_review, group_0 FROM cells ORDER BY row"
    )
    assert found["row"].tolist() == list(range(5))
    assert found["cell_id"].tolist() == [f"cell{i}" for i in range(5)]
    assert found["status"].tolist() == CALLS["status"].tolist()
    assert found["counted_status"].tolist() == FINAL["status"].tolist()
    assert found["reviewed"].tolist() == FINAL["reviewed"].tolist()
    assert found["group_0"].tolist() == [0, 1, 1, 0, 0]
    assert counted.n_cells == 5


def test_without_decisions_no_cell_is_reviewed(write_run: Any, cl: CellOntology) -> None:
    run = write_run(CALLS)
    counted = counted_cells(run, cl)
    assert counted.source == "calls"
    assert counted.query("SELECT count(*) FILTER (reviewed) AS n FROM cells")["n"].tolist() == [0]
    with pytest.raises(UnreadableFileError, match=r"no final\.parquet.*celljury apply.*--calls calls"):
        counted_cells(run, cl, calls="final")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(lambda t: t.slice(0, 4), "it has 4 cells, calls.parquet 5", id="a_cell_less"),
        pytest.param(lambda t: t.take([1, 0, 2, 3, 4]), "2 cells stand elsewhere or have other names", id="another_order"),
        pytest.param(
            lambda t: t.set_column(0, "cell_id", pc.binary_join_element_wise(t["cell_id"], pa.scalar("x"), "-")),
            "5 cells stand elsewhere or have other names", id="other_names",
        ),
        pytest.param(lambda t: t.drop_columns(["reviewed"]), "has no column reviewed", id="a_column_less"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("calls", ["auto", "final"])
def test_decisions_over_other_calls_are_refused(
    decided: Run, cl: CellOntology, change: Any, said: str, calls: Any
) -> None:
    rewrite(decided.folder / "final.parquet", change)
    with pytest.raises(UnreadableFileError, match=said) as caught:
        counted_cells(decided, cl, calls=calls)
    assert f"celljury apply {decided.folder}" in str(caught.value)
    assert terms(decided, cl, calls="calls") == CALLS["term"].tolist()


def test_decisions_over_an_older_run_are_refused_though_they_are_the_newer_file(
    write_run: Any, cl: CellOntology
) -> None:
    old = write_run(CALLS, final=FINAL)
    new = write_run(CALLS.assign(term=[B, T, T, None, NEURON]))
    (new.folder / "final.parquet").write_bytes((old.folder / "final.parquet").read_bytes())
    with pytest.raises(UnreadableFileError, match=r"1 cells are called otherwise in calls\.parquet"):
        counted_cells(new, cl)


def test_a_damaged_file_of_decisions_is_named(decided: Run, cl: CellOntology) -> None:
    (decided.folder / "final.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(UnreadableFileError, match=r"final\.parquet cannot be read.*celljury apply"):
        counted_cells(decided, cl)


@pytest.mark.parametrize(
    "name", ["run [1]*'é", "a?b", "two  spaces", 'quo"te', "[x]", "%20 #{a,b}~$;--", "back\\slash", "细胞"]
)
def test_folders_of_any_name(write_run: Any, cl: CellOntology, tmp_path: Path, name: str) -> None:
    # What the name would find if it were a pattern: other cells.
    for other in ("run 1zz'é", "run 1'é", "axb", "x"):
        write_run(pd.DataFrame({"term": [T] * 3, "status": "resolved"}), folder=tmp_path / "in" / other)
    run = write_run(CALLS, final=FINAL, folder=tmp_path / "in" / name)
    assert terms(run, cl) == FINAL["term"].tolist()
    counted = counted_cells(run, cl)
    assert counted.query(f"SELECT count(*) AS n FROM {parquet_sql(run.calls_path)}")["n"].tolist() == [5]


def test_calls_of_an_older_celljury_are_counted_and_what_they_lack_is_missing(write_run: Any, cl: CellOntology) -> None:
    run = write_run(CALLS, final=FINAL)
    full = tally(counted_cells(run, cl, calls="calls"), load_levels(cl, ["term"])[0]).rows
    rewrite(run.calls_path, lambda t: t.select(["cell_id", "term", "status", "needs_review"]))
    for source in ("calls", "final"):
        counted = counted_cells(run, cl, calls=source)
        lacking = counted.query(f"SELECT {', '.join(OPTIONAL)} FROM cells")
        assert lacking.isna().all().all()
        assert set(lacking) == set(OPTIONAL)
    rows = tally(counted_cells(run, cl, calls="calls"), load_levels(cl, ["term"])[0]).rows
    assert rows[["mean_agreement", "mean_support", "mean_depth"]].isna().all().all()
    same = ["place", "term", "n_cells", "fraction", "n_review", "n_unseen"]
    pd.testing.assert_frame_equal(rows[same], full[same])


@pytest.mark.parametrize("column", ["cell_id", "term", "status", "needs_review"])
def test_calls_without_what_is_counted_are_refused(write_run: Any, cl: CellOntology, column: str) -> None:
    run = write_run(CALLS)
    rewrite(run.calls_path, lambda t: t.drop_columns([column]))
    with pytest.raises(UnreadableFileError, match=f"has no column {column}.*Annotate again with --overwrite"):
        counted_cells(run, cl)


def test_a_run_without_calls_is_refused(write_run: Any, cl: CellOntology) -> None:
    run = write_run(CALLS)
    run.calls_path.unlink()
    with pytest.raises(UnreadableFileError, match=r"calls\.parquet cannot be read"):
        counted_cells(run, cl)


def test_a_grouping_of_other_cells_is_refused(write_run: Any, cl: CellOntology) -> None:
    with pytest.raises(ValueError, match="'d' is of 2 cells, the run has 5"):
        counted_cells(write_run(CALLS), cl, groups=[Groups("donor", "d", ("x",), np.zeros(2, np.int32))])


def test_tables_can_be_brought_to_a_question(decided: Run, cl: CellOntology) -> None:
    counted = counted_cells(decided, cl)
    more = pa.table({"row": pa.array([0, 4], pa.int64()), "w": [1.5, 2.0]})
    found = counted.query("SELECT sum(w) AS w FROM cells JOIN more ON more.row = cells.row", more=more)
    assert found["w"].tolist() == [3.5]


def test_counting_changes_no_file_of_the_run(decided: Run, cl: CellOntology) -> None:
    before = {path: path.read_bytes() for path in decided.folder.rglob("*") if path.is_file()}
    tally(counted_cells(decided, cl), load_levels(cl, ["cell_class"])[0])
    assert {path: path.read_bytes() for path in decided.folder.rglob("*") if path.is_file()} == before
