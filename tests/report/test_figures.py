"""Figures: written, readable, and drawn for the smallest and the oddest runs too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

from celljury.report import figures
from celljury.report.figures import TYPE_COLOURS, draw_figures, member_agreement

if TYPE_CHECKING:
    from pathlib import Path

    from celljury.ontology.graph import CellOntology
    from celljury.run import Run

B, CD4, CD8, T, NEURON = "CL:0000236", "CL:0000624", "CL:0000625", "CL:0000084", "CL:0000598"


def check_png(path: Path) -> None:
    """Hold that the picture opens, is not tiny and not blank."""
    pixels = imread(path)
    assert min(pixels.shape[:2]) > 200
    assert len(np.unique(pixels[::4, ::4].reshape(-1, pixels.shape[2]), axis=0)) > 20


def files_of(run: Run) -> list[str]:
    return sorted(path.name for path in (run.folder / "figures").iterdir())


@pytest.mark.parametrize(
    ("rows", "space"),
    [
        pytest.param([[B, B, B]], 5, id="one_cell"),
        pytest.param([[B, B, CD4]] * 3 + [[CD4, CD4, CD4]] * 4, 5, id="few_cells"),
        pytest.param([[B, NEURON, NEURON], ["", "", ""]] * 5, 5, id="no_resolved_cell"),
        pytest.param([["", "", ""]] * 3, 5, id="no_vote"),
        pytest.param([[B, B, B], [CD4, NEURON, B]] * 10, 5, id="some_unresolved"),
        pytest.param([[B, B, B], [CD4, CD4, CD4]] * 10, 1, id="one_coordinate"),
    ],
)
def test_files_are_written_and_open(make_run: Any, cl: CellOntology, rows: list[list[str]], space: int) -> None:
    run = make_run(rows, space=space)
    paths = draw_figures(run, cl, embedding="pca")
    names = ["cells.png", "cells.svg", "member_agreement.png", "member_agreement.svg"]
    assert sorted(path.name for path in paths) == names
    assert files_of(run) == sorted([*names, "embedding.parquet"])
    for path in paths:
        if path.suffix == ".png":
            check_png(path)
        else:
            assert path.read_text(encoding="utf-8").startswith("<?xml")
    embedding = pd.read_parquet(run.folder / "figures" / "embedding.parquet")
    assert embedding["cell_id"].tolist() == [f"cell{i}" for i in range(len(rows))]
    assert embedding[["PC1", "PC2"]].notna().all().all()


def test_labels_without_a_place_give_the_agreement_alone(make_run: Any, cl: CellOntology) -> None:
    run = make_run([[B, B, CD4]] * 3)
    draw_figures(run, cl)
    assert files_of(run) == ["member_agreement.png", "member_agreement.svg"]


def legend_of(run: Run, cl: CellOntology) -> list[str]:
    parts = list(run.parts("votes"))
    cells = figures._drawn_cells(run, parts)
    points = np.stack(cells.pop("_space").to_list())[:, :2]
    drawn = figures._draw_cells(cells, points, "PC", cl)
    return [text.get_text() for legend in drawn.legends for text in legend.get_texts()]


def test_legend_counts_every_cell(make_run: Any, cl: CellOntology) -> None:
    legend = legend_of(make_run([[B, B, B]] * 3 + [[CD4, CD8, CD8]] * 2 + [[B, NEURON, B]], space=3), cl)
    assert sorted(legend) == ["(unresolved) (1)", "1  B cell (3)", "2  mature alpha-beta T cell (2)"]


def test_many_types_share_one_colour_and_one_line(make_run: Any, cl: CellOntology) -> None:
    n_more = 8
    terms = cl.descendants(cl.index(T))[: len(TYPE_COLOURS) + n_more]
    rows = [[cl.ids[i]] * 3 for i in terms for _ in range(2)] + [[B, NEURON, NEURON]]
    run = make_run(rows, space=4)
    legend = legend_of(run, cl)
    assert len(legend) == len(TYPE_COLOURS) + 2
    assert f"other terms ({2 * n_more})" in legend
    assert "(unresolved) (1)" in legend
    check_png(draw_figures(run, cl, embedding="pca")[0])


def test_unresolved_cells_are_drawn_visibly(make_run: Any, cl: CellOntology) -> None:
    """Their crosses are nothing but lines: without a width they would be invisible."""
    run = make_run([[B, NEURON, NEURON]] * 4, space=3)
    cells = figures._drawn_cells(run, list(run.parts("votes")))
    points = np.stack(cells.pop("_space").to_list())[:, :2]
    first = figures._draw_cells(cells, points, "PC", cl).axes[0]
    assert [float(width) for drawn in first.collections for width in drawn.get_linewidths()] == [0.8]


def test_sample_of_many_cells_does_not_depend_on_their_order(
    make_run: Any, cl: CellOntology, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "MAX_DRAWN", 10)
    run = make_run([[B, B, B], [CD4, CD4, CD4]] * 15, space=3, block=7)
    cells = figures._drawn_cells(run, list(run.parts("votes")))
    assert len(cells) == 10
    expected = [
        "B cell" if int(name.removeprefix("cell")) % 2 == 0 else cl.labels[cl.index(CD4)] for name in cells["cell_id"]
    ]
    assert cells["label"].tolist() == expected, "places, names and calls belong together"
    longer = make_run([[B, B, B], [CD4, CD4, CD4]] * 15, space=3, block=30)
    assert figures._drawn_cells(longer, list(longer.parts("votes")))["cell_id"].tolist() == cells["cell_id"].tolist()


@pytest.mark.parametrize(
    ("n_cells", "embedding", "name"),
    [
        pytest.param(14, "umap", "PC", id="too_few_for_umap"),
        pytest.param(40, "pca", "PC", id="as_asked"),
    ],
)
def test_embedding(n_cells: int, embedding: str, name: str) -> None:
    points = np.random.default_rng(0).normal(size=(n_cells, 4)).astype(np.float32)
    flat, found = figures._embed(points, embedding)
    assert found == name
    np.testing.assert_array_equal(flat, points[:, :2])


# Agreement between members ----------------------------------------------------------------------------------------


def test_member_agreement_by_hand(make_run: Any) -> None:
    run = make_run([[B, B, CD4], [B, B, B], [CD4, CD8, ""], [T, T, ""]])
    # Calls: lymphocyte, B cell, mature alpha-beta T cell, T cell.
    expected = pd.DataFrame(
        [[1, 2 / 4, 2 / 4, 1 / 2], [2 / 4, 1, 3 / 4, 1 / 2], [2 / 4, 3 / 4, 1, 1 / 2], [1 / 2, 1 / 2, 1 / 2, 1]],
        index=["call", "a", "b", "c"],
        columns=["call", "a", "b", "c"],
    )
    pd.testing.assert_frame_equal(member_agreement(run), expected)


def test_absent_member_is_not_drawn(make_run: Any) -> None:
    run = make_run([[B, B, ""]], absent={"c": "not installed"})
    assert member_agreement(run).columns.tolist() == ["call", "a", "b"]


def test_member_that_always_abstains_agrees_with_nobody_and_conflicts_with_nobody(
    make_run: Any, cl: CellOntology
) -> None:
    run = make_run([[B, B, ""], [CD4, B, ""]])
    table = member_agreement(run)
    assert table["c"].isna().all()
    assert table.loc["a", "b"] == 0.5
    check_png(draw_figures(run, cl)[0])
