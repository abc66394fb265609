"""The review queue: cells that need a curator, grouped by the same evidence, the most useful group first."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from celljury.reasons import Reason, reason_codes, reasons_in
from celljury.reduce import Reduced, Status
from celljury.sentences import Between, sentences
from celljury.signs import SIGN_COLUMNS, Signs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from celljury.ontology.graph import CellOntology
    from celljury.reasons import Background
    from celljury.run import Run

N_EXAMPLES = 5
N_MARKERS = 5


def build_queue(
    run: Run,
    ontology: CellOntology,
    background: Background,
    *,
    batches: Sequence[str],
    markers: Mapping[str, Sequence[str]] | None = None,
) -> pd.DataFrame:
    """Return the review items of a run, the most useful first; the columns of ``queue.tsv``.

    An item is a group of cells with the same votes, call, status and cluster. Every cell that needs review is in
    exactly one. Its reasons are those of any of its cells; its sentences are those of the cell with most reasons, the
    first by name, and what only others have is said to be so. Candidates are the votes of the two largest camps and,
    where both may be right, the most general terms that are kinds of both.
    Rank: cells x disagreement x (1 + levels lost), where disagreement is the share of votes outside the largest camp
    (at least 0.01; 1 where nobody voted) and levels lost those between the top vote and the call.

    Parameters
    ----------
    batches
        Names behind the batch numbers.
    markers
        Marker genes of reference terms, by term id.
    """
    import pyarrow as pa

    votes = [f"_vote_{name}" for name in background.members]
    fields = [f"_{name}" for name in Reduced.__slots__]
    # Runs of labels alone, and those of earlier versions, have no signs.
    known = _known_signs(run)
    wanted = ["cell_id", "needs_review", *fields, "_reasons", *votes, "_cluster", "_batch", *known]
    parts = [part.filter(part["needs_review"]) for part in run.parts("calls", columns=wanted)]
    cells = pa.concat_tables(parts).to_pandas()
    if cells.empty:
        return pd.DataFrame(columns=_COLUMNS)
    key = [*votes, "_term", "_status", "_cluster"]
    item = cells.groupby(key, sort=False).ngroup().to_numpy()
    order = np.lexsort((cells["cell_id"].to_numpy(dtype=str), item))
    first = order[np.flatnonzero(np.diff(item[order], prepend=-1))]
    head = cells.iloc[first].reset_index(drop=True)
    n_cells = np.bincount(item)
    found = cells["_reasons"].to_numpy()
    masks = np.bitwise_or.reduceat(found[order], np.cumsum(n_cells) - n_cells)
    reduced = Reduced(*(head[name].to_numpy() for name in fields))
    lost = levels_lost(reduced, ontology)
    outside = np.where(reduced.n_votes > 0, 1 - reduced.size_a, 1.0)
    # Float noise must not order items: equal items are ordered by their ids below.
    rank = np.round(n_cells * np.maximum(outside, 0.01) * (1 + lost), 6)
    patterns = head[votes].to_numpy(np.int32)
    said = _Said(
        reduced, patterns, masks, background, ontology,
        cells=Reduced(*(cells[name].to_numpy() for name in fields)), found=found,
        signs=Signs.from_columns({name: cells[name].to_numpy() for name in known}, n_cells=len(cells)),
        leads=_leads(found, item, order),
        first=_first_with(found, item, order),
    )  # fmt: skip
    terms = [ontology.ids[t] if t >= 0 else "" for t in reduced.term.tolist()]
    statuses = [Status(s).name.lower() for s in reduced.status.tolist()]
    votes_said = said.votes()
    evidence = zip(votes_said, terms, statuses, head["_cluster"].tolist(), strict=True)
    queue = pd.DataFrame(
        {
            "item_id": [_item_id(*row) for row in evidence],
            "n_cells": n_cells,
            "samples": _samples(item, cells["_batch"].to_numpy(), batches),
            "term": terms,
            "label": [ontology.labels[t] if t >= 0 else "" for t in reduced.term.tolist()],
            "status": statuses,
            "depth": np.where(reduced.term >= 0, ontology.depth[reduced.term], 0),
            "agreement": reduced.agreement.round(4),
            "reasons": [reason_codes(mask) for mask in masks.tolist()],
            "sentence": said.all(),
            "votes": votes_said,
            "candidates": said.candidates(),
            "markers": said.markers(markers or {}),
            "example_cells": _examples(cells["cell_id"].to_numpy(dtype=object)[order], n_cells),
        },
        columns=_COLUMNS,
    )
    assert queue["n_cells"].sum() == len(cells), "a cell that needs review is outside every item"
    return queue.iloc[np.lexsort((queue["item_id"], -rank))].reset_index(drop=True)


_COLUMNS = [
    "item_id", "n_cells", "samples", "term", "label", "status", "depth", "agreement", "reasons", "sentence", "votes",
    "candidates", "markers", "example_cells",
]  # fmt: skip


def _known_signs(run: Run) -> list[str]:
    """Return those of the sign columns that the run's parts have."""
    import pyarrow.parquet as pq

    part = next((run.folder / "calls").glob("part-*.parquet"), None)
    have = pq.read_schema(part).names if part else []
    return [name for name in SIGN_COLUMNS if name in have]


def levels_lost(reduced: Reduced, ontology: CellOntology) -> NDArray[np.int32]:
    """Return the levels between the top vote and the call, int32 (n,): 0 where the call is as deep, all where there is none."""
    deep = np.where(reduced.top_term >= 0, ontology.depth[reduced.top_term], 0)
    called = np.where(reduced.term >= 0, ontology.depth[reduced.term], 0)
    return np.maximum(deep - called, 0).astype(np.int32)


def _examples(cell_ids: NDArray[np.object_], n_cells: NDArray[np.int64]) -> list[str]:
    """Return the first names of each item; ``cell_ids`` stand item after item."""
    stops = np.cumsum(n_cells).tolist()
    starts = [0, *stops[:-1]]
    return [";".join(cell_ids[a : min(a + N_EXAMPLES, b)]) for a, b in zip(starts, stops, strict=True)]


def _item_id(votes: str, term: str, status: str, cluster: int) -> str:
    # A hash of the evidence: a new run re-opens only what changed. Of ids and names, since a term's number in the index
    # and a member's column are another in the next release or jury.
    said = ";".join(sorted(votes.split(";")))
    return hashlib.sha256(f"{said}|{term}|{status}|{cluster}".encode()).hexdigest()[:12]


def _samples(item: NDArray[np.int64], batch: NDArray[np.int32], batches: Sequence[str]) -> list[str]:
    pairs, n_cells = np.unique(np.stack([item, batch]), axis=1, return_counts=True)
    texts: list[list[str]] = [[] for _ in range(int(item.max()) + 1)]
    for i, b, n in zip(*pairs.tolist(), n_cells.tolist(), strict=True):
        texts[i].append(f"{batches[b]}={n}")
    return [";".join(text) for text in texts]


def _leads(found: NDArray[np.int32], item: NDArray[np.int64], order: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the cell of each item that has most reasons, the first of them in ``order``, int64 (n_items,)."""
    n_reasons = np.sum([(found & reason) > 0 for reason in Reason], axis=0)
    ranked = order[np.lexsort((-n_reasons[order], item[order]))]
    return ranked[np.flatnonzero(np.diff(item[ranked], prepend=-1))]


def _first_with(
    found: NDArray[np.int32], item: NDArray[np.int64], order: NDArray[np.int64]
) -> dict[Reason, NDArray[np.int64]]:
    """Return for each reason the first cell, in ``order``, of each item that has it, int64 (n_items,), -1 = none."""
    rows = {}
    for reason in Reason:
        having = order[(found[order] & reason) > 0]
        items, at = np.unique(item[having], return_index=True)
        rows[reason] = np.full(int(item.max()) + 1, -1, np.int64)
        rows[reason][items] = having[at]
    return rows


class _Said:
    """Texts of items.

    ``reduced``, ``patterns`` and ``masks`` are the items'; ``cells``, ``found`` and ``signs`` are of all cells. ``leads``
    tells which of these speaks for each item, and ``first`` which one has a reason that it may lack.
    """

    def __init__(
        self, reduced: Reduced, patterns: NDArray[np.int32], masks: NDArray[np.int32], background: Background,
        ontology: CellOntology, *, cells: Reduced, found: NDArray[np.int32], signs: Signs, leads: NDArray[np.int64],
        first: dict[Reason, NDArray[np.int64]],
    ) -> None:  # fmt: skip
        self.reduced, self.patterns, self.masks = reduced, patterns, masks
        self.background, self.ontology = background, ontology
        self.cells, self.signs, self.leads, self.first = cells, signs, leads, first
        self.lacking = masks & ~found[leads]
        self.between = Between.of(reduced, ontology, background)

    def all(self) -> list[str]:
        return [
            " ".join(
                sentences(
                    mask, self.cells, lead, between=self.between, j=j, votes=self.patterns[j], background=self.background,
                    ontology=self.ontology, signs=self.signs,
                    elsewhere={reason: int(self.first[reason][j]) for reason in reasons_in(lacking)},
                )
            )
            for j, (mask, lead, lacking) in enumerate(
                zip(self.masks.tolist(), self.leads.tolist(), self.lacking.tolist(), strict=True)
            )
        ]  # fmt: skip

    def votes(self) -> list[str]:
        names, ids = self.background.members, self.ontology.ids
        return [
            ";".join(f"{name}={ids[t]}" for name, t in zip(names, row, strict=True) if t >= 0)
            for row in self.patterns.tolist()
        ]

    def _camps(self) -> list[list[int]]:
        pairs = zip(self.reduced.camp_a.tolist(), self.reduced.camp_b.tolist(), strict=True)
        return [[term for term in pair if term >= 0] for pair in pairs]

    def candidates(self) -> list[str]:
        terms = zip(self._camps(), self.between.both, strict=True)
        return [";".join(self.ontology.ids[term] for term in (*camps, *both)) for camps, both in terms]

    def markers(self, markers: Mapping[str, Sequence[str]]) -> list[str]:
        def text(term: int) -> str:
            genes = markers.get(self.ontology.ids[term], ())
            return f"{self.ontology.ids[term]}:{','.join(genes[:N_MARKERS])}" if genes else ""

        return [";".join(filter(None, map(text, camps))) for camps in self._camps()]
