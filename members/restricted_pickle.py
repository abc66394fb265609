"""Dictionaries that others published as JSON or pickle, read without running code from them."""

from __future__ import annotations

import json
import pickle
import struct
from typing import TYPE_CHECKING, Any

import numpy as np

from celljury.errors import UnreadableFileError, UntrustedModelError

if TYPE_CHECKING:
    from pathlib import Path

# All that names and numbers need beside Python's plain types, which a pickle builds by itself. numpy moved `scalar`;
# it is taken from a scalar, so that neither place needs to be imported.
ALLOWED = {
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "scalar"): np.float64(0).__reduce__()[0],
    ("numpy._core.multiarray", "scalar"): np.float64(0).__reduce__()[0],
}


class _Plain(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            message = f"it asks for {module}.{name}"
            raise pickle.UnpicklingError(message)
        return ALLOWED[module, name]


def read_dictionary(path: Path, *, what: str) -> dict[str, Any]:
    """Return a dictionary from a JSON file, or from a pickle that holds plain names and numbers only.

    Parameters
    ----------
    path
        ``.json``, or a pickle under any other name.
    what
        What it should be, for errors.

    Raises
    ------
    UnreadableFileError
        If it is missing, damaged, or holds anything but a dictionary of names and numbers.
    UntrustedModelError
        If the pickle asks for more than plain values: it is not opened, whatever was said about trust.
    """
    try:
        if path.suffix == ".json":
            found = json.loads(path.read_text(encoding="utf-8"))
        else:
            with path.open("rb") as file:
                found = _Plain(file).load()
    except pickle.UnpicklingError as error:
        if "it asks for" not in str(error):
            message = f"{path} cannot be read: {error}. Expected {what} as JSON or pickle."
            raise UnreadableFileError(message) from error
        message = (
            f"{path} is no plain dictionary, {error}: opening it could run code. Expected {what} as JSON, or the published"
            " pickle of names and numbers."
        )
        raise UntrustedModelError(message) from error
    except (OSError, ValueError, EOFError, LookupError, TypeError, AttributeError, struct.error) as error:
        message = f"{path} cannot be read: {error}. Expected {what} as JSON or pickle."
        raise UnreadableFileError(message) from error
    plain = isinstance(found, dict) and all(isinstance(one, str | int | float | np.generic) for one in found.values())
    if not plain:
        message = f"{path} holds a {type(found).__name__}, not names and numbers. Expected {what}: a flat dictionary."
        raise UnreadableFileError(message)
    return {str(key): value for key, value in found.items()}
