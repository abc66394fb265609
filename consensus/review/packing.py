"""From a finished run to its pack: the one long step of a review, done once."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from celljury.cells import open_cells
from celljury.config import Config
from celljury.errors import CelljuryError, UnreadableFileError
from celljury.jury import Jury
from celljury.ontology.relations import load_relations
from celljury.origin import jury_folder, ontology_of, query_file
from celljury.profiles import Profiles
from celljury.progress import silent
from celljury.provenance import sha256
from celljury.reasons import Background
from celljury.review.item_genes import item_expression
from celljury.review.pack import PACK_FORMAT, Pack, StalePackError, check_member_names
from celljury.review.placing import Placed, halves, place_by_umap, place_cells, points_of
from celljury.review.queue import build_queue
from celljury.run import Run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from celljury.ontology.graph import CellOntology
    from celljury.progress import Progress
    from celljury.query import Query
    from celljury.review.queue import Queue

LABELS_ALONE: Final = "labels of other tools were voted on; no reference tells marker genes"


def write_pack(
    run: Run,
    ontology: CellOntology,
    queue: Queue,
    *,
    batches: Sequence[str],
    markers: Mapping[str, Sequence[str]],
    profiles: Profiles,
    query: Query | str,
    labelled: Any = None,
    progress: Progress = silent,
) -> Pack:
    """Write ``RUN/review/pack`` and return it as it was opened; only that folder is touched.

    Parameters
    ----------
    queue
        The run's items (`build_queue`).
    batches
        Names behind the batch numbers.
    markers
        Marker genes of each reference term, best first; empty for a run on labels alone.
    profiles
        What the jury kept of its reference's expression.
    query
        The query in the jury's genes, or why its expression cannot be told.
    labelled
        What labels were voted on (`celljury.api.vote`): its ``obsm["X_umap"]`` is shown, where it has one.

    Raises
    ------
    InputError
        If a member's name cannot stand in the id of a part.
    """
    check_member_names(queue.members)
    progress("prepare the review", 0, 1)
    start = np.cumsum(queue.table["n_cells"].to_numpy(np.int64)) - queue.table["n_cells"].to_numpy(np.int64)
    points = points_of(run, queue.row)
    half = halves(points, start) if points is not None else np.zeros(len(queue.row), np.int8)
    placed = _placed(run, queue.row, points, labelled)
    drawn_terms, drawn_term = _drawn_terms(run, placed)
    items = queue.table.assign(start=start, stop=start + queue.table["n_cells"]).join(queue.facts)
    item = np.repeat(np.arange(len(items)), items["n_cells"])
    if isinstance(query, str):
        share = mean = np.full((len(items), len(profiles.genes)), np.nan, np.float32)
    else:
        share, mean = item_expression(query, queue.row, item, profiles.genes, n_items=len(items), progress=progress)
    record = run.record
    about = {
        "format": PACK_FORMAT, "run": sha256(run.calls_path), "n_cells": pq.read_metadata(run.calls_path).num_rows,
        "n_review": len(queue.row), "n_items": len(items), "members": list(queue.members), "samples": list(batches),
        "sample_cells": _sample_cells(run, len(batches)),
        "embedding": {"name": placed.name, "n_drawn": len(placed.drawn)} if placed else None,
        "drawn_terms": drawn_terms, "no_genes": query if isinstance(query, str) else "",
        **{name: record.get(name) for name in ("promise", "tier", "alpha")}, "release": ontology.source.release,
    }  # fmt: skip
    Pack(
        run.folder, about, items, queue.row, placed.xy if placed else None, queue.batch, queue.support, half,
        placed.drawn_xy if placed else None, drawn_term if placed else None, profiles.genes, share, mean,
        profiles.terms, profiles.share, profiles.mean, profiles.n_cells,
        {term: tuple(names) for term, names in markers.items()},
    ).save(ontology)  # fmt: skip
    progress("prepare the review", 1, 1)
    return Pack.open(run.folder)


def ensure_pack(folder: Path, *, progress: Progress = silent) -> Pack:
    """Return the pack of the run in ``folder``, made from the run where it has none or one of other calls or format.

    What cannot be found any more is left out: without the jury, reasons keep the sentences of ``queue.tsv`` and there are
    no reference profiles; without the query, items have no expression (``about["no_genes"]`` says why).

    Raises
    ------
    UnreadableFileError
        If the folder holds no finished run.
    InputError
        If the ontology that the run used is not found.
    """
    run = Run.open(folder)
    try:
        return Pack.open(folder)
    except (UnreadableFileError, StalePackError):
        pass
    home = jury_folder(run)
    jury = Jury.load(home) if home is not None else None
    ontology = jury.ontology if jury is not None else ontology_of(run)
    batches = run.record["query"].get("batches", ("all",))
    if jury is not None:
        config = Config.checked(run.record["config"], where=str(folder / "run.json"))
        queue = build_queue(
            run, ontology, jury.background(run.record, config), batches=batches, markers=jury.about["markers"]
        )
        return write_pack(
            run, ontology, queue, batches=batches, markers=jury.about["markers"], profiles=jury.profiles,
            query=_query_again(run, jury, config), progress=progress,
        )  # fmt: skip
    absent = {member["name"]: member["absent"] for member in run.record["members"] if member["absent"]}
    members = tuple(member["name"] for member in run.record["members"])
    background = Background(members=members, absent=absent, relations=load_relations(ontology))
    queue = _with_texts_of(build_queue(run, ontology, background, batches=batches), folder / "queue.tsv")
    if run.record["command"] == "vote":
        why, source = LABELS_ALONE, query_file(run)
    else:
        why, source = f"the jury ({run.record['jury']['folder']}) is not where it was, or was fitted anew since", None
    return write_pack(
        run, ontology, queue, batches=batches, markers={}, profiles=Profiles.unknown({}, {}), query=why,
        labelled=source, progress=progress,
    )  # fmt: skip


def _query_again(run: Run, jury: Jury, config: Config) -> Query | str:
    """Return the query of an older run in its jury's genes, or why that is not possible."""
    path = query_file(run)
    if path is None:
        return f"the query ({run.record['query']['file']}) is not where it was, or has changed since"
    try:
        return jury.view(open_cells(path, counts=config.counts), batch=run.record["query"]["batch"], config=config)
    except CelljuryError as error:
        return f"the query cannot be read: {error}"


def _with_texts_of(queue: Queue, path: Path) -> Queue:
    """Return the queue with what an earlier one on disk says of the same items: it knew the jury."""
    texts = ["sentence", "markers"]
    if not path.is_file():
        return queue
    earlier = pd.read_csv(path, sep="\t", keep_default_na=False, dtype=str)
    if not {"item_id", *texts} <= set(earlier):
        return queue
    known = earlier.drop_duplicates("item_id").set_index("item_id")[texts].reindex(queue.table["item_id"])
    table = queue.table.copy()
    for name in texts:
        table[name] = known[name].reset_index(drop=True).fillna(table[name])
    return replace(queue, table=table)


def _placed(run: Run, rows: NDArray[np.int64], points: NDArray[np.float32] | None, labelled: Any) -> Placed | None:
    if points is not None:
        return place_cells(run, rows, points)
    if labelled is None:
        return None
    names = pq.read_table(run.calls_path, columns=["cell_id"])["cell_id"].to_pandas().to_numpy(dtype=object)
    return place_by_umap(labelled, rows, names)


def _sample_cells(run: Run, n_samples: int) -> list[int]:
    """Return the cells that each sample has in the run."""
    found = np.zeros(n_samples, np.int64)
    for part in run.parts("calls", columns=["_batch"]):
        found += np.bincount(part["_batch"].to_numpy(), minlength=n_samples)
    return [int(n) for n in found]


def _drawn_terms(run: Run, placed: Placed | None) -> tuple[list[str], NDArray[np.int16]]:
    """Return the called terms of the background's cells, and each one's index among them, -1 = no term."""
    if placed is None:
        return [], np.zeros(0, np.int16)
    called = pq.read_table(run.calls_path, columns=["term"])["term"].take(placed.drawn).to_pandas()
    code, terms = pd.factorize(called.astype(object).where(called.notna() & (called != ""), None), sort=True)
    return [str(term) for term in terms], code.astype(np.int16)
