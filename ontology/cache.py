"""Keep built indices between runs: one npz file per ontology file, without pickles, so that reading it runs no code."""

from __future__ import annotations

import json
import logging
import os
import sys
import zipfile
import zlib
from dataclasses import asdict
from pathlib import Path
from typing import Final

import numpy as np

from celljury.errors import OutputError, UnreadableFileError
from celljury.ontology.graph import CellOntology, OntologySource

log = logging.getLogger(__name__)

INDEX_FORMAT: Final = 1
"""Raised with every change of the index or of a reader, so that older files are not read."""

ARRAYS: Final = (
    "parents_indptr",
    "parents_indices",
    "closure_indptr",
    "closure_indices",
    "depth",
    "ic",
    "n_descendants",
)


def cache_folder() -> Path | None:
    """Return where indices are kept: $CELLJURY_CACHE, or celljury in the user's cache folder; None without a home."""
    if chosen := os.environ.get("CELLJURY_CACHE"):
        return Path(chosen)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA")
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        return Path(base).expanduser() / "celljury" if base else None
    except RuntimeError:
        return None


def cached_path(sha256: str) -> Path | None:
    """Return the file that holds, or would hold, the index of the ontology file with this hash."""
    folder = cache_folder()
    return folder / f"ontology-{sha256[:32]}-v{INDEX_FORMAT}.npz" if folder else None


def read_cached(sha256: str) -> CellOntology | None:
    """Return the index kept for an ontology file; None where there is none, or where it cannot be used."""
    path = cached_path(sha256)
    if path is None or not path.is_file():
        return None
    try:
        ontology = read_index(path)
    except UnreadableFileError as error:
        log.info("the cached index is built anew: %s", error)
        return None
    return ontology if ontology.source.sha256 == sha256 else None


def write_cached(ontology: CellOntology) -> bool:
    """Keep an index for the next run; return whether that was possible.

    A folder that cannot be written is no error: the next run builds the index again.
    """
    path = cached_path(ontology.source.sha256)
    if path is None:
        return False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_index(ontology, path)
    except OSError as error:
        log.info("the index is not kept in %s: %s", path.parent, error)
        return False
    return True


def write_index(ontology: CellOntology, path: Path) -> None:
    """Write an index, extra terms included, beside and renamed.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    text = {
        "format": INDEX_FORMAT,
        "ids": ontology.ids,
        "labels": ontology.labels,
        "synonyms": ontology.synonyms,
        "replaced": dict(ontology.replaced),
        "obsolete": dict(ontology.obsolete),
        "subsets": dict(ontology.subsets),
        "source": asdict(ontology.source),
    }
    arrays = {name: getattr(ontology, name) for name in ARRAYS}
    arrays["text"] = np.frombuffer(json.dumps(text).encode(), dtype=np.uint8)
    # Two processes may fill the cache at once: each writes a file of its own, and the last rename stays.
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with beside.open("wb") as file:
            np.savez(file, **arrays)
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise OutputError.for_path(path, error.strerror or str(error)) from error


def read_index(path: Path) -> CellOntology:
    """Return the index that `write_index` wrote.

    Raises
    ------
    UnreadableFileError
        If the file is missing, damaged, of another format, or not an index.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in ARRAYS}
            text = json.loads(archive["text"].tobytes())
        if text["format"] != INDEX_FORMAT:
            message = f"expected format {INDEX_FORMAT}, got {text['format']}"
            raise ValueError(message)
        ontology = CellOntology(
            ids=tuple(text["ids"]),
            labels=tuple(text["labels"]),
            synonyms=tuple(tuple(row) for row in text["synonyms"]),
            replaced=text["replaced"],
            obsolete=text["obsolete"],
            subsets={tag: tuple(ids) for tag, ids in text["subsets"].items()},
            source=OntologySource(**text["source"]),
            **arrays,
        )
        _refuse_if_torn(ontology)
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        EOFError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        message = f"cannot read the ontology index {path}: {error!r}. Expected a file written by celljury."
        raise UnreadableFileError(message) from error
    return ontology


def _refuse_if_torn(ontology: CellOntology) -> None:
    n_terms = len(ontology)
    sizes = {len(ontology.labels), len(ontology.synonyms), ontology.depth.size, ontology.ic.size}
    sizes |= {ontology.parents_indptr.size - 1, ontology.closure_indptr.size - 1, ontology.n_descendants.size}
    if sizes != {n_terms}:
        message = f"expected {n_terms} terms throughout, got sizes {sorted(sizes)}"
        raise ValueError(message)
