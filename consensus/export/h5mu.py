"""A MuData with the calls: in the cells of ``rna``, and with the prefix ``rna:`` in those of all modalities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import h5py
import numpy as np

from celljury.errors import InputError, UnreadableFileError
from celljury.export.obs_columns import add_calls, modern_obs
from celljury.export.provenance_of import provenance_of, write_provenance
from celljury.export.store_copy import copy_as_h5mu
from celljury.write import writing

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from celljury.export.query_file import QueryFile
    from celljury.export.run_columns import RunColumns

RNA: Final = "rna"


def write_h5mu(columns: RunColumns, query: QueryFile, to: Path) -> None:
    """Write the query, all modalities, with the columns ``celljury_*`` in ``mod/rna/obs`` and ``rna:celljury_*`` in ``obs``.

    A cell that ``rna`` does not hold has missing values there: texts and numbers have their own, booleans become nullable, as
    `mudata.MuData.pull_obs` makes them. It raises on any other form that it finds when it pulls them anew (mudata 0.3.10).

    Raises
    ------
    InputError
        If the query is no MuData.
    OutputError
        If the file cannot be written. Nothing stands under its name then, or what stood there before.
    """
    if not query.multimodal:
        message = (
            f"{query.path} is no MuData: it holds one AnnData, and an h5mu would have nothing more to say. Export it with --to"
            " h5ad, or name the MuData of these cells with --query."
        )
        raise InputError(message)
    with writing(to) as partial:
        copy_as_h5mu(query, partial)
        with h5py.File(partial, "r+") as file:
            add_calls(modern_obs(file["mod"][RNA]), columns, query.rows)
            place = _places(file, len(query.rows), str(query.path))
            rows = np.where(place >= 0, query.rows[place], -1)
            add_calls(modern_obs(file), columns, rows, prefix=f"{RNA}:")
            write_provenance(file, provenance_of(columns, modality=RNA))


def _places(file: h5py.Group, n_rna: int, where: str) -> NDArray[np.int64]:
    """Return the position in ``rna`` of each cell of the whole MuData, int64 (n,), -1 = not in it.

    mudata keeps it in ``obsmap``, counted from 1 (0 = not there).
    """
    if "obsmap" not in file or RNA not in file["obsmap"]:
        message = (
            f"{where} has no obsmap for {RNA!r}. Read it with mudata.read_h5mu, call update(), and write it again."
        )
        raise UnreadableFileError(message)
    stored: Any = np.asarray(file["obsmap"][RNA]).ravel()
    place = np.asarray(stored, np.int64) - 1
    if len(place) and not -1 <= place.min() <= place.max() < n_rna:
        message = (
            f"{where}: obsmap of {RNA!r} points at cells that it does not have. The file is damaged; write it again."
        )
        raise UnreadableFileError(message)
    return place
