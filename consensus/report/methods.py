"""A methods text for a paper on a run: paragraphs with their citations, and what curators decided as far as it says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celljury.report.citations import cited
from celljury.report.methods_draft import draft

if TYPE_CHECKING:
    from collections.abc import Mapping

    from celljury.run import Run


def methods_text(
    record: Mapping[str, Any],
    *,
    evaluation: Mapping[str, Any] | None,
    review: Mapping[str, Any] | None,
    embedding: str | None = None,
) -> tuple[str, ...]:
    """Return paragraphs ready for a paper, true of this run only; sources as "(Author et al. Year)".

    Parameters
    ----------
    record
        As ``run.json`` says.
    evaluation
        As ``evaluation.json`` says; None where the run was not evaluated.
    review
        What `review_facts` found; None where nobody decided anything.
    embedding
        ``umap`` or ``pca`` where cells are drawn by it, which is then said; None = not said.
    """
    paragraphs = draft(record, evaluation=evaluation, review=review, embedding=embedding)
    return tuple(cited(paragraph, record).replace("\ufe6b", "@") for paragraph in paragraphs)


def review_facts(run: Run) -> dict[str, int] | None:
    """Return what ``final.parquet`` says of decisions; None where there is none, or no cell was decided.

    Returns
    -------
    ``n_cells`` of the run; of these ``n_reviewed`` decided, ``n_changed`` decided otherwise than called, ``n_conflict`` on
    which reviewers disagree; ``n_items`` decided, by ``n_reviewers``.
    """
    path = run.folder / "final.parquet"
    if not path.is_file():
        return None
    import pyarrow.parquet as pq

    names = ["reviewed", "conflict", "item_id", "reviewers", "term", "status", "call_term", "call_status"]
    table = pq.read_table(path, columns=names).group_by(names).aggregate([([], "count_all")]).to_pylist()
    decided = [row for row in table if row["reviewed"]]
    if not decided:
        return None
    # A call that a curator confirms is resolved from then on: that alone is no other outcome.
    changed = [
        row for row in decided
        if (row["term"] or "") != (row["call_term"] or "")
        or (row["status"] == "unseen") != (row["call_status"] == "unseen")
    ]  # fmt: skip
    reviewers = {name for row in decided for name in (row["reviewers"] or "").split(";") if name}
    return {
        "n_cells": _cells(table),
        "n_reviewed": _cells(decided),
        "n_changed": _cells(changed),
        "n_conflict": _cells([row for row in table if row["conflict"]]),
        "n_items": len({row["item_id"] for row in decided}),
        "n_reviewers": len(reviewers),
    }


def _cells(rows: list[dict[str, Any]]) -> int:
    return sum(int(row["count_all"]) for row in rows)
