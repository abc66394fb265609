"""Compare two runs end to end: pair the cells, judge what changed, find out why, write the files."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from celljury.compare.by_evidence import attribute_by_evidence
from celljury.compare.carry import term_changes
from celljury.compare.causes import Cause, How
from celljury.compare.held import Decisions, Pooling, why_not
from celljury.compare.inputs import Both, Votes4
from celljury.compare.kinds import Change, judge
from celljury.compare.lines import page
from celljury.compare.pairing import pair_cells
from celljury.compare.records import differences, jury_sentence
from celljury.compare.replay import Replay, needs_mass
from celljury.compare.sides import Side
from celljury.compare.tables import Judged, member_names, said_of, term_counts, transitions, write_cells
from celljury.errors import InputError, OutputError
from celljury.progress import silent
from celljury.provenance import as_dict, check_folder, make_folder, now, sha256, versions, write_json, write_text

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from celljury.compare.carry import TermChange
    from celljury.compare.records import Difference
    from celljury.compare.sides import Source
    from celljury.progress import Progress

OWNED: Final = "compare.json"
CHUNK: Final = 131_072
"""Changed cells that are called again at once."""
CHUNK_OF_MASS: Final = 32_768
"""The same where their members' probabilities are read."""


@dataclass(frozen=True, slots=True)
class RunInShort:
    """One of the two runs, for people."""

    folder: str
    release: str
    about: str

    @classmethod
    def of(cls, side: Side) -> RunInShort:
        """Say what a run is in a line."""
        record, release = side.run.record, f"CL {side.ontology.source.release}"
        said = [release, side.rule]
        if side.rule == "quorum":
            said[-1] += f" {side.config.reduce.quorum:g}"
        if record.get("alpha") is not None:
            said.append(f"alpha {record['alpha']:g}, tier {record['tier']}")
        n = len(side.members) - len(side.absent)
        said.append(f"{n} of {len(side.members)} members")
        if side.source == "final":
            said.append("with curators' decisions")
        return cls(str(side.run.folder), release, ", ".join(said))


@dataclass(frozen=True, slots=True)
class Comparison:
    """What changed between run A and run B, and why.

    Attributes
    ----------
    a, b
        The runs.
    n_a, n_b, n_common, n_only_a, n_only_b
        Cells of each, in both, and in one only.
    n_by_change
        Common cells by kind of change (`celljury.compare.kinds.Change`), every kind named; they add up to ``n_common``.
    n_by_cause
        Changed cells by cause (`celljury.compare.causes.Cause`); a cell may have several.
    members_by_cause
        Cells by member behind them, for the causes ``members`` and ``votes``; a cell may have several.
    n_by_how
        Changed cells whose cause was found by replay, by evidence, or not.
    replay_note
        How the causes were found, in words.
    transitions, terms
        See `celljury.compare.tables.transitions` and `term_counts`.
    term_changes
        What the releases changed about the terms that the runs use.
    differences
        What the two ``run.json`` say differently, see `celljury.compare.records.differences`.
    jury
        Whether both had the same jury, in words.
    written
        Files; empty where none were asked for.
    """

    a: RunInShort
    b: RunInShort
    n_a: int
    n_b: int
    n_common: int
    n_only_a: int
    n_only_b: int
    n_by_change: dict[str, int]
    n_by_cause: dict[str, int]
    members_by_cause: dict[str, dict[str, int]]
    n_by_how: dict[str, int]
    replay_note: str
    transitions: pd.DataFrame
    terms: pd.DataFrame
    term_changes: tuple[TermChange, ...]
    differences: dict[str, list[Difference]]
    jury: str
    written: tuple[Path, ...]

    @property
    def n_changed(self) -> int:
        """Common cells of which anything changed."""
        return self.n_common - self.n_by_change[Change.SAME.code]

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values for JSON."""
        told = {name: getattr(self, name) for name in self.__slots__}
        return told | {
            "a": asdict(self.a), "b": asdict(self.b), "n_changed": self.n_changed,
            "transitions": self.transitions.to_dict("records"), "terms": self.terms.to_dict("records"),
            "term_changes": [asdict(row) | {"how": row.how.name.lower()} for row in self.term_changes],
            "differences": {
                part: [{"name": name, "a": first, "b": second} for name, first, second in rows]
                for part, rows in self.differences.items()
            },
            "written": [str(path) for path in self.written],
        }  # fmt: skip


def compare_runs(
    run_a: Path | str,
    run_b: Path | str,
    *,
    out: Path | str | None = None,
    calls: Source = "auto",
    write: bool = True,
    overwrite: bool = False,
    progress: Progress = silent,
) -> Comparison:
    """Compare two runs over the same cells.

    Parameters
    ----------
    run_a, run_b
        Folders of finished runs: what was, and what is. Cells are matched by name.
    out
        Folder of the files; ``RUN_B/compare/NAME_OF_A`` if None.
    calls
        ``calls``: as the runs called the cells. ``final``: with curators' decisions over them. ``auto``: decisions where a
        run has them.
    write
        Whether to write files.
    overwrite
        Replace an earlier comparison in ``out``.

    Raises
    ------
    UnreadableFileError
        If a folder holds no finished run, or a file of it is damaged.
    InputError
        If both are one folder, an ontology is not found, or ``final`` is asked for in vain.
    CellsError
        If no cell is in both runs, or a name occurs twice in one.
    OutputError
        If the folder holds other things, or a comparison and ``overwrite`` is False.
    """
    first, second = Path(run_a), Path(run_b)
    if first.resolve() == second.resolve():
        message = f"{first} was given twice: expected two runs. Compare it with another run over the same cells."
        raise InputError(message)
    folder = Path(out) if out else second / "compare" / (first.resolve().name or "run")
    if write:
        for run in (first, second):
            if folder.resolve() == run.resolve():
                raise OutputError.for_path(folder, "it is one of the runs that are compared")
    progress("read the runs", 0, 2)
    a = Side.open(first, calls=calls)
    progress("read the runs", 1, 2)
    b = Side.open(second, calls=calls)
    progress("read the runs", 2, 2)
    if write:
        check_folder(folder, owned=OWNED, overwrite=overwrite)
    pairs = pair_cells(a.run, b.run)
    pairs.check(len(a), len(b))
    both = Both.of(a, b, pairs)
    judged, note = _judged(both, progress)
    changed = term_changes(_used(a) | _used(b), a.ontology, b.ontology, both.there) if both.other_ontology else ()
    found = _told(both, judged, changed, note)
    if not write:
        return found
    return _written(found, both, judged, folder, overwrite=overwrite, progress=progress)


def _judged(both: Both, progress: Progress) -> tuple[Judged, str]:
    """Return what changed of every common cell and why, and how that was found, in words."""
    pairs = both.pairs
    a, b = said_of(both.a, pairs.a), said_of(both.b, pairs.b)
    changes = judge(a, b, both.a.ontology, both.b.ontology, both.there, both.back)
    n = pairs.n_common
    judged = Judged(
        a, b, changes, np.zeros(n, np.int32), np.zeros(n, np.int64), np.zeros(n, bool), np.zeros(n, np.int8)
    )
    rows = np.flatnonzero(changes.kind != Change.SAME)
    on_mass = needs_mass(both.a) or needs_mass(both.b)
    refused = why_not(both) if on_mass else ""
    differing = both.differing()
    decisions = Decisions(both)
    step = CHUNK_OF_MASS if on_mass and not refused else CHUNK
    for start in range(0, len(rows), step):
        progress("find out why", start, len(rows))
        _explain(judged, both, rows[start : start + step], decisions, differing, on_mass=on_mass, refused=refused)
    progress("find out why", len(rows), len(rows))
    return judged, _note(judged, refused)


def _explain(
    judged: Judged,
    both: Both,
    rows: NDArray[np.int64],
    decisions: Decisions,
    differing: Cause,
    *,
    on_mass: bool,
    refused: str,
) -> None:
    """Put causes into some cells of ``judged``."""
    rows_a, rows_b, kind = both.pairs.a[rows], both.pairs.b[rows], judged.changes.kind[rows]
    holds = np.zeros(len(rows), bool)
    if refused:
        votes = Votes4.of(both, rows_a, rows_b)
    else:
        pooling = Pooling.read(decisions, rows_a, rows_b) if on_mass else None
        replay = Replay.of(both, rows_a, rows_b, pooling=pooling)
        votes = replay.votes
        found = replay.attribute(kind, differing)
        # A replay that holds and in which nothing changes explains nothing.
        holds = found.holds & (found.why > 0)
        judged.why[rows] = np.where(holds, found.why, Cause.NOT_EXPLAINED)
        judged.members[rows] = np.where(holds, found.members, 0)
        judged.alone[rows] = found.alone & holds
        judged.how[rows] = np.where(holds, How.REPLAY, 0)
    if on_mass and not holds.all():
        left = ~holds
        some = Votes4(*(getattr(votes, name)[left] for name in ("start", "ontology", "members", "votes")))
        why, members = attribute_by_evidence(
            both, rows_a[left], rows_b[left], some, kind[left], judged.changes.moved[rows][left], differing
        )
        judged.why[rows[left]], judged.members[rows[left]] = why, members
        judged.how[rows[left]] = np.where(why == Cause.NOT_EXPLAINED, 0, How.EVIDENCE)


def _note(judged: Judged, refused: str) -> str:
    n = int((judged.changes.kind != Change.SAME).sum())
    replayed, read = (int((judged.how == how).sum()) for how in (How.REPLAY, How.EVIDENCE))
    said = []
    if replayed:
        said.append(f"by replay of the rule for {replayed:,} of {n:,} changed cells, from A's call to exactly B's")
    if read:
        reason = f" ({refused})" if refused else " (their stored values do not give both calls again)"
        said.append(f"by what differs in the evidence, not by replay, for {read:,}{reason}")
    if n - replayed - read:
        said.append(f"not at all for {n - replayed - read:,}")
    return f"Causes were found {'; '.join(said)}." if said else "Nothing changed."


def _used(side: Side) -> set[str]:
    """Return the ids that a run calls, decides or votes for."""
    calls = side.calls
    every = [np.unique(values) for values in (calls.term, calls.decided_term, *calls.votes.T)]
    used = np.unique(np.concatenate(every))
    return {side.ontology.ids[i] for i in used[used >= 0].tolist()}


def _told(both: Both, judged: Judged, changed: tuple[TermChange, ...], note: str) -> Comparison:
    a, b, pairs = both.a, both.b, both.pairs
    by_kind = np.bincount(judged.changes.kind, minlength=len(Change))
    masks, which = np.unique(judged.members, return_inverse=True)
    members_by_cause = {}
    for cause in (Cause.MEMBERS, Cause.VOTES):
        counts = np.bincount(which.ravel()[(judged.why & cause) > 0], minlength=len(masks))
        of: dict[str, int] = {}
        for mask, n in zip(masks.tolist(), counts.tolist(), strict=True):
            for name in member_names(mask, both.members).split(";") if n and mask else ():
                of[name] = of.get(name, 0) + n
        if of:
            members_by_cause[cause.code] = dict(sorted(of.items(), key=lambda row: (-row[1], row[0])))
    found = Comparison(
        RunInShort.of(a), RunInShort.of(b), len(a), len(b), pairs.n_common, len(pairs.only_a), len(pairs.only_b),
        {kind.code: int(by_kind[kind]) for kind in Change},
        {cause.code: int(((judged.why & cause) > 0).sum()) for cause in Cause},
        members_by_cause,
        {"replay": int((judged.how == How.REPLAY).sum()), "evidence": int((judged.how == How.EVIDENCE).sum()),
         "not_explained": int(((judged.why & Cause.NOT_EXPLAINED) > 0).sum())},
        note, transitions(both, judged), term_counts(both, changed), changed, differences(a, b), jury_sentence(a, b), (),
    )  # fmt: skip
    _check(found)
    return found


def _check(found: Comparison) -> None:
    """Raise RuntimeError where a cell is not counted exactly once: a defect of ours."""
    sums = {
        "changes": (sum(found.n_by_change.values()), found.n_common),
        "transitions": (int(found.transitions["n_cells"].sum()), found.n_common),
        "cells of A": (found.n_common + found.n_only_a, found.n_a),
        "cells of B": (found.n_common + found.n_only_b, found.n_b),
        "terms of A": (int(found.terms["n_cells_a"].sum()), found.n_a),
        "terms of B": (int(found.terms["n_cells_b"].sum()), found.n_b),
        "causes": (sum(found.n_by_how.values()), found.n_changed),
    }
    for name, (got, expected) in sums.items():
        if got != expected:
            message = f"{name} add up to {got:,}, expected {expected:,}"
            raise RuntimeError(message)


def _written(
    found: Comparison, both: Both, judged: Judged, folder: Path, *, overwrite: bool, progress: Progress
) -> Comparison:
    from dataclasses import replace

    make_folder(folder, owned=OWNED, overwrite=overwrite)
    names = ("cells.parquet", "transitions.tsv", "terms.tsv", "compare.md", OWNED)
    paths = tuple(folder / name for name in names)
    try:
        progress("write the comparison", 0, len(paths))
        if (n := write_cells(paths[0], both, judged)) != found.n_common + found.n_only_a + found.n_only_b:
            message = f"{paths[0]} has {n:,} rows, expected one a cell"
            raise RuntimeError(message)
        for path, table in ((paths[1], found.transitions), (paths[2], found.terms)):
            write_text(path, table.to_csv(sep="\t", index=False, lineterminator="\n"))
        found = replace(found, written=paths)
        write_text(paths[3], page(found))
        made = {
            "made": now(), "versions": versions(),
            "runs": {
                letter: {"folder": str(side.run.folder), "calls_sha256": sha256(side.run.calls_path),
                         "counted": side.source, "ontology": as_dict(side.ontology.source)}
                for letter, side in (("a", both.a), ("b", both.b))
            },
        }  # fmt: skip
        write_json(paths[4], made | found.as_dict())
        progress("write the comparison", len(paths), len(paths))
    except OutputError:
        raise
    except OSError as error:
        raise OutputError.for_path(folder, error.strerror or str(error)) from error
    return found
