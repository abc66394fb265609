"""First figures of a run: where its cells lie, and how far members agree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from celljury.report.summary import top_share

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from celljury.ontology.graph import CellOntology
    from celljury.run import Run

INK, MUTED, GREY, STRANGE = "#1d2733", "#66727f", "#c4cad1", "#b3261e"
# Okabe & Ito's colours (2008), safe for colour-blind readers, then shades of them; more types than that share grey.
TYPE_COLOURS = (
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#b8a800", "#5b3fa3", "#7f5539", "#2d7d46",
    "#9c6644", "#274c77",
)  # fmt: skip
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
    parts = [part for part in run.parts("votes") if "_space" in part.column_names]
    if parts:
        cells = _drawn_cells(run, parts)
        points, name = _embed(np.stack(cells.pop("_space").to_list()), embedding)
        cells[[f"{name}1", f"{name}2"]] = points
        partial = folder / "embedding.parquet.partial"
        cells.to_parquet(partial, index=False)
        partial.replace(folder / "embedding.parquet")
        made += _save(_draw_cells(cells, points, name, ontology), folder / "cells")
    made += _save(_draw_agreement(member_agreement(run)), folder / "member_agreement")
    return made


def member_agreement(run: Run) -> pd.DataFrame:
    """Return the share of cells on which two members (and the call) name the same term, of those where both spoke."""
    names = [member["name"] for member in run.record["members"] if not member["absent"]]
    calls = pd.read_parquet(run.calls_path, columns=["term", *(f"vote_{name}" for name in names)])
    ids = pd.unique(pd.concat([calls[column].astype(object) for column in calls]).dropna())
    codes = np.stack([pd.Index(ids).get_indexer(calls[column].astype(object)) for column in calls], axis=1)
    columns = ["call", *names]
    table = np.full((len(columns), len(columns)), np.nan)
    for i in range(len(columns)):
        both = (codes[:, [i]] >= 0) & (codes >= 0)
        same = both & (codes[:, [i]] == codes)
        table[i] = np.divide(
            same.sum(axis=0), both.sum(axis=0), out=np.full(len(columns), np.nan), where=both.any(axis=0)
        )
    return pd.DataFrame(table, index=columns, columns=columns)


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


def _draw_cells(cells: pd.DataFrame, points: NDArray[np.float32], name: str, ontology: CellOntology) -> Any:
    tested = bool(cells["p_seen"].notna().any())
    figure = _figure(width=19.2 if tested else 14.5, height=4.6)
    panels = figure.subplots(1, 4 if tested else 3)
    size = float(np.clip(9000 / max(len(cells), 1), 1, 22))
    labels = cells["label"].astype(object).where(cells["label"].notna(), "(unresolved)")
    labels = labels.where(cells["status"].astype(str) != "unseen", "(unseen)")
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
            )  # fmt: skip
    panels[0].set_title("call")
    handles, texts = panels[0].get_legend_handles_labels()
    if n_other := int(len(labels) - counts[[label for label in counts.index if label in colour]].sum()):
        handles.insert(0, panels[0].scatter([], [], s=size, c=GREY, linewidths=0))
        texts.insert(0, f"other terms ({n_other:,})")
    figure.legend(
        handles[::-1], texts[::-1], loc="outside lower left", ncols=4, frameon=False, fontsize=8, markerscale=1.6
    )
    deepest = max(int(cells["depth"].max()), 1)
    scales = [("same_term", 1, "agreement (votes on one term)"), ("depth", deepest, "depth of the call")]
    if tested:
        scales.append(("p_seen", 1, "p of belonging to the reference"))
    for panel, (column, high, title) in zip(panels[1:], scales, strict=True):
        drawn = panel.scatter(*points.T, s=size, c=cells[column], cmap="cividis", vmin=0, vmax=high, linewidths=0)
        figure.colorbar(drawn, ax=panel, shrink=0.7)
        panel.set_title(title)
    for panel in panels:
        panel.set_xticks([])
        panel.set_yticks([])
        panel.set_xlabel(f"{name} 1")
        panel.set_ylabel(f"{name} 2")
        panel.spines[["top", "right"]].set_visible(False)
    release = ontology.source.release
    figure.suptitle(f"{len(cells):,} cells, Cell Ontology {release}", x=0.01, ha="left", fontsize=10, color=MUTED)
    return figure


def _draw_agreement(table: pd.DataFrame) -> Any:
    n = len(table)
    figure = _figure(width=1.9 + 0.75 * n, height=1.5 + 0.62 * n)
    panel = figure.subplots()
    drawn = panel.imshow(table.to_numpy(), cmap="cividis", vmin=0, vmax=1)
    for i in range(n):
        for j in range(n):
            value = float(table.to_numpy()[i, j])
            text = "-" if np.isnan(value) else f"{value:.2f}"
            panel.text(j, i, text, ha="center", va="center", color=INK if value > 0.6 else "white", fontsize=8)
    panel.set_xticks(range(n), table.columns, rotation=40, ha="right")
    panel.set_yticks(range(n), table.index)
    panel.set_title("share of cells with the same term", fontsize=10)
    figure.colorbar(drawn, ax=panel, shrink=0.8)
    return figure


def _figure(*, width: float, height: float) -> Any:
    # Not pyplot: it would choose a window system and keep every figure alive.
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _save(figure: Any, stem: Path) -> list[Path]:
    paths = []
    for suffix in (".png", ".svg"):
        path = stem.with_suffix(suffix)
        partial = path.with_name(path.name + ".partial")
        figure.savefig(partial, dpi=160, format=suffix[1:])
        partial.replace(path)
        paths.append(path)
    return paths
