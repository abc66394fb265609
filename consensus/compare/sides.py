"""One of the two runs that are compared: its calls, votes and decisions as arrays over its cells."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from celljury.calls import ALWAYS_REVIEWED, STATUS_NAMES
from celljury.config import Config
from celljury.errors import InputError, UnreadableFileError
from celljury.origin import ontology_of
from celljury.reasons import Reason
from celljury.run import Run, n_unlike_final

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from celljury.ontology.graph import CellOntology

    Ints = NDArray[np.int32]
    Bools = NDArray[np.bool_]
    Floats = NDArray[np.float32]

Source = Literal["auto", "calls", "final"]
ROWS: Final = 131_072
"""Cells read at once."""


@dataclass(frozen=True)
class Calls:
    """What a run says of its cells; every field is (n_cells,) in the order of ``calls.parquet``.

    Attributes
    ----------
    term
        Ontology index, int32, -1 = no term.
    status
        Index into `celljury.calls.STATUS_NAMES`, int8.
    support, conflict, p_seen
        As in ``calls.parquet``, float32; ``p_seen`` is NaN where it was not tested.
    needs_review
        Whether the cell was in the queue, bool.
    always
        Whether a reason sends it there whatever the call (low quality, doublet, marker), bool.
    votes
        Each member's term, int32 (n_cells, n_members), -1 = none.
    decided
        Whether a curator's decision is counted, bool.
    decided_term, decided_status
        What was decided, int32 and int8; -1 where nothing was.
    """

    term: Ints
    status: NDArray[np.int8]
    support: Floats
    conflict: Floats
    p_seen: Floats
    needs_review: Bools
    always: Bools
    votes: Ints
    decided: Bools
    decided_term: Ints
    decided_status: NDArray[np.int8]


@dataclass(frozen=True)
class Side:
    """A run that is compared.

    Attributes
    ----------
    run, ontology
        The run, and the ontology that it used.
    source
        ``final`` where curators' decisions are counted over the calls.
    members
        Members with a column of votes, absent ones included.
    calls
        What it says.
    """

    run: Run
    ontology: CellOntology
    source: Literal["calls", "final"]
    members: tuple[str, ...]
    calls: Calls

    @classmethod
    def open(cls, folder: Path, *, calls: Source = "auto") -> Side:
        """Read a run.

        Raises
        ------
        UnreadableFileError
            If the folder holds no finished run, or a file of it is damaged.
        InputError
            If its ontology is not found, or ``final`` is asked for in vain.
        """
        run = _finished(folder)
        ontology = ontology_of(run)
        source = _source(run, calls)
        members = tuple(str(row["name"]) for row in run.record["members"])
        return cls(run, ontology, source, members, _read(run, ontology, members, source))

    def __len__(self) -> int:
        return len(self.calls.term)

    @cached_property
    def config(self) -> Config:
        """The settings of the run; defaults where its record has none."""
        return Config.checked(self.run.record.get("config", {}), where=str(self.run.folder / "run.json"))

    @cached_property
    def absent(self) -> dict[str, str]:
        """Why each absent member is absent."""
        return {str(row["name"]): str(row["absent"]) for row in self.run.record["members"] if row.get("absent")}

    @property
    def rule(self) -> str:
        """The rule in force: lca, quorum or calibrated."""
        found = self.run.record.get("rule")
        return str(found or self.config.reduce.effective(calibrated=bool(self.run.record.get("calibration"))))


def _finished(folder: Path) -> Run:
    """Open a run; one that was begun and not finished is said to be that."""
    if not (folder / "run.json").is_file() and (folder / "unfinished.json").is_file():
        message = f"{folder} holds a run that was not finished. Go on with --resume, or make it again; then compare."
        raise UnreadableFileError(message)
    run = Run.open(folder)
    if not run.calls_path.is_file():
        message = f"{folder} has no calls.parquet: it is damaged, or no run. Make it again with --overwrite."
        raise UnreadableFileError(message)
    return run


def _source(run: Run, wanted: Source) -> Literal["calls", "final"]:
    has = (run.folder / "final.parquet").is_file()
    if wanted == "final" and not has:
        message = (
            f"{run.folder} has no final.parquet: nothing was decided there, or not applied. Run celljury apply"
            f" {run.folder}, or pass --calls auto."
        )
        raise InputError(message)
    return "final" if has and wanted != "calls" else "calls"


def _read(run: Run, ontology: CellOntology, members: tuple[str, ...], source: str) -> Calls:
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = ["term", "status", "support", "conflict", "p_seen", "needs_review", "reasons"]
    votes = [f"vote_{name}" for name in members]
    try:
        file = pq.ParquetFile(run.calls_path)
        n = file.metadata.num_rows
        found: dict[str, Any] = {
            "term": np.empty(n, np.int32), "status": np.empty(n, np.int8), "support": np.empty(n, np.float32),
            "conflict": np.empty(n, np.float32), "p_seen": np.empty(n, np.float32), "needs_review": np.empty(n, bool),
            "always": np.empty(n, bool), "votes": np.empty((n, len(members)), np.int32),
            "decided": np.zeros(n, bool), "decided_term": np.full(n, -1, np.int32),
            "decided_status": np.full(n, -1, np.int8),
        }  # fmt: skip
        at = 0
        for batch in file.iter_batches(batch_size=ROWS, columns=[*names, *votes]):
            rows = slice(at, at := at + len(batch))
            found["term"][rows] = _terms(batch["term"], ontology)
            found["status"][rows] = _coded(batch["status"], lambda name: STATUS_NAMES.index(name))
            for name in ("support", "conflict", "p_seen"):
                found[name][rows] = batch[name].to_numpy(zero_copy_only=False)
            found["needs_review"][rows] = batch["needs_review"].to_numpy(zero_copy_only=False)
            found["always"][rows] = _coded(batch["reasons"], _always) > 0
            for j, name in enumerate(votes):
                found["votes"][rows, j] = _terms(batch[name], ontology)
        if source == "final":
            _add_decisions(run, ontology, found, n)
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        if isinstance(error, UnreadableFileError):
            raise
        message = f"{run.folder} cannot be read: {error}. A file of it is damaged; make the run again with --overwrite."
        raise UnreadableFileError(message) from error
    return Calls(**found)


def _add_decisions(run: Run, ontology: CellOntology, found: dict[str, Any], n: int) -> None:
    import pyarrow.parquet as pq

    path = run.folder / "final.parquet"
    file = pq.ParquetFile(path)
    if file.metadata.num_rows != n:
        message = (
            f"{path} is of other calls: it has {file.metadata.num_rows:,} cells, the run {n:,}. Run celljury apply."
        )
        raise UnreadableFileError(message)
    n_others, n_otherwise = n_unlike_final(run)
    if n_others:
        message = f"{path} is of other cells than calls.parquet. Run celljury apply {run.folder}."
        raise UnreadableFileError(message)
    if n_otherwise:
        message = (
            f"{path} is of other calls: {n_otherwise:,} cells are called otherwise. Run celljury apply {run.folder}."
        )
        raise UnreadableFileError(message)
    at = 0
    for batch in file.iter_batches(batch_size=ROWS, columns=["term", "status", "reviewed"]):
        rows = slice(at, at := at + len(batch))
        decided = batch["reviewed"].to_numpy(zero_copy_only=False)
        found["decided"][rows] = decided
        found["decided_term"][rows] = np.where(decided, _terms(batch["term"], ontology), -1)
        status = _coded(batch["status"], lambda name: STATUS_NAMES.index(name))
        found["decided_status"][rows] = np.where(decided, status, -1)


def _always(codes: str) -> int:
    """Return 1 where one of some reasons sends a cell to review whatever its call."""
    mask = Reason(0)
    for code in codes.split(";") if codes else ():
        mask |= Reason[code.upper()]
    return int(bool(mask & ALWAYS_REVIEWED))


def _terms(column: Any, ontology: CellOntology) -> Ints:
    return _coded(column, ontology.index)


def _coded(column: Any, code: Any) -> Ints:
    """Return a code for each text of a column, int32, -1 where it is null."""
    import pyarrow as pa

    coded = column if isinstance(column, pa.DictionaryArray) else column.dictionary_encode()
    known = np.array([code(str(text)) for text in coded.dictionary.to_pylist()] + [-1], np.int32)
    return known[coded.indices.fill_null(-1).to_numpy(zero_copy_only=False)]
