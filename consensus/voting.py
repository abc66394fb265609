"""From an opened query to votes, block by block, and from votes to calls."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_matrix, vstack

from celljury.calls import make_calls
from celljury.doublets import doublet_scores
from celljury.engine import Bench, read_votes, record_answer, save_block
from celljury.errors import MemberError
from celljury.evidence import expression_of
from celljury.genes import gene_names
from celljury.members.arrays import load_arrays, save_arrays
from celljury.ontology.general import too_general
from celljury.provenance import write_json
from celljury.quality import cell_measures
from celljury.run import Run, append_columns, join_calls, part_name, write_part
from celljury.space import Space
from celljury.verdict import marker_columns, measure_columns
from celljury.votes import MemberRecord, on_ontology, votes_from_table, votes_of_members, votes_to_table

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from celljury.config import Config
    from celljury.evidence import References
    from celljury.ontology.graph import CellOntology
    from celljury.progress import Progress
    from celljury.quality import CellMeasures
    from celljury.query import Query
    from celljury.reasons import Background
    from celljury.verdict import Verdict


def collect_votes(
    home: Path,
    fitted: dict[str, MemberRecord],
    view: Query,
    folder: Path,
    *,
    ontology: CellOntology,
    references: References | None,
    config: Config,
    progress: Progress,
) -> dict[str, MemberRecord]:
    """Adapt members, let them vote block by block into ``votes/``, and return what became of each.

    Parameters
    ----------
    home
        The jury's folder.
    fitted
        Its members' records.
    view
        The opened query.
    folder
        The run's folder. Parts that it already holds are not made again.
    references
        What the jury knows of its reference, where it has a calibration.

    Raises
    ------
    MemberError
        If no member could vote, or one failed and all are required.
    """
    # What fitting cost stands in the jury; here the clocks start anew.
    records = {name: replace(record, seconds={}, cpu_seconds={}) for name, record in fitted.items()}
    scratch, adapted = folder / "scratch", folder / "adapted"
    adapted.mkdir(exist_ok=True)
    for path in adapted.glob("*.absent.json"):
        record = MemberRecord(**json.loads(path.read_text(encoding="utf-8")))
        records[record.name] = record
    space = Space.load(home / "space.npz")
    marker_genes = marker_columns(references, view.genes.names) if references else np.zeros(0, np.int64)
    namings = gene_names(view.cells.var)
    with Bench(config.engine, scratch, threads=config.threads, time_limit=config.time_limit) as bench:

        def ask(step: str, orders: dict[str, dict[str, Any]], *, shown: str = "") -> dict[str, dict[str, Any]]:
            answers = {}
            for name, answer in bench.run(orders):
                records[name] = record_answer(name, answer, step, records[name], required=config.all_required)
                answers[name] = answer
                if not answer["ok"]:  # who failed once stays out of the whole run, also after it is resumed
                    write_json(adapted / f"{name}.absent.json", records[name].as_dict())
                if shown:
                    progress(shown, len(answers), len(orders))
            return answers

        sample = view.sample(per_batch=config.sample_per_batch)
        space = space.for_query(sample, seed=config.seed)
        homes = {
            name: adapted / name if (adapted / name / "done.json").is_file() else home / "members" / name
            for name, record in records.items()
            if not record.absent
        }
        loaded = ask("load", {name: {"do": "load", "folder": str(home)} for name, home in homes.items()})
        columns = {name: a["terms"] for name, a in loaded.items() if a["ok"]}
        fresh = [name for name in columns if homes[name].parent != adapted]
        if fresh:
            save_block(scratch / "sample", sample)
            order = {"do": "adapt", "sample": str(scratch / "sample")}
            answers = ask(
                "adapt", {n: order | {"to": str(adapted / n)} for n in fresh}, shown="adapt members to the query"
            )
            for name, answer in answers.items():
                if answer["ok"]:
                    write_json(adapted / name / "done.json", {})
        _check_anybody(records, folder)
        for i_block in range(view.n_blocks):
            part = folder / "votes" / part_name(i_block)
            progress("vote", i_block, view.n_blocks)
            if part.exists():
                continue
            counts, block = view.read(i_block)
            save_block(scratch / f"block-{i_block}", block)
            present = [name for name, record in records.items() if not record.absent]
            orders = {
                n: {"do": "predict", "block": str(scratch / f"block-{i_block}"), "to": str(scratch / f"{n}.npz")}
                for n in present
            }
            answers = ask("predict", orders)
            found = {
                n: on_ontology(read_votes(scratch / f"{n}.npz"), columns[n], ontology)
                for n, a in answers.items()
                if a["ok"]
            }
            cell_ids = view.cells.cell_ids[view.span(i_block)]
            votes = votes_of_members(cell_ids, tuple(records), found, n_terms=len(ontology))
            table = votes_to_table(votes, ontology)
            points = space.project(block)
            table = append_columns(table, _placed(points, space.cluster(points), block.batch))
            if references is not None:
                measures = cell_measures(counts, *namings, shared=block.counts)
                markers = expression_of(block, marker_genes, view.genes.share)
                table = append_columns(table, _measured(measures, markers)).replace_schema_metadata(
                    {**(table.schema.metadata or {}), **_measured_facts(measures)}
                )
            write_part(table, part)
            shutil.rmtree(scratch / f"block-{i_block}")
        progress("vote", view.n_blocks, view.n_blocks)
    _check_anybody(records, folder)
    return records


def _check_anybody(records: dict[str, MemberRecord], folder: Path) -> None:
    """Raise MemberError where all members are absent, and forget why: the cause may be mended before the next try."""
    if not all(record.absent for record in records.values()):
        return
    for part in ("adapted", "votes"):
        shutil.rmtree(folder / part, ignore_errors=True)
    reasons = "\n".join(f"  {record.name}: {record.absent}" for record in records.values())
    message = f"no member could vote:\n{reasons}"
    raise MemberError(message)


def _placed(points: Any, cluster: Any, batch: Any) -> Any:
    """Return where cells lie as an arrow table: batch, cluster and coordinates."""
    import pyarrow as pa

    coordinates = pa.FixedSizeListArray.from_arrays(pa.array(points.ravel()), points.shape[1])
    return pa.table({"_batch": pa.array(batch), "_cluster": pa.array(cluster), "_space": coordinates})


def _measured(measures: CellMeasures, markers: NDArray[np.float32]) -> Any:
    """Return what was measured of cells as an arrow table."""
    import pyarrow as pa

    columns = {name: pa.array(values) for name, values in measure_columns(measures).items()}
    columns["_markers"] = pa.FixedSizeListArray.from_arrays(pa.array(markers.ravel()), markers.shape[1])
    return pa.table(columns)


def _measured_facts(measures: CellMeasures) -> dict[str, str]:
    return {
        "celljury_mito_genes": json.dumps(measures.mito_genes),
        "celljury_n_measured": json.dumps(measures.n_measured),
    }


def find_doublets(
    view: Query, folder: Path, config: Config, progress: Progress
) -> tuple[NDArray[np.bool_], NDArray[np.float32], str | None]:
    """Return which cells are likely doublets, their scores (NaN = not scored), and why some were not."""
    n = view.cells.n_cells
    kept = folder / "adapted" / "doublets.npz"
    if not config.review.doublets:
        return np.zeros(n, bool), np.full(n, np.nan, np.float32), "Doublets were not looked for (review.doublets = 0)."
    if n > config.review.doublets:
        why = f"Doublets were not looked for: {n:,} cells are more than review.doublets ({config.review.doublets:,})."
        return np.zeros(n, bool), np.full(n, np.nan, np.float32), why
    if not kept.is_file():
        progress("look for doublets", 0, 1)
        counts = csr_matrix(vstack([view.block(i).counts for i in range(view.n_blocks)], format="csr"))
        found = doublet_scores(counts, view.batch, seed=config.seed, batches=view.batches)
        save_arrays(
            kept, score=found.score, predicted=found.predicted, why=np.array(found.why_not or "", dtype=np.str_)
        )
        progress("look for doublets", 1, 1)
    arrays = load_arrays(kept)
    return arrays["predicted"].astype(bool), arrays["score"].astype(np.float32), str(arrays["why"]) or None


def write_calls(
    folder: Path,
    background: Background,
    *,
    ontology: CellOntology,
    flagged: dict[str, list[str]],
    config: Config,
    progress: Progress,
    verdict: Verdict | None = None,
) -> None:
    """Last pass over the parts: who failed on any block is silenced on all, then votes become calls.

    ``flagged`` lists the reference's terms whose labels were mapped ``broad`` or through an ``obsolete`` id. Without a
    ``verdict`` there is no calibration.
    """
    general = too_general(ontology, **config.too_general.model_dump())
    # One more entry at the end, False: an abstention has the index -1.
    flag = {kind: np.zeros(len(ontology) + 1, bool) for kind in flagged}
    for kind, terms in flagged.items():
        flag[kind][ontology.indices(terms)] = True
    shutil.rmtree(folder / "calls", ignore_errors=True)
    n_parts = len(list((folder / "votes").glob("part-*.parquet")))
    start = 0
    for i, table in enumerate(Run(folder).parts("votes")):
        votes = votes_from_table(table, ontology).without(tuple(background.absent))
        weighed = None
        if verdict is not None:
            weighed = verdict.weigh(votes, table, slice(start, start + votes.n_cells), general=general)
        start += votes.n_cells
        calls = make_calls(
            votes, ontology, settings=config.reduce, too_general=general, background=background,
            max_conflict=config.review.max_conflict,
            broad=np.asarray(flag["broad"][votes.terms].any(axis=1)),
            obsolete=np.asarray(flag["obsolete"][votes.terms].any(axis=1)), verdict=weighed,
        )  # fmt: skip
        whole = append_columns(append_columns(calls.to_table(), calls.evidence()), table.select(["_batch", "_cluster"]))
        write_part(whole, folder / "calls" / part_name(i))
        progress("reduce votes to calls", i + 1, n_parts)
    join_calls(folder)
