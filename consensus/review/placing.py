"""Where the cells under review lie: in the run's embedding, and in which half of their item."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from celljury.stores import open_store, reading, rna_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from celljury.run import Run

MAX_DRAWN: Final = 50_000
"""Cells in the background, where no figure has chosen them: what a browser draws at once without a pause."""

N_NEIGHBORS: Final = 5

N_STEPS: Final = 10
"""Steps of 2-means after the first cut; most items are at rest after three."""

UMAP: Final = "X_umap"


@dataclass(frozen=True, slots=True)
class Placed:
    """Where cells lie in a plane.

    Attributes
    ----------
    name
        Of the embedding: ``UMAP``, ``PC`` or ``X_umap``.
    xy
        Coordinates of the cells asked for, float32 (n, 2).
    drawn
        Rows of the cells in the background, int64 (n_drawn,), ascending; at most `MAX_DRAWN`.
    drawn_xy
        Their coordinates, float32 (n_drawn, 2).
    """

    name: str
    xy: NDArray[np.float32]
    drawn: NDArray[np.int64]
    drawn_xy: NDArray[np.float32]


def points_of(run: Run, rows: NDArray[np.int64]) -> NDArray[np.float32] | None:
    """Return coordinates of these cells in the run's space, float32 (n, n_components); None where the run has none."""
    order = np.argsort(rows, kind="stable")
    ascending = rows[order]
    found: list[NDArray[np.float32]] = []
    start = 0
    for path in sorted((run.folder / "votes").glob("part-*.parquet")):
        if "_space" not in pq.read_schema(path).names:
            return None
        stop = start + pq.read_metadata(path).num_rows
        here = ascending[slice(*np.searchsorted(ascending, [start, stop]))]
        if len(here) or not found:
            column = pq.read_table(path, columns=["_space"])["_space"].combine_chunks()
            found.append(column.flatten().to_numpy().reshape(stop - start, -1)[here - start])
        start = stop
    if not found:
        return None
    points = np.empty((len(rows), found[0].shape[1]), np.float32)
    points[order] = np.concatenate(found)
    return points


def place_cells(run: Run, rows: NDArray[np.int64], points: NDArray[np.float32]) -> Placed:
    """Place cells in the embedding that the run's figure shows; in the first two components where there is no figure.

    A figure of UMAP holds a sample of the cells: they keep their place, every other one is put at the mean of its
    `N_NEIGHBORS` nearest among them, weighed by inverse distance in the run's space. The neighbours are exact: 100,000
    cells among 20,000 took 5.5 s on one core by brute force, and 3 to 17 s by trees, depending on the data.

    Parameters
    ----------
    points
        The cells in the run's space (`points_of`).
    """
    names = pq.read_table(run.calls_path, columns=["cell_id"])["cell_id"].to_pandas().to_numpy(dtype=object)
    figure = run.folder / "figures" / "embedding.parquet"
    if figure.is_file():
        shown = pd.read_parquet(figure)
        axes = shown.columns[-2:]
        name = str(axes[0])[:-1]
        drawn = pd.Index(names).get_indexer(pd.Index(shown["cell_id"]))
        if name != "PC" and len(shown) and (drawn >= 0).all():
            drawn_xy = shown[axes].to_numpy(np.float32)
            return Placed(name, _among(rows, points, run, drawn, drawn_xy), drawn, drawn_xy)
    drawn = drawn_rows(names)
    background = points_of(run, drawn)
    assert background is not None, "some cells of the run have a place, others none"
    return Placed("PC", _plane(points), drawn, _plane(background))


def place_by_umap(query: Any, rows: NDArray[np.int64], cell_ids: NDArray[np.object_]) -> Placed | None:
    """Place cells where the query's own ``obsm["X_umap"]`` has them; None where it has none, or of other cells.

    Parameters
    ----------
    query
        Path of an h5ad, h5mu or zarr, an AnnData or a MuData; anything else has no embedding.
    cell_ids
        Names of all of the run's cells, in its order (n_cells,).
    """
    found = _umap_of(query)
    if found is None or found.shape[0] != len(cell_ids) or found.ndim != 2 or found.shape[1] < 2:
        return None
    plane = np.ascontiguousarray(found[:, :2], np.float32)
    drawn = drawn_rows(cell_ids)
    if not (np.isfinite(plane[rows]).all() and np.isfinite(plane[drawn]).all()):
        return None
    return Placed(UMAP, plane[rows], drawn, plane[drawn])


def drawn_rows(cell_ids: NDArray[np.object_]) -> NDArray[np.int64]:
    """Return the rows of at most `MAX_DRAWN` cells, int64, ascending: a sample that does not depend on their order."""
    from pandas.util import hash_array

    if len(cell_ids) <= MAX_DRAWN:
        return np.arange(len(cell_ids))
    return np.sort(np.argsort(hash_array(cell_ids), kind="stable")[:MAX_DRAWN])


def halves(points: NDArray[np.float32], starts: NDArray[np.int64]) -> NDArray[np.int8]:
    """Return which half of its item each cell lies in, int8 (n,): 0 or 1, and 0 where all its cells lie at one point.

    2-means, begun with a cut through the mean across the item's first principal direction (Boley 1998, PDDP,
    doi:10.1023/A:1009740529316): no random start, so a cell's half depends on its item alone. Half 1 lies in the direction
    of the coordinate in which the two means differ most.

    Parameters
    ----------
    points
        Cells, item after item, float32 (n, n_components).
    starts
        Where each item begins, int64 (n_items,).
    """
    n_cells = np.diff(starts, append=len(points))
    if not len(starts):
        return np.zeros(0, np.int8)
    item = np.repeat(np.arange(len(starts)), n_cells)
    centred = points - (np.add.reduceat(points, starts, axis=0, dtype=np.float64) / n_cells[:, None])[item]
    width = points.shape[1]
    spread = np.empty((len(starts), width, width))
    for i in range(width):
        spread[:, i] = np.add.reduceat(centred * centred[:, [i]], starts, axis=0)
    direction = np.linalg.eigh(spread)[1][:, :, -1]
    side = np.einsum("nd,nd->n", centred, direction[item]) > 0
    for _ in range(N_STEPS):
        means, both = _two_means(centred, side, starts)
        middle, across = means.mean(axis=1), means[:, 1] - means[:, 0]
        moved = np.einsum("nd,nd->n", centred - middle[item], across[item]) > 0
        # An item that a step would empty stays as it was.
        moved = np.where(_both_sides(moved, starts)[item] & both[item], moved, side)
        if np.array_equal(moved, side):
            break
        side = moved
    means, both = _two_means(centred, side, starts)
    across = means[:, 1] - means[:, 0]
    widest = np.abs(across).argmax(axis=1)
    turned = np.take_along_axis(across, widest[:, None], axis=1)[:, 0] < 0
    distinct = np.logical_or.reduceat((points != points[starts][item]).any(axis=1), starts)
    return np.asarray((side ^ turned[item]) & (both & distinct)[item], np.int8)


def _two_means(
    points: NDArray[np.float64], side: NDArray[np.bool_], starts: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the mean of each item's two sides, (n_items, 2, n_components), and whether both hold cells."""
    sums = np.stack([np.add.reduceat(points * here[:, None], starts, axis=0) for here in (~side, side)], axis=1)
    n_cells = np.stack([np.add.reduceat(here.astype(np.int64), starts) for here in (~side, side)], axis=1)
    return sums / np.maximum(n_cells, 1)[:, :, None], np.asarray((n_cells > 0).all(axis=1), np.bool_)


def _both_sides(side: NDArray[np.bool_], starts: NDArray[np.int64]) -> NDArray[np.bool_]:
    return np.logical_or.reduceat(side, starts) & ~np.logical_and.reduceat(side, starts)


def _among(
    rows: NDArray[np.int64],
    points: NDArray[np.float32],
    run: Run,
    drawn: NDArray[np.int64],
    drawn_xy: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Return places of cells among those that are drawn, float32 (n, 2)."""
    from sklearn.neighbors import NearestNeighbors

    by_row = np.argsort(drawn)
    at = by_row[np.minimum(np.searchsorted(drawn[by_row], rows), len(drawn) - 1)]
    xy = drawn_xy[at].copy()
    other = np.flatnonzero(drawn[at] != rows)
    if len(other):
        background = points_of(run, drawn)
        assert background is not None, "some cells of the run have a place, others none"
        search = NearestNeighbors(n_neighbors=min(N_NEIGHBORS, len(drawn)), algorithm="brute").fit(background)
        distance, near = search.kneighbors(points[other])
        # A cell that lies on a drawn one takes its place.
        weight = 1 / np.maximum(distance, 1e-6)
        weight /= weight.sum(axis=1, keepdims=True)
        xy[other] = np.einsum("nk,nkd->nd", weight, drawn_xy[near])
    return xy


def _plane(points: NDArray[np.float32]) -> NDArray[np.float32]:
    return points[:, :2] if points.shape[1] > 1 else np.pad(points, ((0, 0), (0, 1)))


def _umap_of(query: Any) -> NDArray[Any] | None:
    if hasattr(query, "obsm"):
        query = query.mod["rna"] if hasattr(query, "mod") else query
        return np.asarray(query.obsm[UMAP]) if UMAP in query.obsm else None
    if not isinstance(query, (str, Path)) or not str(query).endswith((".h5ad", ".h5mu", ".zarr")):
        return None
    if not Path(query).exists():
        return None
    group = open_store(Path(query))
    with reading(str(query)):
        held = rna_of(group, str(query))
        if "obsm" not in held or UMAP not in held["obsm"] or not hasattr(held["obsm"][UMAP], "shape"):
            return None
        return np.asarray(held["obsm"][UMAP][:])
