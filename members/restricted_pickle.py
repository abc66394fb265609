"""Dictionaries that others published as JSON or pickle, read without running code from them."""

from __future__ import annotations

import json
import pickle
from typing import TYPE_CHECKING, Any

import numpy as np

from celljury.errors import UnreadableFileError, UntrustedModelError

if TYPE_CHECKING:
    from pathlib import Path

NUMBERS = ("f4", "f8", "i2", "i4", "i8", "u1", "u2", "u4", "u8")


class _NumberType:
    """Stands for ``numpy.dtype``: its own code takes apart what a file says, and damaged files crashed in it."""

    def __init__(self, code: str, *_: object) -> None:
        if code not in NUMBERS:
            message = f"it holds numpy values of type {code!r}"
            raise pickle.UnpicklingError(message)
        self.code, self.order = code, "<"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = ">" if state[1] == ">" else "<"


def _number(kind: _NumberType, raw: bytes) -> Any:
    return np.frombuffer(raw, kind.order + kind.code, count=1)[0]


def _encoded(text: str, encoding: str) -> bytes:  # how pickles of protocol 2 write the bytes of a number
    if encoding != "latin1":
        message = f"it holds bytes as {encoding!r}"
        raise pickle.UnpicklingError(message)
    return text.encode("latin1")


# All that names and numbers need beside Python's plain types, which a pickle builds by itself. numpy moved `scalar`.
ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "dtype"): _NumberType,
    ("numpy.core.multiarray", "scalar"): _number,
    ("numpy._core.multiarray", "scalar"): _number,
    ("_codecs", "encode"): _encoded,
}


class _Refused(pickle.UnpicklingError):
    """The file asks for something that is no name and no number."""


class _Plain(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            message = f"it asks for {module}.{name}"
            raise _Refused(message)
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
    except _Refused as error:
        message = (
            f"{path} is no plain dictionary, {error}: opening it could run code. Expected {what} as JSON, or the published"
            " pickle of names and numbers."
        )
        raise UntrustedModelError(message) from error
    except Exception as error:  # a damaged pickle raises what it likes, MemoryError and OverflowError among it
        message = f"{path} cannot be read: {str(error) or type(error).__name__}. Expected {what} as JSON or pickle."
        raise UnreadableFileError(message) from error
    plain = isinstance(found, dict) and all(isinstance(one, str | int | float | np.number) for one in found.values())
    if not plain:
        message = f"{path} holds a {type(found).__name__}, not names and numbers. Expected {what}: a flat dictionary."
        raise UnreadableFileError(message)
    return {str(key): value for key, value in found.items()}
