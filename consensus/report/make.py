"""The report of a run: its tables, figures, methods and page, made in one go."""

from __future__ import annotations

import json
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from celljury.errors import ConfigError, OntologyError, OutputError, UnreadableFileError
from celljury.ontology.mapping import read_sssom
from celljury.origin import ontology_of
from celljury.progress import silent
from celljury.provenance import now, write_json, write_text
from celljury.report.levels import DEFAULT_LEVELS, load_levels
from celljury.report.report_content import Content
from celljury.report.report_files import (
    ABOUT,
    PAGE,
    about_report,
    claim,
    earlier_files,
    embedding_of,
    methods_file,
    places_of,
    remove_earlier,
    sources_of,
)
from celljury.report.report_glance import glance_of
from celljury.report.report_notes import n_applied, n_logged, notes_of
from celljury.report.report_page import report_page
from celljury.report.table_files import FORMATS, check_formats
from celljury.truth import read_truth

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from celljury.ontology.graph import CellOntology
    from celljury.progress import Progress
    from celljury.report.counted import Counted
    from celljury.report.figure_style import DrawnFigure
    from celljury.report.levels import Level
    from celljury.report.report_glance import Glance
    from celljury.report.review_counts import ReviewCounts
    from celljury.report.table import Table
    from celljury.run import Run
    from celljury.truth import Truth


@dataclass(frozen=True, slots=True)
class Report:
    """A report that was made.

    Attributes
    ----------
    folder
        Where it is.
    page
        ``report.html``.
    tables, figures
        What it shows, in the order in which they were made.
    written
        Every file, the page last.
    glance
        The numbers of the first page.
    warnings
        What stands before them.
    """

    folder: Path
    page: Path
    tables: tuple[Table, ...]
    figures: tuple[DrawnFigure, ...]
    written: tuple[Path, ...]
    glance: Glance
    warnings: tuple[str, ...]


def make_report(
    run: Run,
    *,
    levels: Sequence[str] = DEFAULT_LEVELS,
    calls: Literal["auto", "calls", "final"] = "auto",
    sample: str | None = None,
    donor: str | None = None,
    condition: str | None = None,
    by: Sequence[str] = (),
    query: Path | str | None = None,
    truth: str | None = None,
    label_map: Path | str | None = None,
    evaluation: Path | str | None = None,
    out: Path | str | None = None,
    formats: Sequence[str] = FORMATS,
    figures: bool = True,
    progress: Progress = silent,
) -> Report:
    """Count a run's cells and write ``tables/``, ``figures/``, ``methods.md``, ``references.bib`` and ``report.html``.

    What the run holds is not changed. Every file is written beside its name and renamed, the page last, so that a page
    that is there is whole; files of an earlier report that this one does not make are removed, where nobody changed them.

    Parameters
    ----------
    levels
        ``term`` (every called term), ``cell_class``, ``cell_subclass``, ``depth:N``, ``subset:NAME`` or a file of ids; the
        first is the first page's.
    calls
        ``calls``: as the run called; ``final``: with curators' decisions; ``auto``: final where it is there.
    sample, donor, condition, by
        Columns to divide the cells by; without ``sample`` the run's own batches.
    query
        File with these columns and ``truth``; the run's ``query.celljury.h5ad`` if None.
    truth
        Column with known types, for confusion tables.
    label_map
        SSSOM table for known types that are no names of the ontology.
    evaluation
        Folder of `celljury.evaluate.evaluate`; ``RUN/evaluation`` if None.
    out
        Folder to write to; the run's if None.
    formats
        Of the tables: ``tsv``, ``xlsx``, ``tex``, ``html``.
    figures
        Whether to draw.

    Raises
    ------
    ConfigError, MissingLibraryError
        If a format is not known, or lacks its library; or no level is named.
    UnreadableFileError, MissingColumnError, CellsError, UnknownLabelError, BatchError
        See `celljury.report.levels.load_levels`, `celljury.report.groups.read_groups`, `celljury.truth.read_truth`.
    OutputError
        If a file cannot be written.
    """
    formats = _formats(levels, formats)
    folder = Path(out) if out is not None else run.folder
    counted, found, known = _counted(
        run, levels=levels, calls=calls, sample=sample, donor=donor, condition=condition, by=by,
        query=Path(query) if query is not None else None, truth=truth,
        label_map=Path(label_map) if label_map is not None else None, progress=progress,
    )  # fmt: skip
    at = Path(evaluation) if evaluation is not None else run.folder / "evaluation"
    judged = _evaluation(at, asked=evaluation is not None)
    try:
        return _made(counted, found, known, folder=folder, evaluation=at if judged is not None else None, judged=judged,
                     formats=formats, figures=figures, progress=progress)  # fmt: skip
    except OutputError:
        raise
    except OSError as error:
        if isinstance(error, UnreadableFileError):
            raise
        raise OutputError.for_path(folder, error.strerror or str(error)) from error


def check_report(run: Run, *, levels: Sequence[str], formats: Sequence[str]) -> None:
    """Refuse levels and formats that `make_report` would refuse; for a call before longer work."""
    _formats(levels, formats)
    _levels(ontology_of(run), levels)


def _formats(levels: Sequence[str], formats: Sequence[str]) -> tuple[str, ...]:
    if not levels:
        message = f"a report needs a level, such as {DEFAULT_LEVELS[0]!r}; none is named. Name one with --level."
        raise ConfigError(message)
    return check_formats(formats)


def _counted(
    run: Run, *, levels: Sequence[str], calls: Literal["auto", "calls", "final"], sample: str | None, donor: str | None,
    condition: str | None, by: Sequence[str], query: Path | None, truth: str | None, label_map: Path | None, progress: Progress,
) -> tuple[Counted, tuple[Level, ...], Truth | None]:  # fmt: skip
    """Return the cells with their groups, the levels, and the known types."""
    from celljury.report.counted import counted_cells
    from celljury.report.groups import read_groups

    progress("read the run", 0, 1)
    run.record["members"]
    ontology = ontology_of(run)
    found = _levels(ontology, levels)
    groups = read_groups(run, sample=sample, donor=donor, condition=condition, by=tuple(by), query=query)
    counted = counted_cells(run, ontology, calls=calls, groups=groups)
    mapping = read_sssom(label_map, ontology) if label_map is not None else None
    known = read_truth(run, ontology, column=truth, query=query, label_map=mapping) if truth is not None else None
    progress("read the run", 1, 1)
    return counted, found, known


def _levels(ontology: CellOntology, names: Sequence[str]) -> tuple[Level, ...]:
    try:
        return load_levels(ontology, names)
    except (UnreadableFileError, OntologyError) as error:
        known = (*DEFAULT_LEVELS, "depth:4", *(f"subset:{name}" for name in ontology.subsets))
        near = {name: get_close_matches(str(name), known, n=3, cutoff=0.6) for name in names}
        said = [
            f"{name}: did you mean {' or '.join(found)}?" for name, found in near.items() if found and name not in known
        ]
        for line in said:
            error.add_note(line)
        raise


def _made(
    counted: Counted, levels: tuple[Level, ...], truth: Truth | None, *, folder: Path, evaluation: Path | None,
    judged: Mapping[str, Any] | None, formats: Sequence[str], figures: bool, progress: Progress,
) -> Report:  # fmt: skip
    from celljury.report.caption import caption_lines
    from celljury.report.citations import bibtex, citations_of, reference_line
    from celljury.report.figure_set import draw_report_figures
    from celljury.report.methods import methods_text, review_facts
    from celljury.report.review_counts import review_counts
    from celljury.report.table_files import write_tables
    from celljury.report.tally import tally

    run, record = counted.run, counted.run.record
    before, places = earlier_files(folder), folder / "figures" / "embedding.parquet"
    placed_here = not places.is_file() or "figures/embedding.parquet" in before
    folder.mkdir(parents=True, exist_ok=True)
    if folder.resolve() != run.folder.resolve():
        claim(folder)
    for name in ("tables", "figures"):
        (folder / name).mkdir(exist_ok=True)
    review = review_counts(counted)
    tallies = []
    for i, level in enumerate(levels):
        progress("count cells", i, len(levels))
        tallies.append(tally(counted, level))
    progress("count cells", len(levels), len(levels))
    tables = tuple(_tables(counted, levels, truth, progress))
    caption = tuple(caption_lines(record, counted.source, counted.n_cells))
    written = write_tables(tables, folder / "tables", formats=formats, caption=caption, progress=progress)
    drawn: tuple[DrawnFigure, ...] = ()
    if figures:
        drawn = tuple(
            draw_report_figures(counted, levels, folder=folder / "figures", evaluation=evaluation, progress=progress)
        )
    progress("write the page", 0, 1)
    told: dict[str, Any] = {
        "evaluation": judged,
        "review": review_facts(run) if counted.source == "final" else None,
        "embedding": embedding_of(drawn, folder / "figures", run.folder / "figures"),
    }
    methods, citations = tuple(methods_text(record, **told)), citations_of(record, **told)
    references = tuple(reference_line(citation) for citation in citations)
    write_text(folder / "methods.md", methods_file(methods, references, caption))
    write_text(folder / "references.bib", bibtex(citations))
    warnings, notes = notes_of(counted, tallies=tallies, evaluation=judged)
    made = now()
    content = Content(
        counted=counted, warnings=warnings, notes=notes,
        glance=glance_of(counted, tallies, review, _steps(run, review, judged=judged is not None)),
        tables=tables, figures=drawn, files=places_of(tables, written, folder), evaluation=judged,
        truth="" if truth is None else f"column {truth.column!r} of {truth.where}", caption=caption, methods=methods,
        references=references, sources=sources_of(run), made=made,
    )  # fmt: skip
    page = report_page(content)
    own = [path for figure in drawn for path in figure.paths.values() if path.parent == folder / "figures"]
    if placed_here and places.is_file():
        own.append(places)
    paths = [*written, *own, folder / "methods.md", folder / "references.bib"]
    remove_earlier(folder, before, paths)
    write_json(folder / ABOUT, about_report(content, levels, paths, folder))
    write_text(folder / PAGE, page)
    progress("write the page", 1, 1)
    return Report(
        folder, folder / PAGE, tables, drawn, (*paths, folder / ABOUT, folder / PAGE), content.glance, warnings
    )


def _tables(counted: Counted, levels: tuple[Level, ...], truth: Truth | None, progress: Progress) -> Iterable[Table]:
    from celljury.report.cell_tables import cell_tables
    from celljury.report.confusion import confusion_tables
    from celljury.report.donor_tables import donor_tables
    from celljury.report.member_tables import member_tables
    from celljury.report.report_queue import queue_tables
    from celljury.report.review_tables import review_tables

    steps: list[Callable[[], list[Table]]] = [
        lambda: cell_tables(counted, levels), lambda: donor_tables(counted, levels), lambda: member_tables(counted),
        lambda: review_tables(counted), lambda: queue_tables(counted),
    ]  # fmt: skip
    if truth is not None:
        steps.append(lambda: confusion_tables(counted, levels, truth))
    for i, step in enumerate(steps):
        progress("make tables", i, len(steps))
        yield from step()
    progress("make tables", len(steps), len(steps))


def _steps(run: Run, review: ReviewCounts, *, judged: bool) -> list[tuple[str, str]]:
    """Return what to do next: why, and the command."""
    name = run.folder.name
    open_ = review.n_review - review.n_decided
    steps = []
    if n_logged(run) > n_applied(run):
        steps.append(("Fold the decisions taken so far into the run:", f"celljury apply {name}"))
    if open_:
        steps.append((f"Look at the {open_:,} cells that wait for a curator:", f"celljury review {name}"))
        steps.append(("Then fold the decisions in and make this report again:",
                      f"celljury apply {name} && celljury report {name}"))  # fmt: skip
    else:
        steps.append(("Nothing waits for a curator. Write files for the archives:",
                      f"celljury export {name} --to cellxgene --out cells.h5ad"))  # fmt: skip
    if not judged:
        steps.append(("Where types are known, measure the errors:", f"celljury evaluate {name} --truth COLUMN"))
    return steps


def _evaluation(folder: Path, *, asked: bool) -> Mapping[str, Any] | None:
    path = folder / "evaluation.json"
    if not path.is_file():
        if asked:
            message = f"{folder} holds no evaluation (no evaluation.json). Make one with: celljury evaluate"
            raise UnreadableFileError(message)
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        message = f"{path} cannot be read: {error}. Make it again with: celljury evaluate"
        raise UnreadableFileError(message) from error
    return found if isinstance(found, dict) else None
