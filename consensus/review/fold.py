"""The final table of a run's cells: calls, and over them what curators decided, some cells at a time."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa
    from numpy.typing import NDArray

    from celljury.progress import Progress
    from celljury.review.leaves import Leaves
    from celljury.review.pack import Pack
    from celljury.run import Run

ROWS: Final = 131_072
"""Cells folded at once: some tens of MB."""


def write_final(run: Run, pack: Pack, leaves: Leaves, to: Path, progress: Progress) -> Counter[tuple[str, ...]]:
    """Write the table of cells, some at a time, and return how many have each term, label, status and source."""
    import pyarrow.parquet as pq

    n = int(pack.about["n_cells"])
    # Which leaf decides each cell of the run, -1 = it was never for review.
    leaf = np.full(n, -1, np.int32)
    leaf[np.asarray(pack.row)] = leaves.of_cell
    assert (leaf >= 0).sum() == len(pack.row), "a cell is for review twice"
    fold = _Fold(pack, leaves)
    counts: Counter[tuple[str, ...]] = Counter()
    file = pq.ParquetFile(run.calls_path)
    assert file.metadata.num_rows == n, "the review is of another run"
    done = 0
    with pq.ParquetWriter(to, _schema(), compression="zstd") as writer:
        for batch in file.iter_batches(batch_size=ROWS, columns=["cell_id", "term", "label", "status", "depth", "ic"]):
            table = fold.table(batch, leaf[done : done + len(batch)])
            writer.write_table(table)
            found = table.group_by(["term", "label", "status", "source"]).aggregate([([], "count_all")]).to_pydict()
            for *key, count in zip(*found.values(), strict=True):
                counts[tuple(value or "" for value in key)] += count
            done += len(batch)
            progress("fold decisions into the calls", done, n)
    assert done == n, "a cell is missing"
    return counts


def _schema() -> pa.Schema:
    import pyarrow as pa

    text = pa.dictionary(pa.int32(), pa.string())
    return pa.schema(
        [
            ("cell_id", pa.string()), ("term", text), ("label", text), ("status", text), ("depth", pa.int32()),
            ("ic", pa.float32()), ("source", text), ("reviewed", pa.bool_()), ("conflict", pa.bool_()),
            ("item_id", text), ("review_status", text), ("reviewers", text), ("decided_at", text), ("note", text),
            ("call_term", text), ("call_status", text),
        ]
    )  # fmt: skip


class _Fold:
    """Columns of the leaves, and in the last place of a cell that was never for review."""

    def __init__(self, pack: Pack, leaves: Leaves) -> None:
        import pyarrow as pa

        ontology = pack.ontology
        term = np.append(leaves.term, -1)
        named = term >= 0

        def text(values: list[str | None]) -> pa.Array:
            return pa.array(values, pa.string())

        self.decided = np.append(leaves.decided, False)
        self.conflict = np.array([*(status == "conflict" for status in leaves.status), False], bool)
        self.depth = np.where(named, ontology.depth[term], 0).astype(np.int32)
        self.ic = np.where(named, ontology.ic[term], 0).astype(np.float32)
        self.outcome = {
            "term": text([ontology.ids[t] if t >= 0 else None for t in term.tolist()]),
            "label": text([ontology.labels[t] if t >= 0 else None for t in term.tolist()]),
            "status": text([*leaves.outcome, ""]),
        }
        self.said = {
            "item_id": text([*leaves.ids, ""]),
            "review_status": text([*leaves.status, ""]),
            "reviewers": text([*leaves.reviewers, ""]),
            "decided_at": text([*leaves.decided_at, ""]),
            "note": text([*leaves.note, ""]),
        }

    def table(self, calls: pa.RecordBatch, leaf: NDArray[np.int32]) -> pa.Table:
        """Return the final rows of some cells."""
        import pyarrow as pa
        import pyarrow.compute as pc

        place = np.where(leaf >= 0, leaf, len(self.decided) - 1)
        at = pa.array(place)
        decided = self.decided[place]
        mask = pa.array(decided)
        called = {name: calls[name].cast(pa.string()) for name in ("term", "label", "status")}
        columns: dict[str, Any] = {"cell_id": calls["cell_id"].cast(pa.string())}
        columns |= {name: pc.if_else(mask, own.take(at), called[name]) for name, own in self.outcome.items()}
        for name, own in (("depth", self.depth), ("ic", self.ic)):
            columns[name] = pa.array(np.where(decided, own[place], calls[name].to_numpy()))
        columns["source"] = pc.if_else(mask, "curator", "call")
        columns |= {"reviewed": mask, "conflict": pa.array(self.conflict[place])}
        columns |= {name: own.take(at) for name, own in self.said.items()}
        columns |= {"call_term": called["term"], "call_status": called["status"]}
        schema = _schema()
        return pa.table([columns[name] for name in schema.names], names=schema.names).cast(schema)
