"""Tables that a report could hold, and texts that try to break out of them."""

from __future__ import annotations

from typing import Any

import pandas as pd

from celljury.report.table import Table, TableColumn

HOSTILE = (
    "<script>alert(1)</script>", "a & b_c", r"100 % $x$ #1 {y} \textbf{z} ~ ^", '=HYPERLINK("http://x","y")', "+1", "@x", "-5",
    "two\nlines\rand\ttab", "\u03b2-cell \u03b1\u03b2", "\U0001f9ec helix", "\u7ec6\u80de", "very_long_label_" * 12,
    "x" * 150, "'quote' \"double\"", "[bracket]", "*star", "--, <<, ,,", "caf\u00e9 \u0142 \u0127 \u00bd \u2265", "\x01\x1f",
    "[@key]", "",
)  # fmt: skip
CAPTION = (
    "Counted: 430 cells, each once, by the run's calls.",
    "Cell types are terms of the Cell Ontology (CL), release 2026-03-26.",
    "Members: logistic (scikit-learn 1.9.1), singler (singler 0.5.0); absent: scanvi.",
    "Rule calibrated, tier cell, alpha 0.05: 100 % & nothing more.",
)
COLUMNS = (
    TableColumn("term", "CL id", "id of the term", kind="id"),
    TableColumn("label", "Cell type"),
    TableColumn("n_cells", "Cells", kind="count"),
    TableColumn("fraction", "Of all cells", "share of the cells counted", kind="share"),
    TableColumn("mean_depth", "Mean depth", "longest path from the root", kind="number", digits=2),
    TableColumn("review_share", "Need review", kind="share"),
)
DONOR = TableColumn("donor", "Donor")


def rows(scale: int = 1) -> pd.DataFrame:
    """Three rows and their total: 1,200 + 300 + 0 = 1,500 cells (times ``scale``); the unseen have no depth."""
    return pd.DataFrame(
        {
            "term": ["CL:0000236", "CL:0000084", "", ""],
            "label": ["B cell", "T cell", "(unseen)", "all cells"],
            "n_cells": [1200 * scale, 300 * scale, 0, 1500 * scale],
            "fraction": [0.8, 0.2, 0.0, 1.0],
            "mean_depth": [6.0, 5.25, None, 5.85],
            "review_share": [0.1, 0.35, None, 0.15],
        }
    )


def flat() -> Table:
    """A row a term, a total, a note."""
    return Table(
        "cells_cell_class", "Cells per type", "A row a term. Every cell is counted once.", COLUMNS, rows(), n_last=1,
        notes=("Unseen cells are not cells of the node that they are new under.",),
    )  # fmt: skip


def blocked(n_blocks: int = 2) -> Table:
    """The same of several donors, in blocks with a total each."""
    parts = [rows(i + 1).assign(donor=f"donor {i + 1}") for i in range(n_blocks)]
    frame = pd.concat(parts, ignore_index=True) if parts else rows().iloc[:0].assign(donor="")
    return Table(
        "cells_by_donor", "Cells per type and donor", "A row a donor and term.", (DONOR, *COLUMNS), frame, block="donor",
        n_last=1,
    )  # fmt: skip


def wide(n_samples: int, n_rows: int = 3) -> Table:
    """A row a term, two columns a sample, a total."""
    columns: list[TableColumn] = [TableColumn("label", "Cell type")]
    values: dict[str, list[Any]] = {"label": [*(f"type {i}" for i in range(n_rows)), "all cells"]}
    for i in range(n_samples):
        columns += [
            TableColumn(f"n_{i}", f"sample_{i:02d} cells", kind="count"),
            TableColumn(f"share_{i}", f"sample_{i:02d}", kind="share"),
        ]
        values[f"n_{i}"] = [*([i + 1] * n_rows), (i + 1) * n_rows]
        values[f"share_{i}"] = [*([round(1 / n_rows, 6)] * n_rows), 1.0]
    return Table("fractions", "Cells per sample", "A row a term.", tuple(columns), pd.DataFrame(values), n_last=1)


def hostile() -> Table:
    """Hostile texts in every place that takes one."""
    columns = (
        TableColumn("text", "Text & <head>_1", 'what "it" & <i>is</i> \\input{x}', kind="text"),
        TableColumn("id", "=id()", kind="id"),
        TableColumn("n", "n", kind="count"),
        TableColumn("x", "x", kind="number"),
    )
    n = len(HOSTILE)
    frame = pd.DataFrame(
        {
            "text": [*HOSTILE, None],
            "id": [*HOSTILE[::-1], None],
            "n": [*range(n), None],
            "x": [float("inf"), float("-inf"), -0.001, *range(n - 3), None],
        }
    )
    return Table(
        "hostile", "<b>Title</b> & 100 %", "About_this \\input{x} $.", columns, frame, notes=("<i>note</i> & # %",)
    )


def empty() -> Table:
    """No rows."""
    return Table("empty", "Nothing", "No row.", COLUMNS, rows().iloc[:0])


def large(n_rows: int = 5000) -> Table:
    """More rows than a page should hold."""
    columns = (TableColumn("term", "term", kind="id"), TableColumn("n", "n", kind="count"))
    frame = pd.DataFrame({"term": [f"CL:{i:07d}" for i in range(n_rows)], "n": range(n_rows)})
    return Table("large", "Many rows", "A row a term.", columns, frame)


def many_columns(n: int = 300) -> Table:
    """So many columns of counts."""
    names = [f"n_{i}" for i in range(n)]
    columns = (
        TableColumn("label", "Cell type"),
        *(TableColumn(name, f"sample {name}", kind="count") for name in names),
    )
    return Table(
        "many", "Many columns", "x", columns, pd.DataFrame({"label": ["a", "b"], **{name: [1, 2] for name in names}})
    )


def everything() -> list[Table]:
    """All of them."""
    return [flat(), blocked(12), wide(6), wide_named(24), hostile(), empty(), many_columns(60)]


def wide_named(n_samples: int) -> Table:
    """`wide` under another name."""
    made = wide(n_samples)
    return Table("fractions_wide", made.title, made.about, made.columns, made.rows, n_last=1)
