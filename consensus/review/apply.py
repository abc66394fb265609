"""Curators' decisions folded into a run: the log replayed onto its calls, every cell once."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from celljury.errors import OutputError
from celljury.progress import silent
from celljury.provenance import write_text
from celljury.review.decisions import Decisions
from celljury.review.findings import findings_lines, findings_rows, member_findings
from celljury.review.fold import write_final
from celljury.review.leaves import leaves_of
from celljury.review.ledger import replay
from celljury.review.log_place import database_of
from celljury.review.pack import Pack
from celljury.run import Run
from celljury.write import write_final_h5ad

if TYPE_CHECKING:
    from celljury.progress import Progress
    from celljury.review.agreement import Agreement
    from celljury.review.events import Event
    from celljury.review.findings import Findings

STATUSES: Final = ("decided", "open", "conflict", "skipped", "reopened")


@dataclass(frozen=True, slots=True)
class Applied:
    """What was folded in.

    Attributes
    ----------
    folder
        The run's folder.
    written
        Files, in the order in which they were written.
    n_cells
        Cells of the run.
    n_events
        Events of the log.
    items, cells
        Items, and cells in them, by status (`STATUSES`); parts of split items count on their own.
    changed_items, changed_cells
        Those whose outcome differs from the call.
    kappa
        Agreement of each pair of reviewers.
    findings
        Which members were right; what `celljury.review.learn.updated_jury` takes.
    """

    folder: Path
    written: tuple[Path, ...]
    n_cells: int
    n_events: int
    items: dict[str, int]
    cells: dict[str, int]
    changed_items: int
    changed_cells: int
    kappa: tuple[Agreement, ...]
    findings: Findings


def apply_decisions(
    run_folder: Path | str,
    *,
    database: Path | str | None = None,
    log: str = "",
    h5ad: bool = True,
    progress: Progress = silent,
) -> Applied:
    """Fold the decisions of the log into the calls and return what was done.

    Writes ``review/events.jsonl`` (the log, an event a line), ``review/members.tsv``, ``tables/final_terms.tsv``, columns
    into ``query.celljury.h5ad`` where the run has one, and last ``final.parquet``. Items that are open, skipped, in
    conflict or re-opened keep their call. The same log gives the same bytes. Every file is written beside its name and
    renamed; one that an interrupted call left is whole, old or new, and the next call writes all.

    Parameters
    ----------
    database
        File or URL of the log; ``review/decisions.sqlite`` in the run's folder if None.
    log
        Whose log it is in a database that holds several, as in `Decisions`.
    h5ad
        Whether to write the columns into the h5ad.

    Raises
    ------
    UnreadableFileError
        If the folder holds no finished run, nothing for review, or no log of decisions.
    InputError
        If a decision names a term that the run's ontology does not have.
    OutputError
        If a file cannot be written.
    """
    folder = Path(run_folder)
    run, pack = Run.open(folder), Pack.open(folder)
    with Decisions.open(database or database_of(folder), run=log, read_only=True) as decisions:
        events = decisions.events()
    ledger = replay(events, pack.evidence)
    leaves = leaves_of(pack, ledger)
    findings = member_findings(run, pack, leaves, last_event=ledger.last, n_events=len(events))
    final = folder / "final.parquet"
    partial = final.with_name(final.name + ".partial")
    written = [
        folder / "review" / "events.jsonl",
        folder / "review" / "members.tsv",
        folder / "tables" / "final_terms.tsv",
    ]
    try:
        counts = write_final(run, pack, leaves, partial, progress)
        assert sum(counts.values()) == int(pack.about["n_cells"]), "a cell is not counted once"
        write_text(written[0], _lines(events))
        write_text(written[1], _tsv(findings_rows(findings)))
        written[2].parent.mkdir(exist_ok=True)
        write_text(written[2], _tsv(_terms(counts), columns=[*_KEY, "n_cells"]))
        if h5ad and (to := write_final_h5ad(run, partial)) is not None:
            written.append(to)
        partial.replace(final)
    except OutputError:
        raise
    except OSError as error:
        raise OutputError.for_path(folder, error.strerror or str(error)) from error
    finally:
        partial.unlink(missing_ok=True)
    n_items, n_cells = Counter(leaves.status), Counter[str]()
    for status, n in zip(leaves.status, leaves.n_cells.tolist(), strict=True):
        n_cells[status] += n
    return Applied(
        folder, (*written, final), int(pack.about["n_cells"]), len(events),
        {status: n_items[status] for status in STATUSES}, {status: n_cells[status] for status in STATUSES},
        int(leaves.changed.sum()), int(leaves.n_cells[leaves.changed].sum()), ledger.kappa(), findings,
    )  # fmt: skip


def summary_lines(applied: Applied) -> list[str]:
    """Return what was folded in, for people."""
    said = {
        "decided": "decided", "open": "not decided yet", "conflict": "in conflict between reviewers",
        "skipped": "skipped", "reopened": "re-opened: what they were decided on has changed",
    }  # fmt: skip
    n_review = sum(applied.cells.values())
    lines = [f"{applied.n_events:,} events; {n_review:,} of {applied.n_cells:,} cells are for review."]
    for status in STATUSES:
        if applied.items[status] or status in ("decided", "open"):
            lines.append(f"  {applied.items[status]:>7,} items, {applied.cells[status]:>9,} cells: {said[status]}")
            if status == "decided":
                changed = f"{applied.changed_items:>7,} items, {applied.changed_cells:>9,} cells"
                lines.append(f"  {changed}: of these, decided otherwise than called")
    undecided = sum(applied.cells[status] for status in STATUSES[1:])
    if undecided:
        lines.append(f"  {undecided:,} cells for review keep their call.")
    for pair in applied.kappa:
        kappa = f"kappa {pair.kappa:.2f}" if np.isfinite(pair.kappa) else f"no kappa: {pair.why}"
        agreed = f", agree on {100 * pair.agreement:.0f} %" if pair.n_both else ""
        lines.append(f"{pair.a} and {pair.b}: {pair.n_both:,} items both{agreed} ({kappa})")
    return [*lines, *findings_lines(applied.findings)]


def outcome(applied: Applied) -> dict[str, Any]:
    """Return what was folded in as plain values for JSON; what is not known is None."""

    def plain(values: dict[str, Any]) -> dict[str, Any]:
        return {k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in values.items()}

    told = {
        name: getattr(applied, name)
        for name in ("n_cells", "n_events", "items", "cells", "changed_items", "changed_cells")
    }
    return {
        "run": str(applied.folder), **told,
        "kappa": [plain(asdict(pair)) for pair in applied.kappa],
        "members": [plain(row) for row in findings_rows(applied.findings)],
        "written": [str(path) for path in applied.written],
    }  # fmt: skip


# Writing ----------------------------------------------------------------------------------------------------------------


def _lines(events: tuple[Event, ...]) -> str:
    # In ASCII: no character of a note can end a line.
    return "".join(f"{json.dumps(event.to_json(), ensure_ascii=True)}\n" for event in events)


_KEY = ("term", "label", "status", "source")


def _terms(counts: Counter[tuple[str, ...]]) -> list[dict[str, Any]]:
    rows = sorted(counts.items(), key=lambda row: (-row[1], row[0]))
    return [dict(zip(_KEY, key, strict=True)) | {"n_cells": n} for key, n in rows]


def _tsv(rows: list[dict[str, Any]], *, columns: list[str] | None = None) -> str:
    import pandas as pd

    return str(pd.DataFrame(rows, columns=columns).to_csv(sep="\t", index=False, lineterminator="\n"))
