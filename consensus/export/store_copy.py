"""Copies of a query as HDF5: bytes where it is HDF5 already, element by element where it is zarr; never all in memory."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import h5py

from celljury.stores import open_store, reading

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from celljury.export.query_file import QueryFile

# What an h5mu says in its first bytes; readers tell it from other HDF5 by them (mudata 0.3, `write_h5mu`).
USERBLOCK: Final = 512
SIGN: Final = b"MuData (format-version=0.1.0;creator=celljury;creator-version=0)"

# Groups that hold elements of their own; anything else is one element, which anndata reads and writes.
_HOLDERS: Final = ("anndata", "MuData", "dict", "raw", "")


def copy_as_h5ad(query: QueryFile, to: Path) -> None:
    """Write one AnnData: the query, or the modality ``rna`` of a MuData."""
    if query.form == "hdf5" and not query.multimodal:
        shutil.copyfile(query.path, to)
        return
    with _source(query) as source, h5py.File(to, "w") as target:
        _copy(source["mod"]["rna"] if query.multimodal else source, target, str(query.path))
        # mudata leaves another encoder's name there; what readers ask for are these two.
        target.attrs["encoding-type"], target.attrs["encoding-version"] = "anndata", "0.1.0"


def copy_as_h5mu(query: QueryFile, to: Path) -> None:
    """Write the whole MuData, all modalities."""
    if query.form == "hdf5":
        shutil.copyfile(query.path, to)
        return
    with _source(query) as source, h5py.File(to, "w", userblock_size=USERBLOCK) as target:
        _copy(source, target, str(query.path))
    with to.open("r+b") as file:
        file.write(SIGN.ljust(USERBLOCK, b"\0"))


@contextmanager
def _source(query: QueryFile) -> Iterator[Any]:
    store = open_store(query.path)
    try:
        yield store
    finally:
        if hasattr(store, "close"):
            store.close()


def _copy(source: Any, target: Any, where: str) -> None:
    """Copy a group's attributes and members."""
    for name, value in source.attrs.items():
        target.attrs[name] = value
    for name in source:
        member = source[name]
        if isinstance(source, h5py.Group):
            source.copy(member, target, name=name)
        elif hasattr(member, "keys") and str(member.attrs.get("encoding-type", "")) in _HOLDERS:
            _copy(member, target.create_group(name), where)
        else:
            _copy_element(member, target, name, where)


def _copy_element(member: Any, target: Any, name: str, where: str) -> None:
    from anndata.io import read_elem, write_elem

    with reading(where):
        element = read_elem(member)
    write_elem(target, name, element)
