"""What the tables of a run count: its cells with their calls or final terms, and what they are grouped by."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from celljury.errors import UnreadableFileError
from celljury.questions import connect, parquet_sql
from celljury.run import n_unlike_final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd
    from numpy.typing import NDArray

    from celljury.ontology.graph import CellOntology
    from celljury.run import Run

Role = Literal["sample", "donor", "condition", "other"]
"""What a grouping is of; only fractions of donors are averaged with an interval."""

MEMORY = "1GB"
"""What DuckDB may hold; it writes to disk beyond that."""

NEEDED: Final = ("cell_id", "term", "status", "needs_review")
"""Columns of ``calls.parquet`` without which nothing can be counted."""

OPTIONAL: Final = {
    "label": "VARCHAR", "depth": "INTEGER", "ic": "FLOAT", "top_term": "VARCHAR", "agreement": "FLOAT", "conflict": "FLOAT",
    "coarser": "FLOAT", "n_votes": "INTEGER", "n_members": "INTEGER", "support": "FLOAT", "runner_up": "VARCHAR",
    "p_seen": "FLOAT", "reasons": "VARCHAR", "tier": "VARCHAR",
}  # fmt: skip
"""Columns that calls of an older celljury may lack: they are missing in every cell then."""

FINAL: Final = ("cell_id", "term", "label", "status", "depth", "reviewed", "call_term", "call_status")


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
        Its groups, each with a cell or more, sorted (an ordered category in its own order); cells without a value are of
        the group ``(none)``, which stands last.
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
    counts
        Cells by group, term and status, as they were counted so far: see `celljury.report.tally`.
    """

    run: Run
    ontology: CellOntology
    n_cells: int
    source: Literal["calls", "final"]
    groups: tuple[Groups, ...]
    counts: dict[tuple[int, ...], pd.DataFrame] = field(default_factory=dict, repr=False, compare=False)

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
        import pyarrow as pa

        codes = {f"group_{i}": groups.code for i, groups in enumerate(self.groups)}
        own = pa.table({"row": np.arange(self.n_cells, dtype=np.int64), **codes})
        with connect(memory=MEMORY) as connection:
            connection.execute("SET preserve_insertion_order = false")
            connection.register("own", own)
            for name, table in tables.items():
                connection.register(name, table)
            connection.execute(self._view())
            return connection.execute(sql).df()

    def _view(self) -> str:
        calls = parquet_sql(self.run.calls_path)
        have = _columns_of(self.run.calls_path)
        lacking = [f"NULL::{kind} AS {name}" for name, kind in OPTIONAL.items() if name not in have]
        columns = ["c.file_row_number AS row", "c.* EXCLUDE (file_row_number)", *lacking]
        joined = ""
        names = ("term", "label", "status", "depth")
        if self.source == "final":
            joined = f" JOIN {parquet_sql(self.final_path)} f ON f.file_row_number = c.file_row_number"
            columns += [*(f"f.{name} AS counted_{name}" for name in names), "f.reviewed"]
        else:
            columns += [f"{f'c.{name}' if name in have else 'NULL'} AS counted_{name}" for name in names]
            columns.append("false AS reviewed")
        if self.groups:
            columns += [f"own.group_{i}" for i in range(len(self.groups))]
            joined += " JOIN own ON own.row = c.file_row_number"
        return f"CREATE VIEW cells AS SELECT {', '.join(columns)} FROM {calls} c{joined}"


def counted_cells(
    run: Run,
    ontology: CellOntology,
    *,
    calls: Literal["auto", "calls", "final"] = "auto",
    groups: Sequence[Groups] = (),
) -> Counted:
    """Return a run's cells for counting.

    Parameters
    ----------
    calls
        ``calls``: as the run called them; ``final``: with curators' decisions; ``auto``: final where `celljury apply` left
        a ``final.parquet``.
    groups
        As of `celljury.report.groups.read_groups`.

    Raises
    ------
    UnreadableFileError
        If ``calls.parquet`` is not there or lacks what is counted; if ``final.parquet`` is asked for in vain, or was made
        from other calls than the run has now. It is compared cell by cell: a date says nothing of that.
    ValueError
        If a grouping is of other cells.
    """
    import pyarrow.parquet as pq

    have = _columns_of(run.calls_path)
    if lost := [name for name in NEEDED if name not in have]:
        message = (
            f"{run.calls_path} has no column {', '.join(lost)}: it is no table of calls, or one of a celljury older than can"
            " be counted. Annotate again with --overwrite; curators' decisions are kept."
        )
        raise UnreadableFileError(message)
    n_cells = int(pq.read_metadata(run.calls_path).num_rows)
    for one in groups:
        if len(one.code) != n_cells:
            message = f"the grouping {one.name!r} is of {len(one.code):,} cells, the run has {n_cells:,}"
            raise ValueError(message)
    counted = Counted(run, ontology, n_cells, "calls", tuple(groups))
    is_final = counted.final_path.is_file()
    if calls == "calls" or (calls == "auto" and not is_final):
        return counted
    if not is_final:
        message = (
            f"{run.folder} has no final.parquet: no curator's decisions are folded in yet. Fold them in with celljury apply"
            f" {run.folder}, or count the calls with --calls calls."
        )
        raise UnreadableFileError(message)
    _check_final(counted)
    return replace(counted, source="final", counts={})


def _columns_of(path: Path) -> frozenset[str]:
    """Return the columns of a parquet file; raises UnreadableFileError where there is none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return frozenset(pq.read_schema(path).names)
    except (OSError, pa.ArrowInvalid) as error:
        message = f"{path} cannot be read: {str(error).splitlines()[0]}."
        raise UnreadableFileError(message) from error


def _check_final(counted: Counted) -> None:
    """Raise UnreadableFileError unless ``final.parquet`` was made from the run's calls."""
    import pyarrow.parquet as pq

    path, run = counted.final_path, counted.run
    again = f"Fold the decisions in again with celljury apply {run.folder}, or count the calls with --calls calls."
    try:
        have = _columns_of(path)
    except UnreadableFileError as error:
        message = f"{error} {again}"
        raise UnreadableFileError(message) from error
    if lost := [name for name in FINAL if name not in have]:
        message = f"{path} has no column {', '.join(lost)}. {again}"
        raise UnreadableFileError(message)
    n_final = int(pq.read_metadata(path).num_rows)
    if n_final != counted.n_cells:
        message = (
            f"{path} is of other calls: it has {n_final:,} cells, {run.calls_path.name} {counted.n_cells:,}. {again}"
        )
        raise UnreadableFileError(message)
    n_others, n_calls = n_unlike_final(run)
    if n_others or n_calls:
        what = (
            f"{n_others:,} cells stand elsewhere or have other names"
            if n_others
            else f"{n_calls:,} cells are called otherwise"
        )
        message = f"{path} is of other calls: {what} in {run.calls_path.name}. {again}"
        raise UnreadableFileError(message)
