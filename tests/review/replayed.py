"""What a log of decisions means, worked out from the rows of its SQLite file by other code than the product's."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from celljury.review.pack import Pack

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

DECIDE = ("accept", "up", "choose", "unseen", "settle")
COLUMNS = ["term", "status", "source", "reviewed", "conflict", "item_id"]


def rows_of_log(run: Path) -> list[dict[str, Any]]:
    """Return the log's rows as they stand in the file, in the order of their numbers."""
    with closing(sqlite3.connect(run / "review" / "decisions.sqlite")) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute("SELECT * FROM celljury_events ORDER BY number")]


def final_by_replay(run: Path) -> pd.DataFrame:
    """Return `COLUMNS` of every cell, by its id: the calls, and over them what the log says."""
    pack, calls = Pack.open(run), pd.read_parquet(run / "calls.parquet", columns=["cell_id", "term", "status"])
    term, status = (calls[name].astype(object).fillna("").to_numpy() for name in ("term", "status"))
    found = pd.DataFrame({"term": term, "status": status}, index=pd.Index(calls["cell_id"], name="cell_id"))
    found = found.assign(source="call", reviewed=False, conflict=False, item_id="")
    standing = _standing(rows_of_log(run))
    for item, start, stop in zip(*(pack.items[name].tolist() for name in ("item_id", "start", "stop")), strict=True):
        for part, cells in _leaves(pack, item, np.arange(start, stop), standing):
            outcome, conflict = _outcome([row for row in standing if row["item_id"] == part])
            at = found.index[pack.row[cells]]
            found.loc[at, ["item_id", "conflict"]] = [part, conflict]
            if outcome is not None:
                found.loc[at, ["term", "status", "source", "reviewed"]] = [*outcome, "curator", True]
    return found[COLUMNS]


def final_in_file(run: Path) -> pd.DataFrame:
    """Return the same columns of ``final.parquet``."""
    found = pd.read_parquet(run / "final.parquet").set_index("cell_id")[COLUMNS]
    texts = ["term", "status", "source", "item_id"]
    return found.assign(**{name: found[name].astype(object).fillna("") for name in texts})


def _standing(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows that no undo takes back; an undo is taken back by a later one."""
    gone: set[int] = set()
    for row in reversed(rows):
        if row["action"] == "undo" and row["number"] not in gone:
            target = next(other for other in rows if other["number"] == row["undoes"])
            same = [r["number"] for r in rows if target["group"] and r["group"] == target["group"]]
            gone |= {target["number"], *same}
    return [row for row in rows if row["number"] not in gone and row["action"] != "undo"]


def _leaves(
    pack: Pack, part: str, cells: NDArray[np.int64], standing: list[dict[str, Any]]
) -> list[tuple[str, NDArray[np.int64]]]:
    split = next((row for row in standing if row["item_id"] == part and row["action"] == "split"), None)
    if split is None:
        return [(part, cells)]
    if split["by"] == "cluster":
        second = pack.half[cells] == 1
    else:
        support = pack.support[cells, pack.about["members"].index(split["by"])].astype(float)
        second = np.nan_to_num(support, nan=-1.0) > np.nanmean(support)
    sides = ((f"{part}~{split['by']}~0", cells[~second]), (f"{part}~{split['by']}~1", cells[second]))
    return [leaf for name, here in sides for leaf in _leaves(pack, name, here, standing)]


def _outcome(rows: list[dict[str, Any]]) -> tuple[tuple[str, str] | None, bool]:
    """Return what the decisions on an item come to (None = nothing), and whether they contradict each other."""
    decisions = [row for row in rows if row["action"] in DECIDE]
    settled = [i for i, row in enumerate(decisions) if row["action"] == "settle"]
    since = decisions[settled[-1] :] if settled else decisions
    said = {row["reviewer"]: (row["after_term"], row["after_status"]) for row in since}
    outcomes = set(said.values())
    return (outcomes.pop(), False) if len(outcomes) == 1 else (None, len(outcomes) > 1)
