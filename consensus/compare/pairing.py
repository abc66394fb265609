"""Which cells two runs have in common, by name; the others are counted and kept, never dropped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from celljury.errors import CellsError
from celljury.questions import connect, parquet_sql

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from celljury.run import Run

    Rows = NDArray[np.int64]

MEMORY: Final = "600MB"
"""What DuckDB may hold while names are matched; it writes to disk beyond that."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """Cells of run A and of run B.

    Attributes
    ----------
    a, b
        Rows of the common cells in each run's ``calls.parquet``, int64 (n_common,), in the order of A.
    only_a, only_b
        Rows of cells that the other run lacks, int64, ascending.
    """

    a: Rows
    b: Rows
    only_a: Rows
    only_b: Rows

    @property
    def n_common(self) -> int:
        """Number of cells that both runs have."""
        return len(self.a)

    def check(self, n_a: int, n_b: int) -> None:
        """Raise RuntimeError where a cell of either run is not in exactly one place: a defect of ours."""
        for rows, n in ((np.concatenate([self.a, self.only_a]), n_a), (np.concatenate([self.b, self.only_b]), n_b)):
            if len(rows) != n or not np.array_equal(np.sort(rows), np.arange(n)):
                message = f"cells of the two runs were paired {len(rows):,} times for {n:,} cells"
                raise RuntimeError(message)


def pair_cells(run_a: Run, run_b: Run) -> Pairs:
    """Match the cells of two runs by name.

    Raises
    ------
    CellsError
        If no cell is in both, or a name occurs twice in a run.
    """
    a, b = (parquet_sql(run.calls_path) for run in (run_a, run_b))
    with connect(memory=MEMORY) as connection:

        def ask(sql: str) -> dict[str, Any]:
            return dict(connection.execute(sql).fetchnumpy())

        for run, table in ((run_a, a), (run_b, b)):
            twice = connection.execute(
                f"SELECT cell_id, count(*) FROM {table} GROUP BY cell_id HAVING count(*) > 1 ORDER BY cell_id LIMIT 1"
            ).fetchone()
            if twice is not None:
                message = (
                    f"{run.calls_path}: cell {twice[0]!r} occurs {twice[1]} times. Cells are matched by name: annotate again"
                    " with a name for each."
                )
                raise CellsError(message)
        found = ask(
            f"SELECT x.file_row_number AS a, y.file_row_number AS b FROM {a} x FULL JOIN {b} y ON x.cell_id = y.cell_id"
        )
        row_a, row_b = (_rows(found[name]) for name in ("a", "b"))
        both = (row_a >= 0) & (row_b >= 0)
        if not both.any():
            names = [connection.execute(f"SELECT cell_id FROM {table} LIMIT 2").fetchall() for table in (a, b)]
            shown = [", ".join(repr(str(name)) for (name,) in some) or "no cell" for some in names]
            message = (
                f"{run_a.folder} and {run_b.folder} have no cell in common: cells are matched by name, and the first are"
                f" {shown[0]} there and {shown[1]} here. Compare two runs over the same query."
            )
            raise CellsError(message)
    order = np.argsort(row_a[both], kind="stable")
    return Pairs(
        row_a[both][order], row_b[both][order], np.sort(row_a[row_b < 0]), np.sort(row_b[row_a < 0])
    )  # fmt: skip


def _rows(column: Any) -> Rows:
    """Return row numbers, -1 where a cell has no partner."""
    return np.ma.filled(np.ma.asarray(column, dtype=np.int64), -1)
