"""The review queue: cells that need a curator, grouped by the same evidence, the most useful group first."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from celljury.reasons import reason_codes
from celljury.reduce import Reduced, Status
from celljury.review.gain import expected_gain
from celljury.review.item_texts import Said, examples, first_with, leads_of, samples_of_items
from celljury.signs import SIGN_COLUMNS, Signs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from celljury.ontology.graph import CellOntology
    from celljury.reasons import Background
    from celljury.run import Run


@dataclass(frozen=True, slots=True)
class Queue:
    """Review items, the most useful first, and the cells behind them, item after item and by name within an item.

    Attributes
    ----------
    table
        One row an item (n_items): the columns of ``queue.tsv``.
    facts
        The same rows: what only the review screen needs (`celljury.review.pack.Pack.items`).
    members
        Members that took part, in order.
    row
        Row of each cell in ``calls.parquet``, int64 (n_review,).
    batch
        Its sample, int32 (n_review,).
    support
        Each member's own probability at or below the call, float32 (n_review, n_members), NaN = no call or no vote.
    """

    table: pd.DataFrame
    facts: pd.DataFrame
    members: tuple[str, ...]
    row: NDArray[np.int64]
    batch: NDArray[np.int32]
    support: NDArray[np.float32]


def build_queue(
    run: Run,
    ontology: CellOntology,
    background: Background,
    *,
    batches: Sequence[str],
    markers: Mapping[str, Sequence[str]] | None = None,
) -> Queue:
    """Return the review items of a run.

    An item is a group of cells with the same votes, call, status and cluster. Every cell that needs review is in
    exactly one. Its reasons are those of any of its cells; its sentences are those of the cell with most reasons, the
    first by name, and what only others have is said to be so. Candidates are the votes of the two largest camps and,
    where both may be right, the most general terms that are kinds of both.
    Items stand in the order of their expected gain (`celljury.review.gain`), equal ones in that of their ids.

    Parameters
    ----------
    batches
        Names behind the batch numbers.
    markers
        Marker genes of reference terms, by term id.
    """
    members = tuple(name for name in background.members if name not in background.absent)
    cells = _cells_for_review(run, background.members)
    if cells.empty:
        return _empty(members)
    votes = [f"_vote_{name}" for name in background.members]
    item = np.asarray(cells.groupby([*votes, "_term", "_status", "_cluster"], sort=False).ngroup(), np.int64)
    order = np.lexsort((cells["cell_id"].to_numpy(dtype=str), item))
    n_cells = np.bincount(item)
    starts = np.cumsum(n_cells) - n_cells
    head = cells.iloc[order[starts]].reset_index(drop=True)
    found = cells["_reasons"].to_numpy()
    masks = np.bitwise_or.reduceat(found[order], starts)
    every, reduced = (Reduced(*(frame[f"_{name}"].to_numpy() for name in Reduced.__slots__)) for frame in (cells, head))
    signs = Signs.from_columns(
        {name: cells[name].to_numpy() for name in SIGN_COLUMNS if name in cells}, n_cells=len(cells)
    )
    said = Said(
        reduced, head[votes].to_numpy(np.int32), masks, background, ontology, cells=every, found=found, signs=signs,
        leads=leads_of(found, item, order), first=first_with(found, item, order),
    )  # fmt: skip
    # Rounded, so that float noise does not order items and the table is in the order that it tells.
    gain = np.add.reduceat(expected_gain(every, ontology)[order], starts).round(3)
    terms, statuses, votes_said = _ids(reduced.term, ontology), _statuses(reduced.status), said.votes()
    camp_a, camp_b = _ids(reduced.camp_a, ontology), _ids(reduced.camp_b, ontology)
    reasons = [reason_codes(mask) for mask in masks.tolist()]
    named = cells["cell_id"].to_numpy(dtype=object)[order]
    item_ids = [_item_id(*row) for row in zip(votes_said, terms, statuses, head["_cluster"].tolist(), strict=True)]
    table = pd.DataFrame(
        {
            "item_id": item_ids,
            "n_cells": n_cells,
            "gain": gain,
            "samples": samples_of_items(item, cells["_batch"].to_numpy(), batches),
            "term": terms,
            "label": [ontology.labels[t] if t >= 0 else "" for t in reduced.term.tolist()],
            "status": statuses,
            "depth": np.where(reduced.term >= 0, ontology.depth[reduced.term], 0),
            "agreement": reduced.agreement.round(4),
            "reasons": reasons,
            "sentence": said.all(),
            "votes": votes_said,
            "candidates": said.candidates(),
            "markers": said.markers(markers or {}),
            "example_cells": examples(named, n_cells),
            "family": [_family(*row) for row in zip(terms, statuses, camp_a, camp_b, strict=True)],
            "evidence": _evidence(item_ids, reasons, named, n_cells),
        }
    )
    assert table["n_cells"].sum() == len(cells), "a cell that needs review is outside every item"
    facts = pd.DataFrame(
        {
            "ic": np.where(reduced.term >= 0, ontology.ic[reduced.term], 0).astype(np.float32),
            "support": (np.add.reduceat(every.support[order].astype(np.float64), starts) / n_cells).astype(np.float32),
            "p_seen": pd.Series(signs.p_seen).groupby(item).median().to_numpy(np.float32),
            "top_term": _ids(reduced.top_term, ontology),
            "camp_a": camp_a,
            "camp_b": camp_b,
            "size_a": reduced.size_a,
            "size_b": reduced.size_b,
            "n_votes": reduced.n_votes.astype(np.int32),
        }
    )
    ranked = np.lexsort((table["item_id"], -gain))
    rank = np.empty(len(ranked), np.int64)
    rank[ranked] = np.arange(len(ranked))
    placed = order[np.argsort(rank[item[order]], kind="stable")]
    return Queue(
        table.iloc[ranked].reset_index(drop=True), facts.iloc[ranked].reset_index(drop=True), members,
        row=cells["row"].to_numpy()[placed], batch=cells["_batch"].to_numpy(np.int32)[placed],
        support=cells[[f"support_{name}" for name in members]].to_numpy(np.float32)[placed],
    )  # fmt: skip


def _cells_for_review(run: Run, members: Sequence[str]) -> pd.DataFrame:
    """Return the cells that need review in the order of the run; ``row`` is their place in it."""
    import pyarrow as pa

    wanted = [
        "cell_id", *(f"_{name}" for name in Reduced.__slots__), "_reasons", "_cluster", "_batch", *SIGN_COLUMNS,
        *(f"{kind}_{name}" for name in members for kind in ("_vote", "support")),
    ]  # fmt: skip
    parts, start = [], 0
    for part in run.parts("calls", columns=["needs_review", *_had_by(run, wanted)]):
        rows = np.flatnonzero(part["needs_review"].to_numpy())
        parts.append(part.take(rows).append_column("row", pa.array(start + rows)))
        start += len(part)
    return pa.concat_tables(parts).to_pandas()


def _had_by(run: Run, columns: Sequence[str]) -> list[str]:
    """Return those of the columns that the run's parts have: older runs, and those of labels alone, have fewer signs."""
    import pyarrow.parquet as pq

    part = next((run.folder / "calls").glob("part-*.parquet"), None)
    have = set(pq.read_schema(part).names) if part else set()
    return [name for name in columns if name in have]


def _item_id(votes: str, term: str, status: str, cluster: int) -> str:
    # A hash of the evidence: a new run re-opens only what changed. Of ids and names, since a term's number in the index
    # and a member's column are another in the next release or jury.
    said = ";".join(sorted(votes.split(";")))
    return hashlib.sha256(f"{said}|{term}|{status}|{cluster}".encode()).hexdigest()[:12]


def _family(term: str, status: str, *camps: str) -> str:
    """Return what items share that differ only in who said what, and in cluster."""
    said = ";".join(sorted(filter(None, camps)))
    return hashlib.sha256(f"{term}|{status}|{said}".encode()).hexdigest()[:8]


def _evidence(
    item_ids: Sequence[str], reasons: Sequence[str], cell_ids: NDArray[np.object_], n_cells: NDArray[np.int64]
) -> list[str]:
    """Return what a decision rests on: the item, its cells and why they are in it; ``cell_ids`` item after item, sorted."""
    stops = np.cumsum(n_cells).tolist()
    spans = zip([0, *stops[:-1]], stops, strict=True)
    return [
        hashlib.sha256("\n".join((item_id, codes, *cell_ids[a:b])).encode()).hexdigest()[:16]
        for item_id, codes, (a, b) in zip(item_ids, reasons, spans, strict=True)
    ]


def _ids(terms: NDArray[np.int32], ontology: CellOntology) -> list[str]:
    return [ontology.ids[t] if t >= 0 else "" for t in terms.tolist()]


def _statuses(status: NDArray[np.int8]) -> list[str]:
    return [Status(s).name.lower() for s in status.tolist()]


_TEXT = "object"
_TABLE = {
    "item_id": _TEXT, "n_cells": "int64", "gain": "float64", "samples": _TEXT, "term": _TEXT, "label": _TEXT,
    "status": _TEXT, "depth": "int64", "agreement": "float32", "reasons": _TEXT, "sentence": _TEXT, "votes": _TEXT,
    "candidates": _TEXT, "markers": _TEXT, "example_cells": _TEXT, "family": _TEXT, "evidence": _TEXT,
}  # fmt: skip
_FACTS = {
    "ic": "float32", "support": "float32", "p_seen": "float32", "top_term": _TEXT, "camp_a": _TEXT, "camp_b": _TEXT,
    "size_a": "float32", "size_b": "float32", "n_votes": "int32",
}  # fmt: skip


def _empty(members: tuple[str, ...]) -> Queue:
    table, facts = (
        pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in columns.items()}) for columns in (_TABLE, _FACTS)
    )
    none = np.zeros(0, np.int64)
    return Queue(table, facts, members, none, none.astype(np.int32), np.zeros((0, len(members)), np.float32))
