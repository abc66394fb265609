"""What the tables of a run count: its cells with their calls or final terms, and what they are grouped by."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from numpy.typing import NDArray

    from celljury.ontology.graph import CellOntology
    from celljury.run import Run

Role = Literal["sample", "donor", "condition", "other"]
"""What a grouping is of; only fractions of donors are averaged with an interval."""

MEMORY = "1GB"
"""What DuckDB may hold; it writes to disk beyond that."""


@dataclass(frozen=True, slots=True)
class Groups:
    """A grouping of a run's cells.

    Attributes
    ----------
    role
        What it is of.
    name
        Of the column, as the user gave it; of a run's own samples, the column that annotate was given with --batch.
    values
        Its groups, sorted; cells without a value are of the group ``(none)``, which stands last.
    code
        Group of each cell as an index into ``values``, int32 (n_cells,), in the order of ``calls.parquet``.
    """

    role: Role
    name: str
    values: tuple[str, ...]
    code: NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Counted:
    """A run's cells as tables count them.

    Attributes
    ----------
    run, ontology
        The run, and the ontology that it used.
    n_cells
        Cells of the run.
    source
        ``calls``: as the run called them; ``final``: with curators' decisions over the calls.
    groups
        What they can be grouped by.
    """

    run: Run
    ontology: CellOntology
    n_cells: int
    source: Literal["calls", "final"]
    groups: tuple[Groups, ...]

    @property
    def final_path(self) -> Path:
        """The file of `celljury apply`."""
        return self.run.folder / "final.parquet"

    def query(self, sql: str, **tables: Any) -> pd.DataFrame:
        """Return the answer to a question over the view ``cells``, which DuckDB reads from disk as it goes.

        Parameters
        ----------
        sql
            A question. ``cells`` has a row a cell: ``row`` (0 .. n_cells - 1, the order of ``calls.parquet``); every
            column of ``calls.parquet``; ``counted_term``, ``counted_label``, ``counted_status``, ``counted_depth`` (what
            tables count: the call's, or where ``source`` is ``final`` the decided ones); ``reviewed`` (whether a curator
            decided the cell); ``group_0``, ``group_1`` ...: codes of ``groups``.
        tables
            Arrow tables or frames that the question names.
        """
        import duckdb
        import pyarrow as pa

        config = {"memory_limit": MEMORY, "temp_directory": tempfile.gettempdir(), "autoinstall_known_extensions": "false",
                  "threads": "1", "preserve_insertion_order": "false"}  # fmt: skip
        codes = {f"group_{i}": groups.code for i, groups in enumerate(self.groups)}
        own = pa.table({"row": np.arange(self.n_cells, dtype=np.int64), **codes})
        with duckdb.connect(config=config) as connection:
            connection.register("own", own)
            for name, table in tables.items():
                connection.register(name, table)
            connection.execute(self._view())
            return connection.execute(sql).df()

    def _view(self) -> str:
        calls, final = (_quoted(path) for path in (self.run.calls_path, self.final_path))
        names = [f"own.group_{i}" for i in range(len(self.groups))]
        if self.source == "final":
            joined = f"JOIN read_parquet({final}, file_row_number = true) f ON f.file_row_number = c.file_row_number"
            counted = [f"f.{name} AS counted_{name}" for name in ("term", "label", "status", "depth")] + ["f.reviewed"]
        else:
            joined = ""
            counted = [f"c.{name} AS counted_{name}" for name in ("term", "label", "status", "depth")]
            counted.append("false AS reviewed")
        return (
            f"CREATE VIEW cells AS SELECT c.file_row_number AS row, c.* EXCLUDE (file_row_number),"
            f" {', '.join([*counted, *names])} FROM read_parquet({calls}, file_row_number = true) c {joined}"
            " JOIN own ON own.row = c.file_row_number"
        )


def _quoted(path: Path) -> str:
    """Return a path as SQL text."""
    return "'" + str(path).replace("'", "''") + "'"
