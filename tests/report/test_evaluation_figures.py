"""Figures of an evaluation: written, readable, and drawn for one cell as for many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

from celljury.report import evaluation_figures
from celljury.report.evaluation_figures import draw_evaluation

if TYPE_CHECKING:
    from pathlib import Path

UNSEEN = {
    "auroc": {"value": 0.9},
    "n_unseen": 20,
    "n_seen": 80,
    "caught": {"value": 0.6},
    "false_unseen": {"value": 0.05},
}
STEMS = ["error_by_depth", "reliability", "risk_coverage", "unseen_roc"]


def tables(n: int) -> dict[str, pd.DataFrame]:
    """Tables of ``n`` rows each; the intervals of the last row are not defined."""
    part = np.linspace(0, 1, n + 1)[1:]
    low = np.where(np.arange(n) == n - 1, np.nan, part * 0.1)
    return {
        "risk_coverage": pd.DataFrame(
            {"score": 1 - part, "coverage": part, "risk": part * 0.2, "information": part * 0.8, "information_risk": part * 0.1}
        ),
        "reliability": pd.DataFrame(
            {"low_support": part - 0.5 / n, "high_support": part, "n": 10, "mean_support": part, "share_right": part * 0.9,
             "low": low, "high": np.where(np.isnan(low), np.nan, 1.0)}
        ),
        "by_depth": pd.DataFrame(
            {"depth": np.arange(n) + 3, "n": 1000, "error": part * 0.2, "low": low, "high": part * 0.3,
             "error_lenient": part * 0.1}
        ),
        "unseen_roc": pd.DataFrame(
            {"p_seen": 1 - np.append(np.inf, part), "false_positive_rate": np.append(0, part**2),
             "true_positive_rate": np.append(0, part)}
        ),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("n", "alpha"),
    [
        pytest.param(1, None, id="one_row_no_promise"),
        pytest.param(2, 0.05, id="two_rows"),
        pytest.param(15, 0.05, id="many_rows"),
    ],
)
def test_pictures_are_written_and_open(tmp_path: Path, n: int, alpha: float | None) -> None:
    paths = draw_evaluation(tmp_path, tables(n), alpha=alpha, unseen=UNSEEN)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        f"{s}{end}" for s in STEMS for end in (".png", ".svg")
    )
    for path in paths:
        if path.suffix == ".png":
            pixels = imread(path)
            assert min(pixels.shape[:2]) > 400
            assert len(np.unique(pixels[::4, ::4].reshape(-1, pixels.shape[2]), axis=0)) > 20
        else:
            assert path.read_text(encoding="utf-8").startswith("<?xml")


def test_what_has_no_numbers_is_not_drawn(tmp_path: Path) -> None:
    empty = {name: table.iloc[:0] for name, table in tables(2).items() if name != "unseen_roc"}
    assert draw_evaluation(tmp_path, empty, alpha=None, unseen={"absent": "not known"}) == []
    assert list(tmp_path.iterdir()) == []


def texts(figure: Any) -> list[str]:
    legends = [*figure.legends, *(panel.get_legend() for panel in figure.axes if panel.get_legend())]
    return [text.get_text() for legend in legends for text in legend.get_texts()]


@pytest.mark.parametrize("draw", ["_draw_risk", "_draw_depth"])
def test_promise_is_a_line_with_its_number(draw: str) -> None:
    table = tables(5)["risk_coverage" if draw == "_draw_risk" else "by_depth"]
    assert "promised error 5%" in texts(getattr(evaluation_figures, draw)(table, 0.05))
    assert not any("promised" in text for text in texts(getattr(evaluation_figures, draw)(table, None)))


def test_nothing_is_drawn_outside_the_panel() -> None:
    drawn = [
        evaluation_figures._draw_risk(tables(9)["risk_coverage"], 0.5),
        evaluation_figures._draw_reliability(tables(9)["reliability"]),
        evaluation_figures._draw_depth(tables(9)["by_depth"], 0.5),
        evaluation_figures._draw_roc(tables(9)["unseen_roc"], UNSEEN),
    ]
    for figure in drawn:
        for panel in figure.axes:
            low, high = panel.get_ylim()
            left, right = panel.get_xlim()
            for line in panel.get_lines():
                if line.get_linestyle() in (":", "--"):  # guides may run on beyond the cells
                    continue
                y, x = np.asarray(line.get_ydata(), float), np.asarray(line.get_xdata(), float)
                assert (y[np.isfinite(y)] >= low).all()
                assert (y[np.isfinite(y)] <= high).all()
                assert (x >= left).all()
                assert (x <= right).all()


def test_depths_name_their_cells() -> None:
    (panel,) = evaluation_figures._draw_depth(tables(3)["by_depth"], None).axes
    assert [label.get_text() for label in panel.get_xticklabels()] == ["3\n1,000", "4\n1,000", "5\n1,000"]


def test_roc_marks_where_the_run_stands() -> None:
    (panel,) = evaluation_figures._draw_roc(tables(5)["unseen_roc"], UNSEEN).axes
    marks = [line for line in panel.get_lines() if line.get_marker() == "D"]
    assert [(float(m.get_xdata()[0]), float(m.get_ydata()[0])) for m in marks] == [(0.05, 0.6)]
    without = {key: value for key, value in UNSEEN.items() if key != "caught"}
    (panel,) = evaluation_figures._draw_roc(tables(5)["unseen_roc"], without).axes
    assert all(line.get_marker() != "D" for line in panel.get_lines())
