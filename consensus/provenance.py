"""Versions, hashes, timings and memory: what it takes to say how a result was made."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import resource
import shutil
import sys
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from celljury import __version__
from celljury.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

RECORDED = (
    "anndata", "cellxgene-ontology-guide", "celltypist", "harmonypy", "numpy", "pandas", "pronto", "pyarrow", "scanpy",
    "scikit-learn", "scipy", "scvi-tools", "singler", "symphonypy", "torch",
)  # fmt: skip


# What runs, juries and the demo write, at the top of their folders.
OURS = frozenset(
    "adapted calibration calls calls.parquet card.html card.json compare demo.json evaluation figures final.parquet "
    "genes.npz jury jury.json labels.sssom.tsv log.jsonl markers.json members methods.md ontology.npz quality.json "
    "profiles.npz query.celljury.h5ad query.h5ad queue.tsv reference.h5ad references.bib report.html report.json review "
    "run run.json scratch space.npz tables tree.npz unfinished.json votes".split()
)
# Curators' decisions outlive the run that they were made on: a new run re-opens only what changed.
KEPT = "decisions.sqlite"


def versions() -> dict[str, str]:
    """Return the versions of celljury, Python and every library that can change a call."""
    found = {"celljury": __version__, "python": platform.python_version(), "platform": sys.platform}
    for name in RECORDED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def as_dict(value: Any) -> dict[str, Any]:
    """Return the fields of a dataclass, one level deep."""
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


def now() -> str:
    """Return the time as ISO 8601, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def sha256(path: Path) -> str:
    """Return the sha256 of a file, or of the names and contents of a folder's files."""
    digest = hashlib.sha256()
    files = sorted(item for item in path.rglob("*") if item.is_file()) if path.is_dir() else [path]
    for file in files:
        if path.is_dir():
            digest.update(str(file.relative_to(path)).encode())
        with file.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


def peak_memory_mb() -> dict[str, float]:
    """Return the highest resident memory so far, of this process and of its largest finished worker, in MB."""
    unit = 1024 if sys.platform != "darwin" else 1024 * 1024
    return {
        "main": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 1),
        "largest_worker": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / unit, 1),
    }


def cpu_seconds() -> float:
    """Return processor time used so far by this process and its finished workers, in seconds."""
    return sum(os.times()[:4])


@contextmanager
def written_beside(path: Path) -> Iterator[Path]:
    """Give a file to write beside ``path``; it takes that name if all goes well, and goes if not."""
    partial = path.with_name(path.name + ".partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file beside its name and rename it."""
    with written_beside(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write JSON beside its name and rename it."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, default=str) + "\n")


def holds_json(path: Path, value: Any) -> bool:
    """Return whether a file is there and holds this value."""
    try:
        return bool(json.loads(path.read_text(encoding="utf-8")) == json.loads(json.dumps(value, default=str)))
    except (OSError, ValueError):
        return False


def check_folder(
    path: Path, *, owned: str, overwrite: bool = False, inputs: Iterable[Any] = (), option: str = "--out"
) -> None:
    """Refuse an output folder that `make_folder` would refuse, and change nothing: what can be known before any work.

    Parameters
    ----------
    owned
        The file that a finished result has; a folder with it is only replaced on request.
    inputs
        What the command reads; those that are paths must not lie in a folder that is replaced. Others are passed over.
    option
        What names the folder on the command line, for messages; only of ``--out`` it is said that it can be replaced.

    Raises
    ------
    OutputError
        If the folder is in the way, holds somebody's files, a result and ``overwrite`` is False, or one of ``inputs``.
    """
    if (path / owned).exists() and not overwrite:
        how = "; --overwrite replaces it" if option == "--out" else ""
        raise OutputError.for_path(path, f"it already holds a finished result ({owned}){how}", option=option)
    if path.exists() and not path.is_dir():
        raise OutputError.for_path(path, "it is a file, a folder is needed", option=option)
    if path.is_dir() and any(path.iterdir()) and not _is_ours(path, owned):
        raise OutputError.for_path(path, "the folder holds files that are not celljury's", option=option)
    for item in inputs if overwrite and path.is_dir() else ():
        if isinstance(item, (str, Path)) and path.resolve() in (resolved := Path(item).resolve(), *resolved.parents):
            raise OutputError.for_path(path, f"{item}, which this command reads, lies in it", option=option)
    above = next((parent for parent in path.parents if parent.exists()), path)
    if not path.exists() and not above.is_dir():
        raise OutputError.for_path(path, f"{above} is a file, no folder", option=option)


def make_folder(
    path: Path, *, owned: str, overwrite: bool = False, inputs: Iterable[Any] = (), option: str = "--out"
) -> None:
    """Make an output folder, without an earlier result where ``overwrite`` replaces it; parameters as in `check_folder`.

    Only files that celljury writes are removed; what a user put beside them stays, and so do curators' decisions.

    Call it when the inputs are known to be good: a mistake must not cost the result that was there.

    Raises
    ------
    OutputError
        If `check_folder` refuses it, or it cannot be made or written.
    """
    check_folder(path, owned=owned, overwrite=overwrite, inputs=inputs, option=option)
    try:
        if path.is_dir() and overwrite:
            for item in path.iterdir():
                if item.name in OURS or item.name.startswith("worker-"):
                    _remove(item)
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".write-probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OutputError.for_path(path, error.strerror or str(error), option=option) from error


def _remove(item: Path) -> None:
    """Remove a file or a folder, but for curators' decisions and what their database keeps beside them.

    A link to a folder that holds decisions stays, with all that is there: without it the next run would not find them.
    """
    if item.is_symlink():
        if not _holds_decisions(item):
            item.unlink()
    elif not item.is_dir():
        item.unlink()
    elif _holds_decisions(item):
        for inner in item.iterdir():
            if not inner.name.startswith(KEPT):
                _remove(inner)
    else:
        shutil.rmtree(item)


def _holds_decisions(folder: Path) -> bool:
    """Return whether decisions lie anywhere in a folder, or in one that a link in it leads to."""
    return any(
        path.name.startswith(KEPT) or (path.is_symlink() and any(path.glob(f"{KEPT}*"))) for path in folder.rglob("*")
    )


def _is_ours(path: Path, owned: str) -> bool:
    if (path / owned).exists() or (path / "unfinished.json").exists():
        return True
    # What an earlier result leaves behind when it is removed.
    return all(item.is_dir() or item.name.startswith(KEPT) for item in path.rglob("*"))


@contextmanager
def log_to(path: Path) -> Iterator[None]:
    """Write celljury's log messages as JSON lines while the block runs."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(_JsonLines())
    logger = logging.getLogger("celljury")
    before = logger.level
    logger.setLevel(min(before or logging.INFO, logging.INFO))
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
        handler.close()


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry = {"time": now(), "level": record.levelname.lower(), "from": record.name, "text": record.getMessage()}
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)
