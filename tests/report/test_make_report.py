"""A report of a run: its numbers are the run's, nothing of the run changes, and what is out of date is said first."""

from __future__ import annotations

import csv
import json
import re
import shutil
from html import unescape
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from review_pack import made_run

from celljury.errors import CelljuryError, ConfigError, MissingColumnError, OutputError, UnreadableFileError
from celljury.origin import ontology_of
from celljury.provenance import sha256
from celljury.report import make as making
from celljury.report.counted import counted_cells
from celljury.report.make import ABOUT, PAGE, make_report
from celljury.report.page_tables import MOST_ROWS
from celljury.report.report_glance import is_calibrated
from celljury.report.report_notes import notes_of
from celljury.run import Run

if TYPE_CHECKING:
    from pathlib import Path

    from celljury.report.make import Report

HOSTILE = "<script>alert(1)</script>\"'&" + "x" * 300
N = 1500
OURS = {"tables", "figures", "methods.md", "references.bib", ABOUT, PAGE}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 1,500 cells of three samples, 200 of them for review; tests get copies."""
    folder = tmp_path_factory.mktemp("report") / "run"
    made_run(folder, n_cells=N, n_items=30, n_review=200, n_genes=10, n_terms=12, n_samples=3)
    return folder


@pytest.fixture(scope="module")
def cells(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Donor, condition and a column with other people's text, of each cell."""
    path = tmp_path_factory.mktemp("cells") / "cells.tsv"
    names = pd.read_parquet(made / "calls.parquet", columns=["cell_id", "term"])
    i = np.arange(N)
    pd.DataFrame(
        {
            "cell_id": names["cell_id"],
            "donor": [f"d{k}" for k in i % 4],
            "disease": np.where(i % 4 < 2, "flu", "none"),
            "text": np.where(i % 2 == 0, HOSTILE, "plain"),
            "truth": names["term"].astype(object).fillna("unknown"),
        }
    ).to_csv(path, sep="\t", index=False)
    return path


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Run:
    """A run of a test's own."""
    shutil.copytree(made, tmp_path / "run")
    return Run.open(tmp_path / "run")


@pytest.fixture(scope="module")
def whole(
    made: Path, cells: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Report, dict[str, str], dict[str, str]]:
    """A report with all there is, and the hashes of the run's files before and after it."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    shutil.copytree(made, folder)
    before = hashes(folder)
    found = make_report(
        Run.open(folder), donor="donor", condition="disease", by=("text",), query=cells, truth="truth",
    )  # fmt: skip
    return found, before, hashes(folder)


def hashes(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def text_of(page: str) -> str:
    """The words of a page, without markup."""
    body = re.sub(r"(?s)<(style|script)>.*?</\1>", " ", page)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", body)).split())


def test_nothing_that_the_run_held_changes(whole: tuple[Report, dict[str, str], dict[str, str]]) -> None:
    _, before, after = whole
    assert {name: after.get(name) for name in before} == before
    assert {name.split("/")[0] for name in set(after) - set(before)} == OURS


def test_no_half_file_is_left(whole: tuple[Report, dict[str, str], dict[str, str]]) -> None:
    assert not [name for name in whole[2] if name.endswith(".partial")]


def test_page_is_written_last_and_report_json_names_every_file_with_its_hash(
    whole: tuple[Report, dict[str, str], dict[str, str]],
) -> None:
    found, before, after = whole
    about = json.loads((found.folder / ABOUT).read_text(encoding="utf-8"))
    assert found.written[-1] == found.page
    assert about["files"] == {name: digest for name, digest in after.items() if name not in {*before, ABOUT, PAGE}}
    assert about["sources"]["calls.parquet"] == before["calls.parquet"]
    assert about["n_cells"] == N
    assert about["n_review"] == 200


def test_first_page_counts_what_the_calls_hold(whole: tuple[Report, dict[str, str], dict[str, str]]) -> None:
    found, _, _ = whole
    calls = pd.read_parquet(found.folder / "calls.parquet", columns=["status", "needs_review"])
    assert found.glance.n_by_status == {
        status: int((calls["status"].astype(str) == status).sum())
        for status in ("resolved", "backed_off", "unresolved", "unseen")
    }
    assert found.glance.review.n_review == int(calls["needs_review"].sum()) == 200
    for _, rows in found.glance.levels:
        assert int(rows["n_cells"].sum()) == N
        assert int(rows["n_review"].sum()) == 200


def test_page_says_the_promise_in_its_own_words_and_how_sure_it_is(
    whole: tuple[Report, dict[str, str], dict[str, str]],
) -> None:
    found, _, _ = whole
    text = text_of(found.page.read_text(encoding="utf-8"))
    assert "Made cells: nothing is promised." in text
    # There is no calibration behind these cells: no number may be read as a probability.
    assert "this run has no calibrated probability" in text.split("hematopoietic", maxsplit=1)[0]
    assert "mean calibrated probability" not in text


def test_every_table_and_figure_is_in_the_page(whole: tuple[Report, dict[str, str], dict[str, str]]) -> None:
    found, _, _ = whole
    page = found.page.read_text(encoding="utf-8")
    assert page.count("<figure>") == len(found.figures) > 4
    assert page.count('class="sortable"') == len(found.tables)
    assert {"confusion", "donors", "cells", "fractions"} <= {table.name.split("_")[0] for table in found.tables}


def test_long_tables_are_cut_in_the_page_and_whole_in_their_files(
    whole: tuple[Report, dict[str, str], dict[str, str]],
) -> None:
    found, _, _ = whole
    page = found.page.read_text(encoding="utf-8")
    for table in found.tables:
        with (found.folder / "tables" / f"{table.name}.tsv").open(encoding="utf-8", newline="") as file:
            assert sum(1 for _ in csv.reader(file, delimiter="\t")) == len(table.rows) + 1
        if len(table.rows) > 2 * MOST_ROWS:
            assert f"tables/{table.name} (tsv" in page


def test_text_of_others_never_becomes_markup(whole: tuple[Report, dict[str, str], dict[str, str]]) -> None:
    page = whole[0].page.read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert page.count("<script>") == 1
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_page_names_no_address_that_a_browser_would_ask_for(
    whole: tuple[Report, dict[str, str], dict[str, str]],
) -> None:
    page = whole[0].page.read_text(encoding="utf-8")
    assert set(re.findall(r'(?:src|href)="(data:|#|[^"]{1,20})', page)) <= {"data:", "#"}
    assert not re.search(r"<(link|iframe|object|embed|form|base|video|audio)\b", page)
    assert "url(" not in page.replace("data:", "")


# Again, elsewhere, and not to the end ------------------------------------------------------------------------------------


def test_made_again_it_has_the_same_files(run: Run) -> None:
    first = make_report(run, figures=False)
    before = hashes(run.folder)
    again = make_report(run, figures=False)
    after = hashes(run.folder)
    assert again.written == first.written
    # Workbook, report.json and page hold the time.
    assert {name for name in before if before[name] != after[name]} <= {"tables/tables.xlsx", ABOUT, PAGE}


def test_what_an_earlier_report_made_goes_unless_somebody_changed_it(run: Run, cells: Path) -> None:
    first = make_report(run, levels=("cell_class",), by=("disease",), query=cells)
    of_groups = [path for path in first.written if path.parent.name == "figures" and "disease" in path.name]
    assert len(of_groups) == 3
    of_groups[0].write_bytes(b"changed by hand")
    (run.folder / "figures" / "mine.png").write_bytes(b"mine")
    make_report(run, levels=("cell_class",))
    assert [path.exists() for path in of_groups] == [True, False, False]
    assert (run.folder / "figures" / "mine.png").exists()
    assert not list((run.folder / "tables").glob("*disease*"))


def test_other_folder_takes_all_and_the_run_stays_as_it_is(run: Run, tmp_path: Path) -> None:
    before = hashes(run.folder)
    found = make_report(run, levels=("cell_class",), out=tmp_path / "out", figures=False)
    assert hashes(run.folder) == before
    assert {path.name for path in (tmp_path / "out").iterdir()} == OURS
    assert found.page == tmp_path / "out" / PAGE


def test_folder_with_a_paper_in_it_is_left_alone(run: Run, tmp_path: Path) -> None:
    paper = tmp_path / "paper"
    paper.mkdir()
    (paper / "references.bib").write_text("@article{mine}", encoding="utf-8")
    with pytest.raises(OutputError, match=r"holds references\.bib, which no report made"):
        make_report(run, levels=("cell_class",), out=paper, figures=False)
    assert [path.name for path in paper.iterdir()] == ["references.bib"]


def test_table_that_somebody_changed_stays(run: Run, cells: Path) -> None:
    first = make_report(run, levels=("cell_class",), by=("disease",), query=cells, figures=False)
    mine, other = sorted(path for path in first.written if "disease" in path.name)[:2]
    mine.write_text("changed by hand", encoding="utf-8")
    make_report(run, levels=("cell_class",), figures=False)
    assert mine.read_text(encoding="utf-8") == "changed by hand"
    assert not other.exists()


def test_interrupted_before_the_page_it_leaves_the_page_of_before(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    make_report(run, levels=("cell_class",), figures=False)
    before = (run.folder / PAGE).read_bytes()

    def interrupt(*_: Any) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(making, "report_page", interrupt)
    with pytest.raises(KeyboardInterrupt):
        make_report(run, levels=("term",), figures=False)
    assert (run.folder / PAGE).read_bytes() == before
    monkeypatch.undo()
    assert make_report(run, levels=("term",), figures=False).page.read_bytes() != before


# What stands first --------------------------------------------------------------------------------------------------------


def changed(run: Run, **changes: Any) -> Run:
    """Return the run with another record."""
    record = json.loads((run.folder / "run.json").read_text(encoding="utf-8")) | changes
    (run.folder / "run.json").write_text(json.dumps(record), encoding="utf-8")
    return Run.open(run.folder)


def test_absent_member_and_tier_none_are_warned_of_before_any_number(run: Run) -> None:
    members = [*run.record["members"], {"name": "popv", "absent": "it is not installed"}]
    other = changed(run, members=members, tier="none", alpha=None, warnings=["Few genes."])
    found = make_report(other, levels=("cell_class",), figures=False)
    assert found.warnings == (
        "popv is absent from this run: it is not installed",
        "Few genes.",
        "No error rate is promised for this run (tier none): nothing says how often its calls are wrong.",
    )
    text = text_of(found.page.read_text(encoding="utf-8"))
    assert text.index("3 warnings") < text.index("At a glance 1,500 cells")
    assert "this run has no calibrated probability" in text


def test_batch_unlike_the_held_out_donors_is_warned_of_and_support_is_a_probability(run: Run) -> None:
    other = changed(run, calibration={"exchangeable": {"unlike": ["sample01"]}, "notes": ["A note."]})
    counted = counted_cells(other, ontology_of(other))
    warnings, notes = notes_of(counted, tallies=(), evaluation=None)
    assert [text.split(":")[0] for text in warnings] == [
        "1 of 3 batches are unlike the held-out cells, so no error rate is promised for theirs",
    ]
    assert notes == ("A note.",)
    assert is_calibrated(other.record)
    assert not is_calibrated({**other.record, "tier": "none"})


def test_evaluation_of_an_earlier_run_is_warned_of(run: Run) -> None:
    counted = counted_cells(run, ontology_of(run))
    for made_at, n_warnings in (("2001-01-01T00:00:00+00:00", 1), ("2999-01-01T00:00:00+00:00", 0)):
        warnings, _ = notes_of(counted, tallies=(), evaluation={"made": made_at})
        assert len(warnings) == n_warnings


def test_run_without_warnings_begins_with_its_numbers(run: Run) -> None:
    found = make_report(run, levels=("cell_class",), figures=False)
    assert found.warnings == ()
    assert 'id="warnings"' not in found.page.read_text(encoding="utf-8")


def decide(run: Run, decisions: list[str], sheet: Path) -> None:
    """Take so many decisions from the top of the queue, by spreadsheet."""
    from celljury.review import errands

    sheet.unlink(missing_ok=True)
    errands.write_sheet(run.folder, sheet)
    with sheet.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    for row, decision in zip(rows, decisions, strict=False):
        row["decision"] = decision
    with sheet.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    errands.read_sheet(run.folder, sheet, reviewer="ann")


def test_decisions_that_are_not_applied_are_warned_of_and_applied_ones_are_counted(run: Run, tmp_path: Path) -> None:
    from celljury.review.apply import apply_decisions

    decide(run, ["accept", "accept"], tmp_path / "sheet.tsv")
    before = hashes(run.folder / "review")
    found = make_report(run, levels=("cell_class",), figures=False)
    assert found.warnings == (
        "The decisions taken so far are not in this report: fold them in with celljury apply run, then report again.",
    )
    assert found.glance.steps[0][1] == "celljury apply run"
    assert hashes(run.folder / "review") == before

    n_decided = sum(apply_decisions(run.folder).cells[status] for status in ("decided",))
    found = make_report(run, levels=("cell_class",), figures=False)
    assert found.warnings == ()
    assert found.glance.review.n_decided == n_decided > 0
    page = text_of(found.page.read_text(encoding="utf-8"))
    assert "calls and curators' decisions" in page

    decide(run, ["accept", "accept", "accept"], tmp_path / "sheet.tsv")
    found = make_report(run, levels=("cell_class",), figures=False)
    assert [text.split(" are not in")[0] for text in found.warnings] == ["1 of the 3 decisions, notes and undos"]
    found = make_report(run, levels=("cell_class",), figures=False, calls="calls")
    assert (
        found.warnings[-1] == "Curators' decisions are not counted in this report, which was asked for the calls alone."
    )


# Errors -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"levels": ()}, ConfigError, "needs a level"),
        ({"formats": ("docx",)}, ConfigError, "'docx'"),
        ({"donor": "donor"}, UnreadableFileError, "query.celljury.h5ad"),
        ({"truth": "type"}, UnreadableFileError, "query.celljury.h5ad"),
        ({"calls": "final"}, CelljuryError, "celljury apply"),
        ({"evaluation": "nowhere"}, UnreadableFileError, "no evaluation.json"),
        ({"levels": ("cell_clas",)}, CelljuryError, "cell_class"),
    ],
    ids=[
        "no_level",
        "format",
        "donor_without_h5ad",
        "truth_without_h5ad",
        "final_without_decisions",
        "no_evaluation",
        "level",
    ],
)
def test_mistake_is_said_before_anything_is_written(
    run: Run, options: dict[str, Any], error: type[Exception], said: str
) -> None:
    before = hashes(run.folder)
    with pytest.raises(error, match=re.escape(said)):
        make_report(run, **{"figures": False, **options})
    assert hashes(run.folder) == before


def test_missing_column_names_those_that_are_there(run: Run, cells: Path) -> None:
    with pytest.raises(MissingColumnError, match="donor, disease"):
        make_report(run, donor="patient", query=cells, figures=False)
