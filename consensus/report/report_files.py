"""The files of a report beside its tables, figures and page: what they are, where they are, and which ones go."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from celljury.errors import OutputError
from celljury.provenance import sha256, versions, write_json
from celljury.report.table_files import FORMATS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from celljury.report.figure_style import DrawnFigure
    from celljury.report.levels import Level
    from celljury.report.report_content import Content
    from celljury.report.table import Table
    from celljury.run import Run

PAGE: Final = "report.html"
ABOUT: Final = "report.json"


def embedding_of(drawn: Sequence[DrawnFigure], *folders: Path) -> str | None:
    """Return by what the cells are drawn, ``umap`` or ``pca``; None = they are not drawn."""
    import pyarrow.parquet as pq

    path = next((folder / "embedding.parquet" for folder in folders if (folder / "embedding.parquet").is_file()), None)
    if path is None or not any(figure.name == "cells" for figure in drawn):
        return None
    return "umap" if "UMAP1" in pq.read_schema(path).names else "pca"


def methods_file(methods: Sequence[str], references: Sequence[str], caption: Sequence[str]) -> str:
    """Return ``methods.md``."""
    parts = ["# Methods", *methods]
    if references:
        parts += ["## References", "\n".join(f"- {line}" for line in references)]
    if caption:
        parts += ["## Under every table", *caption]
    return "\n\n".join(parts) + "\n"


def places_of(tables: Sequence[Table], written: Sequence[Path], folder: Path) -> dict[str, str]:
    """Return where each table is, in words."""
    suffixes: dict[str, list[str]] = {}
    for path in written:
        suffixes.setdefault(path.stem, []).append(path.suffix[1:])
    book = any(path.name == "tables.xlsx" for path in written)
    said = {}
    for table in tables:
        own = sorted(suffixes.get(table.name, []), key=lambda one: FORMATS.index(one) if one in FORMATS else 9)
        parts = [f"tables/{table.name} ({', '.join(own)})"] if own else []
        parts += ["tables/tables.xlsx"] if book else []
        said[table.name] = " and ".join(parts)
    return said


def sources_of(run: Run) -> dict[str, str]:
    """Return the files of a run that a report reads, with their hashes."""
    names = ("run.json", "calls.parquet", "final.parquet", "queue.tsv", "evaluation/evaluation.json")
    return {name: sha256(run.folder / name) for name in names if (run.folder / name).is_file()}


def about_report(content: Content, levels: Sequence[Level], paths: Sequence[Path], folder: Path) -> dict[str, Any]:
    """Return ``report.json``."""
    counted, glance = content.counted, content.glance
    return {
        "made": content.made,
        "versions": versions(),
        "run": str(counted.run.folder),
        "counted": counted.source,
        "n_cells": counted.n_cells,
        "n_review": glance.review.n_review,
        "n_reviewed": glance.review.n_decided,
        "status": dict(glance.n_by_status),
        "levels": [level.name for level in levels],
        "groups": [{"role": one.role, "column": one.name, "n": len(one.values)} for one in counted.groups],
        "truth": content.truth,
        "warnings": list(content.warnings),
        "notes": list(content.notes),
        "sources": dict(content.sources),
        "tables": [{"name": table.name, "title": table.title, "n_rows": len(table.rows)} for table in content.tables],
        "figures": [{"name": figure.name, "title": figure.title} for figure in content.figures],
        "files": {str(path.relative_to(folder)): sha256(path) for path in paths},
    }


def claim(folder: Path) -> None:
    """Mark a folder as a report's before anything else is written, so that an interrupted report may go on there.

    Raises
    ------
    OutputError
        If files that a report would replace are there, and no report made them.
    """
    if _listed(folder) is not None:
        return
    theirs = [name for name in (PAGE, ABOUT, "methods.md", "references.bib", "tables/tables.xlsx", "tables/index.tsv")
              if (folder / name).exists()]  # fmt: skip
    if theirs:
        raise OutputError.for_path(folder, f"it holds {', '.join(theirs)}, which no report made")
    write_json(folder / ABOUT, {"unfinished": True, "files": {}})


def earlier_files(folder: Path) -> dict[str, str]:
    """Return the files of an earlier report there, with their hashes."""
    return _listed(folder) or {}


def _listed(folder: Path) -> dict[str, str] | None:
    """Return what ``report.json`` lists; None where there is none of ours."""
    with suppress(OSError, ValueError, AttributeError):
        found = json.loads((folder / ABOUT).read_text(encoding="utf-8")).get("files")
        if isinstance(found, dict):
            return {str(name): str(digest) for name, digest in found.items()}
    return None


def remove_earlier(folder: Path, before: Mapping[str, str], paths: Iterable[Path]) -> None:
    """Remove what an earlier report made and this one does not, so that no number of two reports stand side by side."""
    made = {str(path.relative_to(folder)) for path in paths}
    for name, digest in before.items():
        path = folder / name
        inside = folder.resolve() in path.resolve().parents
        if name not in made and inside and path.is_file() and not path.is_symlink() and sha256(path) == digest:
            path.unlink()
