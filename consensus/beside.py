"""Columns that stand beside a run's cells in some file, found by the cells' names: known types, donors, conditions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from celljury.ballot import ID_COLUMN, read_table
from celljury.cells import read_obs
from celljury.errors import CellsError, InputError, MissingColumnError, UnreadableFileError
from celljury.stores import open_store, reading, rna_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

    from celljury.run import Run

ANNOTATED: Final = "query.celljury.h5ad"
"""The query that a run leaves."""


def cells_file(run: Run, query: Path | None, *, holding: str) -> Path:
    """Return the file with a run's cells: ``query``, or the one that the run left if None.

    Parameters
    ----------
    holding
        What is looked for in it, as the error says it: ``their known types``.

    Raises
    ------
    UnreadableFileError
        If the run left none.
    """
    path = query or run.folder / ANNOTATED
    if query is None and not path.is_file():
        message = (
            f"{run.folder} holds no {ANNOTATED} (a table was voted on, or --no-h5ad was given). Name a file with the run's"
            f" cells and {holding} with --query; the run was made from {run.record.get('query', {}).get('file')}."
        )
        raise UnreadableFileError(message)
    return path


def columns_beside(run: Run, path: Path, columns: Mapping[str, str]) -> pd.DataFrame:
    """Return columns of a file, a row a cell in the order of the run's calls, whatever the order of the file.

    Of an h5ad, h5mu or zarr only these columns are read. Its cells are named by the index of ``obs`` (of an h5mu, of its
    ``rna``), those of a TSV, CSV or parquet by the column ``cell_id``, else by its index or its first column.

    Parameters
    ----------
    columns
        Name of a column -> the option that named it, which the error mentions.

    Raises
    ------
    UnreadableFileError
        If the file is not there, or is damaged.
    MissingColumnError
        If a column is not there.
    InputError
        If there are two of its name.
    CellsError
        If the file does not hold the run's cells, each once.
    """
    found = _of_store(path, columns) if path.suffix in (".h5ad", ".h5mu", ".zarr") else _of_table(path, columns)
    place = _rows_of(run, found.index, path)
    return found if place is None else found.iloc[place]


def run_cells(run: Run) -> pa.Array:
    """Return the names of a run's cells, in the order of its calls; nothing else is read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    return pq.read_table(run.calls_path, columns=["cell_id"])["cell_id"].cast(pa.large_string()).combine_chunks()


def _of_store(path: Path, columns: Mapping[str, str]) -> pd.DataFrame:
    import pandas as pd
    from anndata.io import read_elem

    group = open_store(path)
    with reading(str(path)):
        cells = rna_of(group, str(path))
        obs: Any = cells["obs"] if "obs" in cells else None
        if not hasattr(obs, "keys") or "_index" not in obs.attrs or "__categories" in obs:
            # Not as anndata writes it since 0.8: read as a whole, by the one that knows all ways.
            table = read_obs(path)
            _check([str(name) for name in table.columns], columns, path)
            return table[list(columns)]
        index = str(obs.attrs["_index"])
        have = sorted(str(name) for name in obs.keys() if str(name) != index)
        order = [str(name) for name in obs.attrs.get("column-order", ())]
        _check(order if sorted(order) == have else have, columns, path)
        return pd.DataFrame({name: read_elem(obs[name]) for name in columns}, index=pd.Index(read_elem(obs[index])))


def _of_table(path: Path, columns: Mapping[str, str]) -> pd.DataFrame:
    table = read_table(path)
    if table.index.name is None and len(table.columns):
        table = table.set_index(ID_COLUMN if ID_COLUMN in table.columns else table.columns[0], drop=False)
    _check([str(name) for name in table.columns], columns, path)
    return table[list(columns)]


def _check(have: list[str], columns: Mapping[str, str], path: Path) -> None:
    for name, option in columns.items():
        if name not in have:
            shown = [one for one in have if not one.startswith("celljury_")]
            raise MissingColumnError.for_column(name, where=str(path), have=shown, option=option)
        if have.count(name) > 1:
            message = f"{path} has {have.count(name)} columns {name!r}. Rename them, so that one can be meant."
            raise InputError(message)


def _rows_of(run: Run, names: pd.Index, path: Path) -> NDArray[np.int64] | None:
    """Return where the run's cells stand in a file, None = in the same order; raises CellsError where they do not."""
    import pandas as pd
    import pyarrow as pa

    cells = run_cells(run)
    try:
        found = pa.array(names.to_numpy(dtype=object), type=pa.large_string(), from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError):  # numbers
        found = pa.array(names.astype(str).to_numpy(dtype=object), type=pa.large_string())
    if found.equals(cells):  # as good as always: a million names are compared at once, and none becomes an object
        return None
    ours, theirs = (pd.Index(one.to_numpy(zero_copy_only=False).astype(str), dtype=object) for one in (cells, found))
    if theirs.has_duplicates:
        message = (
            f"{path}: {int(theirs.duplicated().sum()):,} cells repeat the name of another one. Names must be unique."
        )
        raise CellsError(message)
    place = theirs.get_indexer(ours)
    if len(theirs) != len(ours) or (place < 0).any():
        lacks = ours[place < 0]
        shown = f" ({', '.join(lacks[:3])} ...)" if len(lacks) else ""
        message = (
            f"{path} does not hold the run's cells: it has {len(theirs):,}, the run {len(ours):,}, and {len(lacks):,} of the"
            f" run's are not in it{shown}. Expected the query that {run.folder} was made from; name it with --query."
        )
        raise CellsError(message)
    return np.asarray(place, np.int64)
