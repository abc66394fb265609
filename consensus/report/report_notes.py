"""What a reader of a report must know before its numbers: who is absent, what is not promised, what is out of date."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

from celljury.report.page import run_notes
from celljury.report.review_counts import final_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from celljury.report.counted import Counted
    from celljury.report.tally import Tally
    from celljury.run import Run

MUCH_OTHER = 0.1
"""Share of the cells outside a level from which on that is said."""


def notes_of(
    counted: Counted, *, tallies: Sequence[Tally], evaluation: Mapping[str, Any] | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return warnings and notes.

    Parameters
    ----------
    tallies
        One a level, without groups.
    evaluation
        ``evaluation.json``; None = there is none.
    """
    run, record = counted.run, counted.run.record
    found, notes = run_notes(run)
    absent = [f"{m['name']} is absent from this run: {m['absent']}" for m in record["members"] if m["absent"]]
    warnings = [*absent, *found]
    if record["tier"] == "none":
        warnings.append(
            "No error rate is promised for this run (tier none): nothing says how often its calls are wrong."
        )
    warnings += _stale(counted, evaluation)
    for one in tallies:
        other = one.rows[one.rows["place"] == -1]
        if len(other) and float(other["fraction"].iloc[0]) >= MUCH_OTHER:
            notes.append(
                f"At the level {one.level.title}, {100 * float(other['fraction'].iloc[0]):.0f} % of the cells are called"
                " something that no term of the level is above: they are counted as other."
            )
    return tuple(warnings), tuple(notes)


def _stale(counted: Counted, evaluation: Mapping[str, Any] | None) -> list[str]:
    """Return what is older than what it should rest on."""
    run, said = counted.run, []
    logged, applied = n_logged(run), n_applied(run)
    if logged > applied:
        what = (
            f"{logged - applied:,} of the {logged:,} decisions, notes and undos"
            if applied
            else "The decisions taken so far"
        )
        said.append(
            f"{what} are not in this report: fold them in with celljury apply {run.folder.name}, then report again."
        )
    if final_rows(counted) is not None and counted.source == "calls":
        said.append("Curators' decisions are not counted in this report, which was asked for the calls alone.")
    if evaluation is not None and evaluation.get("made", "") < run.record.get("ended", ""):
        said.append("The evaluation is older than the run: evaluate again with celljury evaluate.")
    return said


def n_logged(run: Run) -> int:
    """Return the events in the run's own log of decisions; 0 where it has none, or a team's database holds them."""
    path = run.folder / "review" / "decisions.sqlite"
    if not path.is_file():
        return 0
    # A file at rest is read without the side files that SQLite would else make beside it: a report changes no input.
    at_rest = not path.with_name(path.name + "-wal").exists()
    try:
        address = f"{path.absolute().as_uri()}?{'immutable=1' if at_rest else 'mode=ro'}"
        with closing(sqlite3.connect(address, uri=True)) as connection:
            return int(connection.execute("SELECT count(*) FROM celljury_events").fetchone()[0])
    except sqlite3.Error:
        return 0  # an empty or damaged log is said by the commands that read decisions


def n_applied(run: Run) -> int:
    """Return the events that the last `celljury apply` folded in; 0 where there was none."""
    path: Path = run.folder / "review" / "events.jsonl"
    if not path.is_file() or not (run.folder / "final.parquet").is_file():
        return 0
    with path.open("rb") as lines:
        return sum(1 for _ in lines)
