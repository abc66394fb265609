"""Files that hold cells, opened for reading: nothing in them may run code, and damage is said in one sentence."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from celljury.errors import CelljuryError, InputError, UnreadableFileError

if TYPE_CHECKING:
    from collections.abc import Iterator


def open_store(path: Path) -> Any:
    """Return an h5ad, h5mu or zarr as a group to read from.

    Raises
    ------
    UnreadableFileError
        If it is missing, truncated, a directory that is no zarr store, or a store that asks for pickles.
    """
    import h5py

    if not path.exists():
        message = f"{path} does not exist. Check the path, relative to {Path.cwd()}."
        raise UnreadableFileError(message)
    if path.is_dir():
        if not any((path / name).exists() for name in (".zgroup", "zarr.json")):
            message = f"{path} is a directory and no zarr store. Expected an .h5ad, .h5mu or .zarr; name a file in it."
            raise UnreadableFileError(message)
        return _open_zarr(path)
    try:
        return h5py.File(path, "r")
    except OSError as error:
        message = (
            f"{path} cannot be read as h5ad ({path.stat().st_size:,} bytes): {error}. The file is truncated or of another"
            " format; copy or download it again, and check it with: python -c \"import anndata; anndata.read_h5ad('FILE')\"."
        )
        raise UnreadableFileError(message) from error


def _open_zarr(path: Path) -> Any:
    import zarr

    for pattern in (".zarray", "zarr.json", ".zmetadata"):
        for metadata in path.rglob(pattern):
            try:
                asks = _asks_for_pickle(json.loads(metadata.read_text(encoding="utf-8")))
            except (OSError, ValueError) as error:
                message = (
                    f"{metadata} cannot be read as JSON: {error}. The store is damaged; copy or download it again."
                )
                raise UnreadableFileError(message) from error
            if asks:
                message = (
                    f"{metadata} asks for the pickle codec, which runs code from the file. Write the store again without"
                    " it."
                )
                raise UnreadableFileError(message)
    with reading(str(path)):
        return zarr.open_group(path, mode="r")


def _asks_for_pickle(metadata: Any) -> bool:
    """Whether a codec in zarr metadata is pickle, as zarr 2 (``id``) or zarr 3 (``name``, ``numcodecs.*``) names it."""
    if isinstance(metadata, list):
        return any(_asks_for_pickle(item) for item in metadata)
    if not isinstance(metadata, dict):
        return False
    named = [str(metadata.get(key, "")).lower().rsplit(".", 1)[-1] for key in ("id", "name")]
    # What a user notes in attributes names no codec.
    rest = (value for key, value in metadata.items() if key != "attributes" and not key.endswith(".zattrs"))
    return "pickle" in named or any(_asks_for_pickle(value) for value in rest)


def rna_of(group: Any, where: str) -> Any:
    """Return the group itself, or the modality ``rna`` of a MuData; raises InputError where it has none."""
    if "mod" not in group:
        return group
    modalities = list(group["mod"].keys())
    if "rna" not in modalities:
        message = f"{where} is a MuData without a modality 'rna'. It has: {', '.join(modalities)}."
        raise InputError(message)
    return group["mod"]["rna"]


@contextmanager
def reading(where: str) -> Iterator[None]:
    """Turn what h5py, zarr and anndata raise on a damaged file into one error."""
    try:
        yield
    except CelljuryError:
        raise
    except (OSError, KeyError, RuntimeError, ValueError, TypeError, AttributeError, LookupError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        message = (
            f"{where} cannot be read: {first}. The file is damaged, or not written by anndata: copy or download it again,"
            " or read it with the library that wrote it (scanpy.read_10x_h5 ...) and write an h5ad."
        )
        raise UnreadableFileError(message) from error
