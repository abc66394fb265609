"""First figures of a run: where its cells lie, and how far members agree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from celljury.report.counted import Counted
from celljury.report.figure_agreement import agreement_drawing
from celljury.report.figure_style import (
    GREY,
    INK,
    MUTED,
    SMALL,
    STRANGE,
    TITLE,
    TYPE_COLOURS,
    WIDTH,
    Drawing,
    new_figure,
    save_figure,
    styled,
)
from celljury.report.figure_text import percent
from celljury.report.member_agreement import agreement_of
from celljury.report.summary import top_share
from celljury.report.vote_patterns import pattern_rows, present_members, vote_patterns

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from celljury.ontology.graph import CellOntology
    from celljury.run import Run

MAX_DRAWN = 20_000
SEED = 0


def draw_figures(run: Run, ontology: CellOntology, *, embedding: str = "auto") -> list[Path]:
    """Draw the first figure set into ``figures/`` as PNG and SVG and return the paths.

    Parameters
    ----------
    embedding
        ``umap``, ``pca``, or ``auto``: UMAP where umap-learn is installed and the run has 15 cells or more.
    """
    folder = run.folder / "figures"
    folder.mkdir(exist_ok=True)
    made = []
    if (placed := place_cells(run, folder, embedding=embedding)) is not None:
        cells, points, name = placed
        made += _saved(cells_drawing(cells, points, name, ontology, n_cells=_n_cells(run)), folder)
    counted = Counted(run, ontology, _n_cells(run), "calls", ())
    agreement = agreement_drawing(agreement_of(vote_patterns(counted), ontology), counted.n_cells)
    if agreement is not None:
        made += _saved(agreement, folder)
    return made


def place_cells(
    run: Run, folder: Path, *, embedding: str = "auto"
) -> tuple[pd.DataFrame, NDArray[np.float32], str] | None:
    """Place cells for drawing, write ``embedding.parquet`` and return what `cells_drawing` takes; None = labels only."""
    parts = [part for part in run.parts("votes") if "_space" in part.column_names]
    if not parts:
        return None
    cells = _drawn_cells(run, parts)
    points, name = _embed(np.stack(cells.pop("_space").to_list()), embedding)
    cells[[f"{name}1", f"{name}2"]] = points
    partial = folder / "embedding.parquet.partial"
    cells.to_parquet(partial, index=False)
    partial.replace(folder / "embedding.parquet")
    return cells, points, name


def placed_cells(folder: Path) -> tuple[pd.DataFrame, NDArray[np.float32], str] | None:
    """Return what an earlier `place_cells` left in a folder; None = nothing."""
    path = folder / "embedding.parquet"
    if not path.is_file():
        return None
    cells = pd.read_parquet(path)
    name = "UMAP" if "UMAP1" in cells else "PC"
    return cells, cells[[f"{name}1", f"{name}2"]].to_numpy(np.float32), name


def _saved(drawing: Drawing, folder: Path) -> list[Path]:
    stem = folder / drawing.name
    return list(
        save_figure(drawing.figure, stem, title=drawing.title, alt=drawing.alt, formats=(".png", ".svg")).values()
    )


def _n_cells(run: Run) -> int:
    import pyarrow.parquet as pq

    return int(pq.read_metadata(run.calls_path).num_rows)


def member_agreement(run: Run) -> pd.DataFrame:
    """Return the share of cells on which two members (and the call) name the same term, of those where both spoke."""
    names = present_members(run.record)
    columns = ["term", "status", *(f"vote_{name}" for name in names)]
    calls = pd.read_parquet(run.calls_path, columns=columns)
    rows = calls.groupby(columns, observed=True, dropna=False).size().rename("n_cells").reset_index()
    patterns = pattern_rows(rows, names)
    return pd.DataFrame(agreement_of(patterns, None).same, index=["call", *names], columns=["call", *names])


def _drawn_cells(run: Run, parts: list[Any]) -> pd.DataFrame:
    """Return the cells that are drawn: all of them, or a sample that does not depend on their order."""
    from pandas.util import hash_array

    placed = pd.concat([part.select(["cell_id", "_space"]).to_pandas() for part in parts], ignore_index=True)
    calls = pd.read_parquet(run.calls_path, columns=["label", "depth", "status", "p_seen"]).assign(
        same_term=top_share(run)
    )
    cells = pd.concat([placed, calls], axis=1)
    if len(cells) > MAX_DRAWN:
        chosen = np.argsort(hash_array(cells["cell_id"].to_numpy(dtype=object)), kind="stable")[:MAX_DRAWN]
        cells = cells.iloc[np.sort(chosen)].reset_index(drop=True)
    return cells


def _embed(points: NDArray[np.float32], embedding: str) -> tuple[NDArray[np.float32], str]:
    from importlib.util import find_spec

    few = len(points) < 15
    if embedding == "pca" or few or (embedding == "auto" and find_spec("umap") is None):
        flat = points[:, :2] if points.shape[1] > 1 else np.pad(points, ((0, 0), (0, 1)))
        return flat, "PC"
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # umap warns about its own seeding and numba's caches
        import umap

        found = umap.UMAP(random_state=SEED, n_jobs=1, n_neighbors=min(15, len(points) - 1)).fit_transform(points)
    return np.asarray(found, np.float32), "UMAP"


def cells_drawing(
    cells: pd.DataFrame, points: NDArray[np.float32], name: str, ontology: CellOntology, *, n_cells: int
) -> Drawing:
    """Return the panels of cells by call, agreement, depth and p of belonging to the reference.

    Parameters
    ----------
    cells
        ``label``, ``status``, ``depth``, ``p_seen`` and ``same_term`` of the drawn cells.
    points
        Where they lie, (n_drawn, 2).
    name
        Of the two axes: ``UMAP`` or ``PC``.
    n_cells
        Cells of the run, of which these may be a sample.
    """
    title = f"Cells by call, agreement and depth ({name})"
    about = (
        "A dot is a cell; cells with similar expression lie together. Numbers at groups of cells are those of the key."
        " Crosses are unresolved, triangles unseen. Agreement is the largest share of a cell's votes on one term."
        " Distances between groups on a UMAP mean little. As the run called the cells."
    )
    shown = _shown_labels(cells).value_counts()
    said = [f"{label} {n:,} ({percent(n / len(cells))})" for label, n in shown.items()]
    alt = f"{name} of {len(cells):,} of {n_cells:,} cells. Calls: {'; '.join(said[:12])}."
    return Drawing("cells", title, about, alt, _draw_cells(cells, points, name, ontology, n_cells=n_cells))


def _shown_labels(cells: pd.DataFrame) -> pd.Series:
    labels = cells["label"].astype(object).where(cells["label"].notna(), "(unresolved)")
    return labels.where(cells["status"].astype(str) != "unseen", "(unseen)")


@styled
def _draw_cells(
    cells: pd.DataFrame, points: NDArray[np.float32], name: str, ontology: CellOntology, *, n_cells: int | None = None
) -> Any:
    tested = bool(cells["p_seen"].notna().any())
    figure = new_figure(width=WIDTH, height=6.9)
    panels = figure.subplots(2, 2).ravel()
    size = float(np.clip(4500 / max(len(cells), 1), 0.6, 14))
    labels = _shown_labels(cells)
    counts = labels.value_counts()
    marks = {"(unresolved)": "x", "(unseen)": "^"}  # colour never carries it alone
    named = [label for label in counts.index if label not in marks][: len(TYPE_COLOURS)]
    colour = dict(zip(named, TYPE_COLOURS, strict=False)) | {"(unresolved)": INK, "(unseen)": STRANGE}
    for label in [*counts.index[~counts.index.isin(list(colour))], *reversed(named), *marks]:
        here = (labels == label).to_numpy()
        if here.any():
            panels[0].scatter(
                *points[here].T, s=size, c=colour.get(label, GREY), linewidths=0.8 if label == "(unresolved)" else 0,
                marker=marks.get(label, "o"), label=f"{label} ({here.sum():,})" if label in colour else None,
                rasterized=True,
            )  # fmt: skip
    for number, label in enumerate(named, start=1):
        _number(panels[0], points[(labels == label).to_numpy()], number)
    handles, texts = panels[0].get_legend_handles_labels()
    key = {
        f"{label} ({counts[label]:,})": f"{number}  {label} ({counts[label]:,})"
        for number, label in enumerate(named, 1)
    }
    texts = [key.get(text, text) for text in texts]
    if n_other := int(len(labels) - counts[[label for label in counts.index if label in colour]].sum()):
        handles.insert(0, panels[0].scatter([], [], s=size, c=GREY, linewidths=0))
        texts.insert(0, f"other terms ({n_other:,})")
    # Names of terms can be long: as many columns as fit.
    columns = 3 if max(map(len, texts)) <= 38 else 2
    figure.legend(
        handles[::-1], texts[::-1], loc="outside lower left", ncols=columns, frameon=False, fontsize=SMALL,
        markerscale=max(1.0, (18 / size) ** 0.5),
    )  # fmt: skip
    deepest = max(int(cells["depth"].max()), 1)
    scales = [
        ("same_term", 1, "agreement (largest share of votes on one term)"),
        ("depth", deepest, "depth of the call"),
    ]
    if tested:
        scales.append(("p_seen", 1, "p of belonging to the reference"))
    else:
        panels[3].remove()
    panels[0].set_title("call", loc="left", weight="bold")
    for panel, (column, high, title) in zip(panels[1:], scales, strict=False):
        drawn = panel.scatter(
            *points.T, s=size, c=cells[column], cmap="cividis", vmin=0, vmax=high, linewidths=0, rasterized=True
        )
        bar = figure.colorbar(drawn, ax=panel, shrink=0.7, aspect=26)
        if bar.solids is not None:
            bar.solids.set_rasterized(True)
        panel.set_title(title, loc="left", weight="bold")
    for panel in panels[: 1 + len(scales)]:
        panel.set_xticks([])
        panel.set_yticks([])
        panel.set_xlabel(f"{name} 1")
        panel.set_ylabel(f"{name} 2")
        panel.spines[["top", "right"]].set_visible(False)
    drawn_cells = f"{len(cells):,}" if n_cells in (None, len(cells)) else f"{len(cells):,} of {n_cells:,}"
    said = f"n = {drawn_cells} cells, Cell Ontology {ontology.source.release}"
    figure.suptitle(f"Cells by call, agreement and depth ({name})", x=0.01, ha="left", fontsize=TITLE, weight="bold")
    figure.supxlabel(said, x=0.99, ha="right", fontsize=SMALL, color=MUTED)
    return figure


def _number(panel: Any, points: NDArray[np.float32], number: int) -> None:
    """Write a type's number at the cell nearest to the middle of its cells."""
    from matplotlib.patheffects import withStroke

    middle = np.median(points, axis=0)
    x, y = points[((points - middle) ** 2).sum(axis=1).argmin()].tolist()
    panel.text(x, y, str(number), fontsize=SMALL, weight="bold", color=INK, ha="center", va="center", zorder=5,
               path_effects=[withStroke(linewidth=2, foreground="white")])  # fmt: skip
