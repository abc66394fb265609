"""Reasons and the way from calls to decisions: by hand, equal to a recount, and the same in the figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from celljury.errors import UnreadableFileError
from celljury.report.counted import Counted
from celljury.report.figure_review import MAX_ROWS, funnel_drawing, reasons_drawing
from celljury.report.reason_counts import reason_counts
from celljury.report.review_counts import review_counts
from celljury.report.review_tables import review_tables

if TYPE_CHECKING:
    from celljury.ontology.graph import CellOntology
    from celljury.report.table import Table
    from celljury.run import Run

B, CD4, CD8, T, NEURON, LYMPHOCYTE = (
    "CL:0000236", "CL:0000624", "CL:0000625", "CL:0000084", "CL:0000540", "CL:0000542"
)  # fmt: skip
ROWS = [[B, B, B]] * 5 + [[CD4, CD8, CD8]] * 3 + [[B, NEURON, NEURON]] * 2 + [[B, B, CD4]] * 2


def counted(run: Run, cl: CellOntology) -> Counted:
    return Counted(run, cl, len(run.calls), "calls", ())


def tables(run: Run, cl: CellOntology) -> dict[str, Table]:
    return {table.name: table for table in review_tables(counted(run, cl))}


def decide(run: Run, decisions: dict[int, tuple[str, str, str]]) -> None:
    """Write ``final.parquet``: row of a cell -> review status, decided term, decided status; items are of two cells."""
    calls = pd.read_parquet(run.calls_path)
    final = pd.DataFrame(
        {name: calls[name].astype(object) for name in ("cell_id", "term", "label", "status", "depth", "ic")}
    )
    final["call_term"], final["call_status"] = final["term"], final["status"]
    final["review_status"] = ["open" if needs else "" for needs in calls["needs_review"]]
    final["item_id"] = ["" if not needs else f"item{i // 2}" for i, needs in enumerate(calls["needs_review"])]
    final["reviewed"] = False
    for row, (status, term, outcome) in decisions.items():
        final.loc[row, "review_status"] = status
        if status == "decided":
            final.loc[row, ["term", "status", "reviewed"]] = [term or None, outcome, True]
    pq.write_table(pa.Table.from_pandas(final, preserve_index=False), run.folder / "final.parquet")


# Reasons --------------------------------------------------------------------------------------------------------------


def test_reasons_are_those_of_the_calls(make_run: Any, cl: CellOntology) -> None:
    run = make_run(ROWS)
    calls = pd.read_parquet(run.calls_path)
    codes = calls["reasons"].astype(str).str.split(";")
    expected = codes.explode().loc[lambda c: c != ""].value_counts()
    found = tables(run, cl)
    rows = found["reasons"].rows.set_index("reason")
    assert rows["n_cells"].to_dict() == expected.to_dict()
    for code, row in rows.iterrows():
        has = codes.map(lambda own, code=code: code in own)
        assert row["n_review"] == int((has & calls["needs_review"]).sum())
        assert row["fraction"] == pytest.approx(has.mean())
        assert row["meaning"]
    by_term = found["reasons_by_term"].rows
    for one in by_term.itertuples():
        own = calls["term"].astype(object).eq(one.term) if one.term else calls["term"].isna()
        assert one.n_term == int(own.sum())
        assert one.n_cells == int((own & codes.map(lambda c, code=one.reason: code in c)).sum())
    assert by_term.groupby("reason")["n_cells"].sum().to_dict() == expected.to_dict()
    assert "unresolved" in by_term["label"].tolist()


def test_drawn_reasons_are_the_tables(make_run: Any, cl: CellOntology) -> None:
    run = make_run(ROWS)
    found = reason_counts(counted(run, cl))
    drawing = reasons_drawing(found)
    assert drawing is not None
    said = [text.get_text() for text in drawing.figure.axes[0].texts]
    for code, n in zip(found.codes, found.n_cells_by_reason.tolist(), strict=True):
        assert code.replace("_", " ") in said
        assert f"{code} {n} " in drawing.alt
    assert said[said.index("all cells") - 1] == "12", "all cells of the run"


def test_terms_beyond_the_page_are_one_row(make_run: Any, cl: CellOntology) -> None:
    terms = [cl.ids[t] for t in cl.descendants(cl.index(T))[: MAX_ROWS + 5]]
    run = make_run([[term, "", ""] for term in terms] + [[B, B, B]])
    found = reason_counts(counted(run, cl))
    drawing = reasons_drawing(found)
    assert drawing is not None
    assert "6 other terms" in [text.get_text() for text in drawing.figure.axes[0].texts]


def test_reason_that_all_cells_have_is_said_and_not_drawn(make_run: Any, cl: CellOntology) -> None:
    run = make_run([[B, B, ""]] * 3 + [[B, CD4, ""]], absent={"c": "not installed"})
    drawing = reasons_drawing(reason_counts(counted(run, cl)))
    assert drawing is not None
    assert "member absent" not in [text.get_text() for text in drawing.figure.axes[0].texts]
    assert "all cells have it: member_absent." in drawing.about
    alike = reason_counts(counted(make_run([[B, B, ""]] * 3, absent={"c": "not installed"}), cl))
    assert reasons_drawing(alike) is None


# The way from calls to decisions ----------------------------------------------------------------------------------------


def queue(run: Run, n_items: int) -> None:
    lines = ["item_id\tn_cells", *(f"item{i}\t1" for i in range(n_items))]
    (run.folder / "queue.tsv").write_text("\n".join(lines) + "\n")


def test_without_decisions_all_that_needs_review_is_open(make_run: Any, cl: CellOntology) -> None:
    run = make_run(ROWS)
    queue(run, 3)
    n_review = int(run.calls["needs_review"].sum())
    assert n_review == 7
    rows = tables(run, cl)["review_funnel"].rows
    assert rows["stage"].tolist() == ["all cells", "called, no review needed", "need review"]
    assert rows["n_cells"].tolist() == [12, 5, 7]
    assert rows["n_items"].tolist() == [None, None, 3]
    drawing = funnel_drawing(review_counts(counted(run, cl)))
    assert drawing is not None
    assert "Of 12 cells 5 were called without need of review and 7 (58 %) need it in 3 items." in drawing.alt
    assert "not decided yet 7 cells (3 items)" in drawing.alt


DECISIONS = {
    5: ("decided", CD4, "resolved"), 6: ("decided", CD4, "resolved"), 7: ("decided", "", "unseen"),
    8: ("skipped", "", ""), 9: ("conflict", "", ""), 10: ("decided", LYMPHOCYTE, "resolved"),
}  # fmt: skip
"""Cells 5 to 7 were called alpha-beta T cell, 8 and 9 nothing, 10 and 11 lymphocyte."""


def test_decisions_by_hand(make_run: Any, cl: CellOntology) -> None:
    run = make_run(ROWS)
    queue(run, 4)
    decide(run, DECISIONS)
    found = review_counts(counted(run, cl))
    assert found.cells == {"confirmed": 1, "changed": 3, "conflict": 1, "reopened": 0, "skipped": 1, "open": 1}
    assert found.n_decided == 4
    rows = tables(run, cl)["review_funnel"].rows.set_index("stage")
    assert rows.loc["decided", "n_cells"] == 4
    assert rows.loc["decided otherwise", "n_cells"] == 3
    assert rows.loc["not decided yet", "n_cells"] == 1
    assert rows.loc["decided", "review_share"] == pytest.approx(4 / 7)
    changes = tables(run, cl)["review_changes"].rows
    assert changes[["call_label", "final_term", "final_label", "n_cells"]].to_numpy().tolist() == [
        ["mature alpha-beta T cell", CD4, "CD4-positive, alpha-beta T cell", 2],
        ["mature alpha-beta T cell", "", "unseen", 1],
    ]


def test_bars_of_the_funnel_are_to_scale(make_run: Any, cl: CellOntology) -> None:
    run = make_run(ROWS)
    queue(run, 4)
    decide(run, DECISIONS)
    drawing = funnel_drawing(review_counts(counted(run, cl)))
    assert drawing is not None
    bars: dict[float, list[float]] = {}
    for patch in drawing.figure.axes[0].patches:
        if hasattr(patch, "get_width") and patch.get_height() > 0.2:
            bars.setdefault(round(patch.get_y(), 4), []).append(patch.get_width())
    first, second, third = (bars[y] for y in sorted(bars))
    assert [width / sum(first) for width in first] == pytest.approx([5 / 12, 7 / 12])
    assert [width / sum(second) for width in second] == pytest.approx([1 / 7, 3 / 7, 1 / 7, 1 / 7, 1 / 7])
    assert sum(first) == pytest.approx(sum(second))
    assert sum(third) == pytest.approx(sum(first))


def test_decisions_that_do_not_count_the_cells_for_review_are_refused(make_run: Any, cl: CellOntology) -> None:
    run = make_run(ROWS)
    decide(run, {11: ("", "", "")})
    with pytest.raises(UnreadableFileError, match="6 cells what came of their review, the run has 7"):
        review_counts(counted(run, cl))


def test_decisions_of_another_run_are_passed_over(make_run: Any, cl: CellOntology) -> None:
    run, other = make_run(ROWS), make_run(ROWS[:-1])
    decide(other, {})
    (run.folder / "final.parquet").write_bytes((other.folder / "final.parquet").read_bytes())
    assert not review_counts(counted(run, cl)).applied


def test_damaged_decisions_are_an_error_that_says_what_to_do(make_run: Any, cl: CellOntology) -> None:
    run = make_run(ROWS)
    (run.folder / "final.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(UnreadableFileError, match="Make it again with: celljury apply"):
        review_counts(counted(run, cl))


def test_nothing_to_review_is_not_drawn(make_run: Any, cl: CellOntology) -> None:
    assert funnel_drawing(review_counts(counted(make_run([[B, B, B]] * 3), cl))) is None


def test_columns_are_explained_and_there(make_run: Any, cl: CellOntology) -> None:
    run = make_run(ROWS)
    decide(run, DECISIONS)
    found = tables(run, cl)
    assert list(found) == ["reasons", "reasons_by_term", "review_funnel", "review_changes"]
    for table in found.values():
        assert [column.name for column in table.columns] == table.rows.columns.tolist()
