"""All figures of a report: written, told about, the same each time, and left out where there is nothing to show."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from matplotlib.image import imread

from celljury.errors import OutputError, UnreadableFileError
from celljury.report.counted import Counted, Groups
from celljury.report.figure_set import draw_report_figures
from celljury.report.figures import draw_figures
from celljury.report.levels import load_levels

if TYPE_CHECKING:
    from pathlib import Path

    from celljury.ontology.graph import CellOntology
    from celljury.run import Run

B, CD4, CD8, NEURON = "CL:0000236", "CL:0000624", "CL:0000625", "CL:0000540"
ROWS = [[B, B, B]] * 8 + [[CD4, CD8, CD8]] * 5 + [[B, NEURON, NEURON]] * 3 + [[CD4, CD4, ""]] * 4
NAMES = [
    "composition_cell_class", "composition_cell_class_by_donor_id", "composition_term", "composition_term_by_donor_id",
    "ontology_tree", "alluvial_cell_class", "alluvial_term", "member_agreement", "review_funnel", "reasons_by_term", "cells",
]  # fmt: skip


def counted(run: Run, cl: CellOntology, *, grouped: bool = True) -> Counted:
    n = len(run.calls)
    donors = Groups("donor", "donor/id", ("d1", "d2", "d3"), (np.arange(n) % 3).astype(np.int32))
    return Counted(run, cl, n, "calls", (donors,) if grouped else ())


@pytest.fixture(scope="module")
def run(make_run: Any, cl: CellOntology) -> Run:
    made: Run = make_run(ROWS, space=3)
    draw_figures(made, cl, embedding="pca")
    return made


def test_every_figure_is_written_in_three_formats(run: Run, cl: CellOntology, tmp_path: Path) -> None:
    told: list[int] = []
    drawn = draw_report_figures(
        counted(run, cl), load_levels(cl, ("cell_class", "term")), folder=tmp_path / "figures",
        progress=lambda what, i, n: told.append(i),
    )  # fmt: skip
    assert [figure.name for figure in drawn] == NAMES
    assert told == list(range(len(NAMES) + 1))
    files = sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert files == sorted(f"{name}{suffix}" for name in NAMES for suffix in (".png", ".svg", ".pdf"))
    for figure in drawn:
        pixels = imread(figure.paths[".png"])
        assert len(np.unique(pixels[::3, ::3].reshape(-1, pixels.shape[2]), axis=0)) > 20
        assert figure.title
        assert not figure.title.endswith(".")
        assert figure.about.endswith(".")
        assert "20" in figure.alt, "its main numbers: 20 cells"
        assert figure.alt.split(".")[0] in figure.paths[".svg"].read_text(encoding="utf-8")


def test_same_run_gives_same_bytes(run: Run, cl: CellOntology, tmp_path: Path) -> None:
    levels = load_levels(cl, ("term",))
    for name in ("one", "two"):
        draw_report_figures(counted(run, cl), levels, folder=tmp_path / name)
    first, second = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("one", "two"))
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []


def test_what_has_nothing_to_show_is_left_out_and_the_log_says_why(
    make_run: Any, cl: CellOntology, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = make_run([[B, B, B]] * 3)
    with caplog.at_level(logging.INFO, logger="celljury"):
        drawn = draw_report_figures(counted(run, cl, grouped=False), load_levels(cl, ("term",)), folder=tmp_path)
    assert [figure.name for figure in drawn] == ["composition_term", "ontology_tree", "member_agreement"]
    said = [record.getMessage() for record in caplog.records if record.name == "celljury.report.figure_set"]
    assert "figure review_funnel is left out: no cell needs review" in said
    assert any(line.startswith("figure alluvial_term is left out") for line in said)
    assert any(line.startswith("figure cells is left out") for line in said)
    assert "figures of an evaluation are left out: there is none" in said


def test_run_without_figures_is_placed_now_and_not_again(
    make_run: Any, cl: CellOntology, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(ROWS[:12], space=3)  # fewer than 15 cells: their first two coordinates
    draw = lambda: draw_report_figures(counted(run, cl), (), folder=tmp_path)  # noqa: E731
    assert "cells" in [figure.name for figure in draw()]
    monkeypatch.setattr("celljury.report.figures._embed", lambda *given: pytest.fail("placed again"))
    assert "cells" in [figure.name for figure in draw()]


def test_many_cells_are_not_placed(
    make_run: Any, cl: CellOntology, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(ROWS, space=3)
    monkeypatch.setattr("celljury.report.figure_set.MAX_DRAWN", 10)
    assert "cells" not in [figure.name for figure in draw_report_figures(counted(run, cl), (), folder=tmp_path)]


def test_folder_that_cannot_be_written_is_named(run: Run, cl: CellOntology, tmp_path: Path) -> None:
    (tmp_path / "figures").write_text("a file")
    with pytest.raises(OutputError, match="figures"):
        draw_report_figures(counted(run, cl), (), folder=tmp_path / "figures")


# Of an evaluation -------------------------------------------------------------------------------------------------------


def estimate(value: float | None) -> dict[str, float | None]:
    return {"value": value, "low": value, "high": value, "n": 20}


EVALUATION = {
    "alpha": 0.05,
    "calls": {"covered_error": estimate(0.0125), "coverage": estimate(0.9)},
    "calibration": {"mean_support": estimate(0.97), "share_right": estimate(0.98), "calibration_error": estimate(0.02),
                    "bins": [1, 2]},
    "by_depth": [{"depth": 5, "n": 12, "error": 0.25}, {"depth": 6, "n": 3, "error": None}],
    "unseen": {"absent": "no cell is unseen"},
}  # fmt: skip


def test_figures_of_an_evaluation_are_taken_as_they_are(run: Run, cl: CellOntology, tmp_path: Path) -> None:
    folder = tmp_path / "evaluation"
    folder.mkdir()
    (folder / "evaluation.json").write_text(json.dumps(EVALUATION))
    for name in ("risk_coverage.png", "risk_coverage.svg", "error_by_depth.png"):
        (folder / name).write_bytes(b"as it is")
    drawn = draw_report_figures(counted(run, cl), (), folder=tmp_path / "figures", evaluation=folder)
    found = {figure.name: figure for figure in drawn[-2:]}
    assert list(found) == ["risk_coverage", "error_by_depth"]
    assert found["risk_coverage"].paths == {suffix: folder / f"risk_coverage{suffix}" for suffix in (".png", ".svg")}
    assert "1.2 % (95 % interval 1.2 % to 1.2 %) are wrong; promised were at most 5.0 %" in found["risk_coverage"].alt
    assert "depth 5: 25 % of 12; depth 6: not defined of 3." in found["error_by_depth"].alt
    assert (folder / "risk_coverage.png").read_bytes() == b"as it is"


def test_damaged_evaluation_is_named(run: Run, cl: CellOntology, tmp_path: Path) -> None:
    (tmp_path / "evaluation.json").write_text("{")
    with pytest.raises(UnreadableFileError, match="celljury evaluate"):
        draw_report_figures(counted(run, cl), (), folder=tmp_path / "figures", evaluation=tmp_path)
