"""Where cells under review lie: in the figure's plane, the first components, or the query's own UMAP; halves of items."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from celljury.review import placing
from celljury.review.placing import drawn_rows, halves, place_by_umap, place_cells, points_of
from celljury.run import Run, part_name, write_part

if TYPE_CHECKING:
    from pathlib import Path

N = 40


def run_with(folder: Path, points: np.ndarray | None, *, block: int = 7, figure: pd.DataFrame | None = None) -> Run:
    """A run of cells c00, c01, ... at these points."""
    names = [f"c{i:02d}" for i in range(N)]
    write_part(pa.table({"cell_id": names}), folder / "calls.parquet")
    for i, start in enumerate(range(0, N, block)):
        table = pa.table({"cell_id": names[start : start + block]})
        if points is not None:
            here = np.ascontiguousarray(points[start : start + block], np.float32)
            column = pa.FixedSizeListArray.from_arrays(pa.array(here.ravel()), points.shape[1])
            table = table.append_column("_space", column)
        write_part(table, folder / "votes" / part_name(i))
    if figure is not None:
        (folder / "figures").mkdir()
        figure.to_parquet(folder / "figures" / "embedding.parquet", index=False)
    return Run(folder)


@pytest.fixture
def points() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(N, 4)).astype(np.float32)


def test_points_are_those_of_the_rows_asked_for(tmp_path: Path, points: np.ndarray) -> None:
    run = run_with(tmp_path, points)
    for rows in ([39, 0, 6, 7, 0], [20], [], list(range(N))):
        found = points_of(run, np.array(rows, np.int64))
        assert found is not None
        np.testing.assert_array_equal(found, points[rows])


def test_run_on_labels_has_no_points(tmp_path: Path) -> None:
    assert points_of(run_with(tmp_path, None), np.array([1, 2])) is None


def umap_of(drawn: list[int]) -> pd.DataFrame:
    # The plane is a multiple of the first two coordinates, so that places can be told.
    return pd.DataFrame({"cell_id": [f"c{i:02d}" for i in drawn], "label": "T cell"})


def test_cell_that_is_drawn_keeps_its_place_and_others_lie_among_their_neighbours(
    tmp_path: Path, points: np.ndarray
) -> None:
    drawn = [3, 5, 8, 13, 21, 34, 35, 36]
    plane = np.random.default_rng(1).normal(size=(len(drawn), 2)).astype(np.float32)
    run = run_with(tmp_path, points, figure=umap_of(drawn).assign(UMAP1=plane[:, 0], UMAP2=plane[:, 1]))
    rows = np.array([8, 2, 21, 39])
    placed = place_cells(run, rows, points[rows])
    assert placed.name == "UMAP"
    assert placed.drawn.tolist() == drawn
    np.testing.assert_array_equal(placed.drawn_xy, plane)
    np.testing.assert_array_equal(placed.xy[[0, 2]], plane[[2, 4]])
    for row, found in zip(rows[[1, 3]], placed.xy[[1, 3]], strict=True):
        distance = np.linalg.norm(points[drawn].astype(np.float64) - points[row], axis=1)
        near = np.argsort(distance)[: placing.N_NEIGHBORS]
        expected = np.average(plane[near], axis=0, weights=1 / distance[near])
        np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_cell_on_top_of_a_drawn_one_takes_its_place(tmp_path: Path, points: np.ndarray) -> None:
    points[9] = points[8]
    drawn = [3, 5, 8, 13, 21, 34]
    plane = np.arange(12, dtype=np.float32).reshape(6, 2)
    run = run_with(tmp_path, points, figure=umap_of(drawn).assign(UMAP1=plane[:, 0], UMAP2=plane[:, 1]))
    placed = place_cells(run, np.array([9]), points[[9]])
    np.testing.assert_allclose(placed.xy, plane[[2]], rtol=1e-3)


@pytest.mark.parametrize(
    "figure",
    [
        pytest.param(None, id="no_figure"),
        pytest.param(umap_of([1, 2]).assign(PC1=0.0, PC2=0.0), id="figure_of_components"),
        pytest.param(umap_of([1, 99]).assign(UMAP1=0.0, UMAP2=0.0), id="figure_of_other_cells"),
    ],
)
def test_first_components_where_there_is_no_umap(
    tmp_path: Path, points: np.ndarray, figure: pd.DataFrame | None
) -> None:
    run = run_with(tmp_path, points, figure=figure)
    placed = place_cells(run, np.array([8, 2]), points[[8, 2]])
    assert placed.name == "PC"
    np.testing.assert_array_equal(placed.xy, points[[8, 2], :2])
    np.testing.assert_array_equal(placed.drawn_xy, points[:, :2])


def test_space_of_one_component_is_a_plane(tmp_path: Path, points: np.ndarray) -> None:
    run = run_with(tmp_path, points[:, :1])
    assert place_cells(run, np.array([8]), points[[8], :1]).xy.tolist() == [[pytest.approx(float(points[8, 0])), 0]]


def test_background_is_a_sample_that_does_not_depend_on_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placing, "MAX_DRAWN", 10)
    names = np.array([f"c{i:02d}" for i in range(N)], object)
    rows = drawn_rows(names)
    assert len(rows) == 10
    assert (np.diff(rows) > 0).all()
    order = np.random.default_rng(0).permutation(N)
    assert set(names[order][drawn_rows(names[order])]) == set(names[rows])


# The query's own UMAP -------------------------------------------------------------------------------------------


@pytest.fixture
def labelled() -> ad.AnnData:
    names = [f"c{i:02d}" for i in range(N)]
    plane = np.random.default_rng(2).normal(size=(N, 2))
    return ad.AnnData(obs=pd.DataFrame(index=names), obsm={"X_umap": plane})


def test_umap_of_an_object_and_of_its_file_are_the_same(tmp_path: Path, labelled: ad.AnnData) -> None:
    path = tmp_path / "labelled.h5ad"
    labelled.write_h5ad(path)
    names = labelled.obs_names.to_numpy(dtype=object)
    for query in (labelled, path, str(path)):
        placed = place_by_umap(query, np.array([5, 3]), names)
        assert placed is not None
        assert placed.name == "X_umap"
        np.testing.assert_allclose(placed.xy, labelled.obsm["X_umap"][[5, 3]], rtol=1e-6)
        np.testing.assert_allclose(placed.drawn_xy, labelled.obsm["X_umap"], rtol=1e-6)


def test_query_without_a_usable_umap_has_no_place(tmp_path: Path, labelled: ad.AnnData) -> None:
    names, rows = labelled.obs_names.to_numpy(dtype=object), np.array([5, 3])
    bare = labelled.copy()
    del bare.obsm["X_umap"]
    bare.write_h5ad(tmp_path / "bare.h5ad")
    missing = labelled.copy()
    missing.obsm["X_umap"][3] = np.nan
    table = tmp_path / "labels.tsv"
    table.write_text("cell_id\ta\n", encoding="utf-8")
    for query in (None, bare, tmp_path / "bare.h5ad", missing, table, tmp_path / "gone.h5ad", pd.DataFrame()):
        assert place_by_umap(query, rows, names) is None
    assert place_by_umap(labelled, rows, names[:-1]) is None


# Halves ---------------------------------------------------------------------------------------------------------


def test_two_groups_in_an_item_are_its_halves() -> None:
    rng = np.random.default_rng(3)
    first, second = rng.normal(size=(30, 5)), rng.normal(size=(12, 5)) + 6
    half = halves(np.concatenate([first, second]).astype(np.float32), np.array([0]))
    # The second group lies higher in every coordinate.
    assert half.tolist() == [0] * 30 + [1] * 12


def test_items_are_cut_on_their_own() -> None:
    item = np.array([[0, 0], [0, 1], [9, 0], [9, 1]], np.float32)
    points = np.concatenate([item, item[:, ::-1] + 100, item[:1]])
    assert halves(points, np.array([0, 4, 8])).tolist() == [0, 0, 1, 1, 0, 0, 1, 1, 0]


@pytest.mark.parametrize(
    "points",
    [
        pytest.param(np.full((4, 3), 0.1, np.float32), id="all_at_one_point"),
        pytest.param(np.full((1, 3), 7, np.float32), id="one_cell"),
        pytest.param(np.zeros((0, 3), np.float32), id="no_cell"),
    ],
)
def test_cells_at_one_point_have_one_half(points: np.ndarray) -> None:
    assert halves(points, np.zeros(min(len(points), 1), np.int64)).tolist() == [0] * len(points)


@settings(deadline=None)
@given(
    arrays(np.float32, st.tuples(st.integers(1, 12), st.integers(1, 3)), elements=st.integers(-3, 3).map(float)),
    st.integers(1, 3),
)
def test_halves_hold_cells_wherever_points_differ_and_depend_on_the_item_alone(points: np.ndarray, copies: int) -> None:
    (n, _), far = points.shape, np.arange(copies)[:, None, None] * np.float32(0)
    many = np.concatenate(points[None] + far)
    half = halves(many, np.arange(copies) * n)
    assert half.reshape(copies, n).tolist() == [half[:n].tolist()] * copies
    assert len(set(half[:n].tolist())) == min(len(np.unique(points, axis=0)), 2)
