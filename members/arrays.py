"""Arrays in npz files, written and read without pickles, so that a file cannot run code."""

from __future__ import annotations

import zipfile
import zlib
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from celljury.errors import UnreadableFileError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def save_arrays(path: Path, **arrays: NDArray[np.generic]) -> None:
    """Write named arrays; object arrays are refused."""
    for name, array in arrays.items():
        if np.asarray(array).dtype.hasobject:
            message = f"array {name!r} for {path.name} holds Python objects; only numbers and fixed strings are written"
            raise TypeError(message)
    with path.open("wb") as file:
        np.savez_compressed(file, **cast("dict[str, Any]", arrays))  # its stub takes a name for its own option


def load_arrays(path: Path) -> dict[str, NDArray[np.generic]]:
    """Read what `save_arrays` wrote; raises UnreadableFileError where the file is missing or damaged."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        message = f"{path} cannot be read: {error}. It is damaged; make it again with the command that wrote it."
        raise UnreadableFileError(message) from error
