"""The query with the calls as columns, for scanpy, R and browsers: the query is copied, never loaded and never changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import h5py

from celljury.export.obs_columns import add_calls, modern_obs
from celljury.export.provenance_of import provenance_of, write_provenance
from celljury.export.store_copy import copy_as_h5ad
from celljury.write import writing

if TYPE_CHECKING:
    from pathlib import Path

    from celljury.export.query_file import QueryFile
    from celljury.export.run_columns import RunColumns


def write_h5ad(columns: RunColumns, query: QueryFile, to: Path) -> None:
    """Write the query as h5ad with the columns ``celljury_*`` in ``obs`` and ``uns["celljury"]``; of a MuData its ``rna``.

    Texts are categoricals, missing numbers NaN, booleans plain: what anndata 0.8 and later, R over rhdf5 and cellxgene read
    alike. All else is as the query had it.

    Raises
    ------
    OutputError
        If the file cannot be written. Nothing stands under its name then, or what stood there before.
    UnreadableFileError
        If the query is damaged.
    """
    with writing(to) as partial:
        copy_as_h5ad(query, partial)
        with h5py.File(partial, "r+") as file:
            add_calls(modern_obs(file), columns, query.rows)
            write_provenance(file, provenance_of(columns))
