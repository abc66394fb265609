"""The columns of a run that exports carry: its calls, and curators' decisions where they were applied, one at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from celljury.errors import InputError, UnreadableFileError
from celljury.run import n_unlike_final
from celljury.write import FINAL, PREFIX

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

    from celljury.run import Run

Which = Literal["auto", "calls", "final"]


@dataclass(frozen=True, slots=True)
class RunColumns:
    """A run's calls as exports take them.

    Attributes
    ----------
    run
        The run.
    source
        ``calls``: as the run called them; ``final``: curators' decisions over the calls.
    cell_ids
        Names of the cells in the order of ``calls.parquet``, object (n_cells,).
    """

    run: Run
    source: Literal["calls", "final"]
    cell_ids: NDArray[Any]

    @classmethod
    def open(cls, run: Run, *, calls: Which = "auto") -> RunColumns:
        """Open a run's calls, or its final terms.

        Parameters
        ----------
        calls
            ``auto``: final where curators' decisions were applied to this run's cells, else the calls.

        Raises
        ------
        InputError
            If final is asked for and there is none, or it is of other cells.
        """
        names = _table(run.calls_path, ["cell_id"])["cell_id"].to_numpy()
        if calls == "calls":
            return cls(run, "calls", names)
        final = run.folder / "final.parquet"
        if not final.is_file():
            if calls == "final":
                message = (
                    f"{run.folder} has no final.parquet: no curator's decision was applied. Decide with: celljury review"
                    f" {run.folder}; then: celljury apply {run.folder}. Or export the calls with --calls calls."
                )
                raise InputError(message)
            return cls(run, "calls", names)
        n_others, n_otherwise = n_unlike_final(run)
        if n_others:
            message = (
                f"{final} does not hold this run's cells: it was applied to an earlier run in this folder. Apply again:"
                f" celljury apply {run.folder}; or export the calls with --calls calls."
            )
            raise InputError(message)
        if n_otherwise:
            message = (
                f"{final} is of other calls: {n_otherwise:,} cells are called otherwise now. Apply the decisions again: celljury"
                f" apply {run.folder}; or export the calls with --calls calls."
            )
            raise InputError(message)
        return cls(run, "final", names)

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return len(self.cell_ids)

    @property
    def path(self) -> Path:
        """File with the terms that count: ``final.parquet`` or ``calls.parquet``."""
        return self.run.folder / "final.parquet" if self.source == "final" else self.run.calls_path

    def called(self, *names: str) -> pa.Table:
        """Return columns of what counts; ``term``, ``label`` and ``status`` are in either file."""
        return _table(self.path, list(names))

    def from_calls(self, *names: str) -> pa.Table:
        """Return columns of ``calls.parquet``."""
        return _table(self.run.calls_path, list(names))

    def obs_names(self) -> dict[str, tuple[Path, str]]:
        """Return where each column for ``obs`` comes from: name with the prefix ``celljury_`` -> file and its column.

        A slash would be a folder in HDF5: it becomes ``_``, as does what would then stand twice.
        """
        import pyarrow.parquet as pq

        wanted = [
            (self.run.calls_path, name) for name in pq.read_schema(self.run.calls_path).names if name != "cell_id"
        ]
        found = {PREFIX + name: (path, name) for path, name in wanted}
        if self.source == "final":
            found |= {f"{PREFIX}final_{name}": (self.path, name) for name in FINAL}
        plain: dict[str, tuple[Path, str]] = {}
        for name, where in found.items():
            safe = name.replace("/", "_")
            while safe in plain or (safe != name and safe in found):
                safe += "_"
            plain[safe] = where
        return plain

    def values(self, path: Path, name: str, rows: NDArray[np.int64]) -> Any:
        """Return one column as any reader takes it: a categorical of text, plain booleans, integers or floats.

        Parameters
        ----------
        rows
            Position of each cell of the file in the run, int64 (n,); -1 = not a cell of the run, as only a MuData can hold.
            Such a cell's text is missing, its number NaN, and its boolean makes the column a nullable one.
        """
        column = _table(path, [name])[name].to_pandas()
        return plain_values(column, rows)


def plain_values(column: pd.Series, rows: NDArray[np.int64]) -> Any:
    """Return a column's values at some rows, without objects of mixed type and unused categories; see `RunColumns.values`."""
    import pandas as pd

    lost = rows < 0
    if column.dtype == bool:
        if not lost.any():
            return column.to_numpy()[rows]
        return pd.arrays.BooleanArray(column.to_numpy()[rows], lost)
    if pd.api.types.is_numeric_dtype(column.dtype):
        numbers = column.to_numpy()
        if not lost.any():
            return numbers[rows]
        # A whole number has no missing value: float64 holds the integers that these columns count.
        wide = numbers if np.issubdtype(numbers.dtype, np.floating) else numbers.astype(np.float64)
        return np.where(lost, np.array(np.nan, wide.dtype), wide[rows])
    if not isinstance(column.dtype, pd.CategoricalDtype) and column.isna().all():
        return np.full(len(rows), np.nan, np.float32)
    text = column if isinstance(column.dtype, pd.CategoricalDtype) else column.astype("category")
    codes = np.where(lost, -1, text.cat.codes.to_numpy()[rows])
    return _categorical(codes, text.cat.categories)


def _categorical(codes: NDArray[Any], categories: pd.Index) -> Any:
    import pandas as pd

    used, code = np.unique(codes[codes >= 0], return_inverse=True)
    named = np.full(len(codes), -1, np.int32)
    named[codes >= 0] = code
    # R's readers stumble over a list of no categories; one that no cell has costs nothing.
    kept = [str(name) for name in categories[used]] or [""]
    return pd.Categorical.from_codes(named, pd.Index(kept, dtype=object))


def _table(path: Path, names: list[str]) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(path, columns=names)
    except (OSError, pa.ArrowInvalid) as error:
        message = f"{path} cannot be read: {error}. Make the run again, or put a copy of the file in its place."
        raise UnreadableFileError(message) from error
