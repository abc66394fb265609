"""One export of a run, from options to what was written and what its checks say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from celljury.errors import OutputError
from celljury.export.cas import Publication, write_cas
from celljury.export.cellxgene import submission_lines, write_cellxgene
from celljury.export.cellxgene_rules import why_not_taken
from celljury.export.h5ad import write_h5ad
from celljury.export.h5mu import write_h5mu
from celljury.export.query_file import find_query
from celljury.export.run_columns import RunColumns
from celljury.export.validator import find_validator, how_to_get, run_validator, shown_lines
from celljury.progress import silent
from celljury.provenance import OURS

if TYPE_CHECKING:
    from pathlib import Path

    from celljury.export.run_columns import Which
    from celljury.export.validator import Verdict
    from celljury.progress import Progress
    from celljury.run import Run

Target = Literal["cellxgene", "cas", "h5ad", "h5mu"]
SUFFIX: Final[dict[Target, str]] = {"cellxgene": ".h5ad", "cas": ".json", "h5ad": ".h5ad", "h5mu": ".h5mu"}


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export wrote.

    Attributes
    ----------
    to, path
        What for, and the file.
    calls
        ``calls`` or ``final``.
    n_cells
        Cells in it.
    query
        The file that it goes with; None for ``cas``.
    lines
        What became of the calls, for people.
    missing
        What the archive wants and the file lacks, by our own rules; one line each.
    verdict
        What the archive's validator said; None where it was not run.
    unchecked
        How to get the validator where a check was asked for and there is none; else empty.
    counts
        Numbers for programs.
    """

    to: Target
    path: Path
    calls: str
    n_cells: int
    query: Path | None
    lines: tuple[str, ...]
    missing: tuple[str, ...]
    verdict: Verdict | None
    unchecked: str
    counts: dict[str, Any]

    @property
    def taken(self) -> bool:
        """Whether nothing is known that keeps the archive from taking the file."""
        if self.verdict is not None:
            return self.verdict.valid
        return self.to != "cellxgene" or not self.missing


def export_run(
    run: Run,
    *,
    to: Target,
    out: Path,
    query: Path | None = None,
    calls: Which = "auto",
    check: bool = True,
    validator: Path | None = None,
    about: Publication = Publication(),  # noqa: B008 - frozen
    overwrite: bool = False,
    progress: Progress = silent,
) -> Exported:
    """Write a run for others to read, and say what it lacks.

    Parameters
    ----------
    to
        ``cellxgene``: an h5ad for the CELLxGENE archive; ``cas``: Cell Annotation Schema JSON; ``h5ad``, ``h5mu``: the query
        with the calls as columns.
    out
        The file to write.
    query
        File with the run's cells; the run's own query if None.
    calls
        ``calls``, ``final`` (curators' decisions over them), or ``auto``: final where there is one.
    check
        Whether to check the file: by our own rules, and by the archive's validator where there is one.
    validator
        The validator's program, or the virtual environment that it is in.
    about
        Authors, title and address, for ``cas``.
    overwrite
        Replace a file.

    Raises
    ------
    OutputError
        If the file is in the way, or cannot be written.
    InputError
        If there is nothing of the kind to export: no cells, no MuData, no final terms; or no such validator.
    UnreadableFileError
        If the query is not found or damaged.
    CellsError
        If the query's cells are not the run's.
    """
    archive = to if to in ("cellxgene", "cas") else None
    program = find_validator(archive, validator) if archive and check else None
    check_out(run, out, to=to, query=query, overwrite=overwrite)
    columns = RunColumns.open(run, calls=calls)
    n_steps = 3 if archive and check else 2
    step = f"export to {to}"
    progress(step, 0, n_steps)
    if to == "cas":
        made = write_cas(columns, out, about=about)
        progress(step, 1, n_steps)
        lines: tuple[str, ...] = (f"{made.n_cells:,} cells in {made.n_annotations:,} annotations, each cell in one.",)
        missing = tuple(f"{name} is not known: {_how_to_give(name)}" for name in made.not_given)
        counts: dict[str, Any] = {"n_annotations": made.n_annotations, "not_given": list(made.not_given)}
        schemas, path = made.schemas, None
    else:
        found = find_query(columns, named=query, whole=to == "h5mu")
        _not_the_query(out, found.path)
        progress(step, 1, n_steps)
        path, schemas, lines, counts, missing = found.path, (), (), {}, ()
        if to == "cellxgene":
            said = write_cellxgene(columns, found, out)
            lines = tuple(submission_lines(said))
            counts = {
                "cl_release": said.release, "n_unseen": said.n_unseen, "n_unresolved": said.n_unresolved,
                "moved": [
                    {"term": one.term, "label": one.label, "to": one.to, "why": one.why, "n_cells": n} for one, n in said.moved
                ],
                "renamed": said.renamed,
            }  # fmt: skip
            missing = tuple(why_not_taken(out)) if check else ()
        else:
            (write_h5mu if to == "h5mu" else write_h5ad)(columns, found, out)
    progress(step, 2, n_steps)
    verdict = run_validator(archive, program, out, schemas=schemas) if archive and program is not None else None
    if n_steps > 2:
        progress(step, n_steps, n_steps)
    unchecked = how_to_get(archive) if archive and check and program is None else ""
    return Exported(to, out, columns.source, columns.n_cells, path, lines, missing, verdict, unchecked, counts)


def check_out(run: Run, out: Path, *, to: Target, query: Path | None, overwrite: bool) -> None:
    """Refuse a place to write that would cost something, before any work.

    Raises
    ------
    OutputError
        If a file is there and ``overwrite`` is False, the place is a folder, the query, or a file of the run; or its name
        ends in something else than readers expect.
    """
    if out.suffix != SUFFIX[to]:
        raise OutputError.for_path(out, f"--to {to} writes a {SUFFIX[to]} file, and its name should end so")
    if out.is_dir():
        raise OutputError.for_path(out, "it is a folder, a file is needed")
    resolved, folder = out.resolve(), run.folder.resolve()
    if folder in resolved.parents and resolved.relative_to(folder).parts[0] in OURS:
        raise OutputError.for_path(out, f"it is where {run.folder} keeps its own files")
    if query is not None:
        _not_the_query(out, query)
    if out.exists() and not overwrite:
        raise OutputError.for_path(out, "it is there already; --overwrite replaces it")


def _not_the_query(out: Path, query: Path) -> None:
    if out.exists() and query.exists() and out.samefile(query):
        raise OutputError.for_path(out, "it is the query itself, which is never changed")


def _how_to_give(name: str) -> str:
    if name == "algorithm_repo_url":
        return "celljury's package names no repository; it is left empty"
    option = {"author_name": "--author", "title": "--title"}[name]
    return f"give it with {option}"


def exported_lines(made: Exported) -> list[str]:
    """Return what was written and what it lacks, for people."""
    of = "curators' decisions over the calls" if made.calls == "final" else "the calls"
    lines = [f"{made.path}: {made.n_cells:,} cells, {of}."]
    if made.query is not None:
        lines.append(f"All else is from {made.query}.")
    lines += made.lines
    if made.missing and made.to == "cellxgene":
        lines += [
            "",
            "The archive will not take it yet; these are for you to fill or change, celljury invents none of them:",
        ]
    lines += [f"  {line}" for line in made.missing]
    if any("archive writes itself" in line for line in made.missing):
        lines.append("Take its labels out with: cellxgene-schema remove-labels FILE.h5ad NEW.h5ad")
    if made.verdict is not None:
        verdict = "valid" if made.verdict.valid else "NOT valid"
        lines += ["", f"{made.verdict.by} says: {verdict}.", *(f"  {line}" for line in shown_lines(made.verdict))]
    elif made.unchecked:
        own = "names, forms and cell type terms only" if made.to == "cellxgene" else "its own structure only"
        lines += ["", f"Checked by celljury's own rules ({own}), not by the archive's validator.", made.unchecked]
    return lines


def exported_json(made: Exported) -> dict[str, Any]:
    """Return the same for programs."""
    verdict = made.verdict
    return {
        "to": made.to, "file": str(made.path), "calls": made.calls, "n_cells": made.n_cells,
        "query": str(made.query) if made.query else None, **made.counts, "missing": list(made.missing),
        "taken": made.taken, "validator": None if verdict is None else
        {"name": verdict.by, "valid": verdict.valid, "lines": list(verdict.lines)},
    }  # fmt: skip
