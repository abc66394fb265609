"""Distinct votes of a run: cells repeat few of them, so that agreement and flows are worked out once a pattern."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from celljury.ontology.patterns import distinct_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from celljury.ontology.graph import CellOntology
    from celljury.report.counted import Counted


@dataclass(frozen=True, slots=True)
class VotePatterns:
    """What members said and what came of it, a row a distinct combination.

    Attributes
    ----------
    members
        Those who took part, in the order of the run.
    ids
        Term ids that occur, sorted.
    votes
        Each member's term as an index into ``ids``, int32 (n_patterns, n_members), -1 = abstained.
    call
        The counted term, int32 (n_patterns,), -1 = none.
    unseen
        Whether the cells were called unseen, bool (n_patterns,); ``call`` is then the node that they are new under.
    n_cells
        Cells of each, int64 (n_patterns,).
    """

    members: tuple[str, ...]
    ids: tuple[str, ...]
    votes: NDArray[np.int32]
    call: NDArray[np.int32]
    unseen: NDArray[np.bool_]
    n_cells: NDArray[np.int64]

    def of_ontology(self, ontology: CellOntology) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Return votes and calls as indices of an ontology, -1 where there is none."""
        index = np.append(ontology.indices(self.ids), np.int32(-1))
        return index[self.votes], index[self.call]


def present_members(record: Any) -> tuple[str, ...]:
    """Return the members that took part in a run."""
    return tuple(member["name"] for member in record["members"] if not member["absent"])


def vote_patterns(counted: Counted) -> VotePatterns:
    """Return the distinct votes of a run with what was counted for them."""
    members = present_members(counted.run.record)
    columns = ["counted_term", "counted_status", *(quoted(f"vote_{name}") for name in members)]
    rows = counted.query(f"SELECT {', '.join(columns)}, count(*) AS n_cells FROM cells GROUP BY ALL")
    return pattern_rows(rows.rename(columns={"counted_term": "term", "counted_status": "status"}), members)


def quoted(column: str) -> str:
    """Return the name of a column as SQL text: columns that others wrote can be called anything."""
    return '"' + column.replace('"', '""') + '"'


def pattern_rows(rows: pd.DataFrame, members: Sequence[str]) -> VotePatterns:
    """Return patterns from a frame with ``term``, ``status``, ``vote_M`` and ``n_cells``; rows may repeat."""
    named = rows[["term", *(f"vote_{name}" for name in members)]].astype(object)
    named = named.where(named.notna() & (named != ""), None)
    ids = sorted({str(term) for column in named for term in named[column].dropna().unique()})
    known = pd.Index(ids, dtype=object)
    codes = [known.get_indexer(pd.Index(named[column], dtype=object)) for column in named]
    unseen = (rows["status"].astype(str) == "unseen").to_numpy()
    # The other statuses are one: rows that differ in nothing else become one, in the order of their codes.
    table = np.stack([unseen, *codes], axis=1).astype(np.int32)
    first, which = distinct_rows(table)
    table = table[first]
    n_cells = np.zeros(len(first), np.int64)
    np.add.at(n_cells, which, rows["n_cells"].to_numpy(np.int64))
    return VotePatterns(tuple(members), tuple(ids), table[:, 2:], table[:, 1], table[:, 0] == 1, n_cells)
