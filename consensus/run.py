"""A run's folder: where its parts are, and how they are read back."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from celljury.errors import UnreadableFileError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy as np
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray


ROWS = 131_072
"""Cells compared at once."""


@dataclass(frozen=True)
class Run:
    """A finished run on disk."""

    folder: Path

    @classmethod
    def open(cls, folder: Path) -> Run:
        """Open a run; raises UnreadableFileError where the folder holds none."""
        if not (folder / "run.json").is_file():
            message = (
                f"{folder} holds no finished run (no run.json). Make one with: celljury annotate or celljury vote."
            )
            raise UnreadableFileError(message)
        return cls(folder)

    @cached_property
    def record(self) -> dict[str, Any]:
        """What ``run.json`` says; raises UnreadableFileError where it is damaged, also where a part is asked for in vain."""
        path = self.folder / "run.json"
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise _damaged(path, str(error)) from error
        if not isinstance(found, dict):
            raise _damaged(path, f"expected an object, got {type(found).__name__}")
        return _Record(found, path)

    @cached_property
    def calls(self) -> pd.DataFrame:
        """All calls, indexed by cell name; the columns of ``calls.parquet``."""
        import pandas as pd

        return pd.read_parquet(self.calls_path).set_index("cell_id")

    @property
    def calls_path(self) -> Path:
        """The file with one row a cell."""
        return self.folder / "calls.parquet"

    def parts(self, kind: str, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """Yield the parts under ``votes/`` or ``calls/`` in the order of the cells."""
        import pyarrow.parquet as pq

        for path in sorted((self.folder / kind).glob("part-*.parquet")):
            yield pq.read_table(path, columns=columns)


def n_unlike_final(run: Run) -> tuple[int, int]:
    """Return how many cells stand elsewhere in ``final.parquet``, or have other names; and how many are called otherwise.

    More than 0 = it is of other calls. Where the two files hold different numbers of cells, the first is the difference.
    """
    import pyarrow.parquet as pq

    final, calls = pq.ParquetFile(run.folder / "final.parquet"), pq.ParquetFile(run.calls_path)
    n_final, n_calls = final.metadata.num_rows, calls.metadata.num_rows
    if n_final != n_calls:
        return abs(int(n_final - n_calls)), 0
    pairs = zip(
        final.iter_batches(columns=["cell_id", "call_term", "call_status"], batch_size=ROWS),
        calls.iter_batches(columns=["cell_id", "term", "status"], batch_size=ROWS),
        strict=True,
    )
    n_others = n_otherwise = 0
    for said, found in pairs:
        name, term, status = (_unequal(said[i], found[i]) for i in range(3))
        n_others += int(name.sum())
        n_otherwise += int((term | status).sum())
    return n_others, n_otherwise


def _unequal(a: pa.Array, b: pa.Array) -> NDArray[np.bool_]:
    """Return where two columns of texts differ; a missing text is an empty one."""
    import pyarrow as pa
    import pyarrow.compute as pc

    ours, theirs = (pc.fill_null(column.cast(pa.string()), "") for column in (a, b))
    return pc.not_equal(ours, theirs).to_numpy(zero_copy_only=False)


class _Record(dict[str, Any]):
    """What a file says; a part that it lacks is the file's fault."""

    def __init__(self, found: dict[str, Any], path: Path) -> None:
        super().__init__(found)
        self._path = path

    def __missing__(self, name: str) -> Any:
        raise _damaged(self._path, f"it has no {name!r}")


def _damaged(path: Path, why: str) -> UnreadableFileError:
    return UnreadableFileError(
        f"{path} cannot be read: {why}. It is damaged: put a copy in its place, or make the run again with --overwrite;"
        " curators' decisions are kept."
    )


def part_name(i_block: int) -> str:
    """Return the file name of a block's part."""
    return f"part-{i_block:05d}.parquet"


def write_part(table: pa.Table, path: Path) -> None:
    """Write a parquet part beside its name and rename it."""
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    pq.write_table(table, partial, compression="zstd")
    partial.replace(path)


def join_calls(folder: Path) -> None:
    """Join the parts under ``calls/`` into ``calls.parquet``, a part at a time, without their evidence columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    to = folder / "calls.parquet"
    partial = to.with_name(to.name + ".partial")
    parts = sorted((folder / "calls").glob("part-*.parquet"))
    found = pq.read_schema(parts[0])
    schema = pa.schema([column for column in found if not column.name.startswith("_")])
    with pq.ParquetWriter(partial, schema, compression="zstd") as writer:
        for part in parts:
            writer.write_table(pq.read_table(part, columns=schema.names).cast(schema))
    partial.replace(to)


def append_columns(table: pa.Table, columns: pa.Table) -> pa.Table:
    """Return the table with further columns at its right."""
    for name in columns.column_names:
        table = table.append_column(name, columns[name])
    return table
