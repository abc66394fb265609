"""Tables of the members: how far they agree, and how each stands to the calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from celljury.report.member_agreement import agreement_of
from celljury.report.table import Table, TableColumn
from celljury.report.vote_patterns import present_members, quoted, vote_patterns

if TYPE_CHECKING:
    from celljury.report.counted import Counted
    from celljury.report.member_agreement import MemberAgreement
    from celljury.report.vote_patterns import VotePatterns


def member_tables(counted: Counted) -> list[Table]:
    """Return ``members`` (a row a member) and ``member_agreement`` (a row a pair); none where no member took part."""
    if not present_members(counted.run.record):
        return []
    patterns = vote_patterns(counted)
    return [_members(counted, patterns), _pairs(counted, agreement_of(patterns, counted.ontology))]


def _call_words(counted: Counted) -> str:
    final = " (where curators decided, their term)" if counted.source == "final" else ""
    return f"The call is the run's{final}; unseen and unresolved cells have none."


def _members(counted: Counted, patterns: VotePatterns) -> Table:
    votes, call = patterns.of_ontology(counted.ontology)
    call = np.where(patterns.unseen, np.int32(-1), call)[:, None]
    cells, both = patterns.n_cells, (votes >= 0) & (call >= 0)
    below, above = counted.ontology.is_ancestor(call, votes), counted.ontology.is_ancestor(votes, call)
    n_both = cells @ both
    shares = {
        "same": both & (votes == call),
        "at_or_below": both & below,
        "above": both & above & ~below,
        "apart": both & ~above & ~below,
    }
    n_votes = cells @ (votes >= 0)
    rows = pd.DataFrame(
        {
            "member": patterns.members,
            "n_votes": n_votes,
            "n_abstained": counted.n_cells - n_votes,
            "n_both": n_both,
            **{name: _share(cells @ which, n_both) for name, which in shares.items()},
            "mean_support": _mean_support(counted, patterns.members),
        }
    )
    absent = [member for member in counted.run.record["members"] if member["absent"]]
    return Table(
        name="members",
        title="Members and how their votes stand to the calls",
        about="A row is a member of the jury. Shares are of the cells on which it voted and that have a call.",
        columns=(
            TableColumn("member", "member"),
            TableColumn("n_votes", "votes", "cells that it voted on", "count"),
            TableColumn("n_abstained", "abstained", "cells that it did not vote on", "count"),
            TableColumn("n_both", "with a call", "cells that it voted on and that have a call", "count"),
            TableColumn("same", "same", "share whose vote is the called term", "share"),
            TableColumn("at_or_below", "at or below", "share whose vote is the called term or a kind of it", "share"),
            TableColumn("above", "coarser", "share whose vote is above the called term", "share"),
            TableColumn("apart", "elsewhere", "share whose vote is on another branch", "share"),
            TableColumn("mean_support", "support", "mean of its probability at or below the call, 0 to 1", "number", 3),
        ),
        rows=rows,
        notes=(
            _call_words(counted),
            *(f"{member['name']} took no part: {_sentence(member['absent'])}" for member in absent),
        ),
    )


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _share(n: np.ndarray, of: np.ndarray) -> np.ndarray:
    return np.divide(n, of, out=np.full(len(of), np.nan), where=of > 0)


def _mean_support(counted: Counted, members: tuple[str, ...]) -> list[float]:
    # avg() over NaN is NaN: NaN stands for no call or no vote.
    columns = [quoted(f"support_{name}") for name in members]
    means = ", ".join(f"avg({own}) FILTER (NOT isnan({own})) AS m{j}" for j, own in enumerate(columns))
    found = counted.query(f"SELECT {means} FROM cells").iloc[0]
    return [float("nan") if pd.isna(value) else float(value) for value in found]


def _pairs(counted: Counted, found: MemberAgreement) -> Table:
    first, second = np.triu_indices(len(found.names), 1)
    rows = pd.DataFrame(
        {
            "a": [found.names[i] for i in first],
            "b": [found.names[j] for j in second],
            "n_both": found.n_both[first, second],
            "same": found.same[first, second],
            "compatible": found.compatible[first, second],
        }
    )
    return Table(
        name="member_agreement",
        title="Agreement between members, and with the call",
        about="A row is a pair of members, or a member and the call. Shares are of the cells on which both named a term.",
        columns=(
            TableColumn("a", "one"),
            TableColumn("b", "other"),
            TableColumn("n_both", "cells", "on which both named a term", "count"),
            TableColumn("same", "same term", "share with the same term", "share"),
            TableColumn("compatible", "compatible", "share with the same term, or one above the other", "share"),
        ),
        rows=rows,
        notes=(_call_words(counted),),
    )
