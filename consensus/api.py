"""The main jobs end to end: votes, calls and every file of a run's folder."""

from __future__ import annotations

import logging
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from celljury.ballot import read_ballot
from celljury.calls import make_calls
from celljury.cells import open_cells
from celljury.config import Config
from celljury.errors import CelljuryError
from celljury.jury import Jury
from celljury.ontology.general import too_general
from celljury.ontology.load import load_ontology
from celljury.ontology.mapping import read_sssom
from celljury.ontology.relations import load_relations
from celljury.ontology.slims import load_slim
from celljury.profiles import Profiles
from celljury.progress import silent
from celljury.provenance import (
    as_dict,
    check_folder,
    cpu_seconds,
    log_to,
    make_folder,
    now,
    peak_memory_mb,
    sha256,
    versions,
    write_json,
    write_text,
)  # fmt: skip
from celljury.reasons import Background
from celljury.report.card import write_card_page
from celljury.report.figures import draw_figures
from celljury.report.summary import summarize
from celljury.review.pack import check_member_names
from celljury.review.packing import LABELS_ALONE, write_pack
from celljury.review.queue import build_queue
from celljury.run import Run, append_columns, join_calls, part_name, write_part
from celljury.votes import votes_to_table
from celljury.write import write_h5ad

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pandas as pd

    from celljury.ontology.graph import CellOntology
    from celljury.ontology.slims import Slim
    from celljury.progress import Progress
    from celljury.review.queue import Queue


log = logging.getLogger(__name__)

# Rows of a table reduced and written at once: bounds memory at a few hundred MB for ten columns.
VOTE_ROWS = 250_000


def fit(
    reference: Any,
    *,
    labels: str,
    out: Path | str,
    batch: str | None = None,
    donor: str | None = None,
    label_map: Path | str | None = None,
    on_unmapped: Literal["stop", "abstain"] = "stop",
    config: Config | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress = silent,
) -> Jury:
    """Fit a jury and write its card as a page, ``card.html``; parameters and errors as in `Jury.fit`."""
    jury = Jury.fit(
        reference, labels=labels, batch=batch, donor=donor, out=out, label_map=label_map, on_unmapped=on_unmapped,
        config=config, resume=resume, overwrite=overwrite, progress=progress,
    )  # fmt: skip
    write_card_page(jury.folder)
    return jury


def annotate(
    query: Any,
    jury: Jury | Path | str,
    *,
    out: Path | str,
    batch: str | None = None,
    config: Config | None = None,
    resume: bool = False,
    overwrite: bool = False,
    h5ad: bool = True,
    figures: bool = True,
    progress: Progress = silent,
) -> Run:
    """Annotate a query with a jury and write every file of the run's folder.

    Parameters
    ----------
    query
        Path of an h5ad, h5mu or zarr; AnnData; MuData. Never changed.
    jury
        A fitted jury, or its folder.
    out
        Folder of the run.
    batch
        Column of ``obs`` with the query's batches; one batch if None.
    h5ad, figures
        Whether ``query.celljury.h5ad`` and ``figures/`` are written.
    """
    jury = jury if isinstance(jury, Jury) else Jury.load(jury)
    config = config or jury.config
    slim = load_slim(jury.ontology, config.slim)  # before any work: a wrong name is an error now
    check_member_names(jury.members)
    started = cpu_seconds()
    run = _voted_before(Path(out), jury, query, batch, config) if resume else None
    if run is None:
        run = jury.annotate(
            query, batch=batch, out=out, config=config, resume=resume, overwrite=overwrite, progress=progress
        )
    background = jury.background(run.record, config)
    batches, markers = run.record["query"]["batches"], jury.about["markers"]
    queue = _write_files(
        run, jury.ontology, slim=slim, background=background, batches=batches, markers=markers,
        query=query if h5ad else None, embedding=config.embedding if figures else None, progress=progress,
    )  # fmt: skip
    view = jury.view(open_cells(query, counts=config.counts), batch=batch, config=config)
    write_pack(
        run, jury.ontology, queue, batches=batches, markers=markers, profiles=jury.profiles, query=view, progress=progress
    )  # fmt: skip
    return _complete(run, started)


def _voted_before(folder: Path, jury: Jury, query: Any, batch: str | None, config: Config) -> Run | None:
    """Return the run in a folder whose calls were finished but not its tables and figures; None where there is none."""
    if not (folder / "run.json").is_file():
        return None
    run = Run(folder)
    if "total" in run.record or "jury" not in run.record:
        return None
    same_jury = run.record["jury"]["sha256"] == sha256(jury.folder / "jury.json")
    same_settings = run.record["config"] == config.model_dump(mode="json") and run.record["query"]["batch"] == batch
    if not (same_jury and same_settings):
        return None
    same_query = run.record["query"]["sha256"] == open_cells(query, counts=config.counts).fingerprint()
    return run if same_query else None


def _complete(run: Run, started: float) -> Run:
    """Add what the whole run took to ``run.json``, the sign that every file is there, and return the run."""
    total = {"cpu_seconds": round(cpu_seconds() - started, 2), "peak_memory_mb": peak_memory_mb()}
    write_json(run.folder / "run.json", run.record | {"total": total})
    return Run(run.folder)


def vote(
    source: Any,
    columns: Sequence[str],
    *,
    out: Path | str | None = None,
    label_map: Path | str | None = None,
    on_unmapped: Literal["stop", "abstain"] = "stop",
    config: Config | None = None,
    overwrite: bool = False,
    h5ad: bool = True,
    progress: Progress = silent,
) -> Run:
    """Return the consensus of labels that other tools already wrote, one column a tool.

    Parameters
    ----------
    source
        TSV, CSV, parquet, h5ad, AnnData or DataFrame.
    columns
        Columns of Cell Ontology ids or labels; an empty cell abstains and never voids the others' votes.
    out
        Folder of the run; a temporary one if None.
    label_map
        SSSOM table for labels that are no names of the ontology.
    """
    config = config or Config()
    columns = (columns,) if isinstance(columns, str) else tuple(columns)
    check_member_names(columns)
    inputs = (source, label_map)
    if out:
        check_folder(Path(out), owned="run.json", overwrite=overwrite, inputs=inputs)
    config.reduce.effective(calibrated=False)
    if config.reduce.on == "mass":
        message = 'reduce.on = "mass" needs members\' probabilities; labels carry none. Use on = "votes".'
        raise CelljuryError(message)
    folder = Path(out) if out else Path(tempfile.mkdtemp(prefix="celljury-run-"))
    started, began = cpu_seconds(), now()
    settings = config.ontology
    ontology = load_ontology(settings.source, release=settings.release, extra=settings.extra_terms)
    slim = load_slim(ontology, config.slim)
    mapping = read_sssom(Path(label_map), ontology) if label_map else None
    general = too_general(ontology, **config.too_general.model_dump())
    progress("read and map labels", 0, 1)
    ballot = read_ballot(source, ontology, columns=columns, label_map=mapping, on_unmapped=on_unmapped)
    progress("read and map labels", 1, 1)
    if out:
        make_folder(folder, owned="run.json", overwrite=overwrite, inputs=inputs)
    for part in ("votes", "calls"):  # of a run that was not finished
        shutil.rmtree(folder / part, ignore_errors=True)
    write_json(folder / "unfinished.json", {"command": "vote"})
    background = Background(members=tuple(columns), absent={}, relations=load_relations(ontology))
    broad, obsolete = ballot.any_by("broad"), ballot.any_by("obsolete")
    n_cells = ballot.votes.n_cells
    with log_to(folder / "log.jsonl"):
        for i, start in enumerate(range(0, n_cells, VOTE_ROWS)):
            rows = slice(start, start + VOTE_ROWS)
            votes = ballot.votes.rows(rows)
            calls = make_calls(
                votes, ontology, settings=config.reduce, too_general=general, background=background,
                max_conflict=config.review.max_conflict, broad=broad[rows], obsolete=obsolete[rows],
            )  # fmt: skip
            write_part(votes_to_table(votes, ontology), folder / "votes" / part_name(i))
            table = append_columns(calls.to_table(), calls.evidence())
            write_part(append_columns(table, _nowhere(len(calls))), folder / "calls" / part_name(i))
            progress("reduce votes to calls", min(start + VOTE_ROWS, n_cells), n_cells)
        join_calls(folder)
        path = source if isinstance(source, (str, Path)) else None
        record = {
            "command": "vote",
            "began": began, "ended": now(),
            "versions": versions(),
            "config": config.model_dump(mode="json"),
            "ontology": as_dict(ontology.source),
            "query": {"file": ballot.where, "sha256": sha256(Path(path)) if path else None, "n_cells": n_cells},
            "labels": {
                name: [as_dict(row) | {"term": ontology.ids[row.i_term] if row.i_term >= 0 else None} for row in column.rows]
                for name, column in ballot.columns.items()
            },
            "members": [{"name": name, "absent": None} for name in columns],
            "rule": config.reduce.effective(calibrated=False), "tier": "none", "alpha": None,
            "promise": "Labels of other tools: agreement is a share of votes, not a probability of being right, and no"
            " error rate is promised.",
            "cpu_seconds": round(cpu_seconds() - started, 2),
            "peak_memory_mb": peak_memory_mb(),
        }  # fmt: skip
        write_json(folder / "run.json", record)
        run = Run(folder)
    holds_cells = hasattr(source, "obs") or str(source).endswith((".h5ad", ".h5mu", ".zarr"))
    queue = _write_files(
        run, ontology, slim=slim, background=background, batches=("all",), markers={},
        query=source if h5ad and holds_cells else None, embedding=config.embedding, progress=progress,
    )  # fmt: skip
    write_pack(
        run, ontology, queue, batches=("all",), markers={}, profiles=Profiles.unknown({}, {}), query=LABELS_ALONE,
        labelled=source, progress=progress,
    )  # fmt: skip
    (folder / "unfinished.json").unlink()
    return _complete(run, started)


def _write_files(
    run: Run,
    ontology: CellOntology,
    *,
    slim: Slim,
    background: Background,
    batches: Sequence[str],
    markers: Mapping[str, Sequence[str]],
    query: Any,
    embedding: str | None,
    progress: Progress,
) -> Queue:
    """Write tables, queue, annotated h5ad (unless ``query`` is None) and figures (unless ``embedding`` is None).

    Returns the queue.
    """
    queue = build_queue(run, ontology, background, batches=batches, markers=markers)

    def tables() -> None:
        folder = run.folder / "tables"
        folder.mkdir(exist_ok=True)
        for name, level in (("summary", slim), ("terms", None)):
            _write_tsv(folder / f"{name}.tsv", summarize(run, ontology, level))

    steps: list[Callable[[], object]] = [tables, lambda: _write_tsv(run.folder / "queue.tsv", queue.table)]
    if query is not None:
        steps.append(lambda: write_h5ad(run, query))
    if embedding is not None:
        steps.append(lambda: draw_figures(run, ontology, embedding=embedding))
    with log_to(run.folder / "log.jsonl"):
        for i, step in enumerate(steps):
            progress("write tables, queue and figures", i, len(steps))
            step()
        progress("write tables, queue and figures", len(steps), len(steps))
    return queue


def _write_tsv(path: Path, table: pd.DataFrame) -> None:
    write_text(path, table.to_csv(sep="\t", index=False, lineterminator="\n"))


def _nowhere(n: int) -> Any:
    """Return batch and cluster columns of cells that have neither."""
    import pyarrow as pa

    zeros = pa.array(np.zeros(n, np.int32))
    return pa.table({"_batch": zeros, "_cluster": zeros})
