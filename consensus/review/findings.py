"""Which members were right on what curators decided."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from celljury.heldout import Reviewed
from celljury.review.events import item_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from celljury.ontology.graph import CellOntology
    from celljury.review.leaves import Leaves
    from celljury.review.pack import Pack
    from celljury.run import Run

Z = 1.959963984540054  # of a 95 % interval
KINDS = ("right", "coarser", "wrong", "abstained")


@dataclass(frozen=True, slots=True)
class MemberFinding:
    """One member on the reviewed items whose cells a curator gave a term.

    Attributes
    ----------
    member
        Its name.
    items, cells
        By kind: ``right`` (its vote is the curator's term or a kind of it), ``coarser`` (above it), ``wrong``
        (elsewhere) and ``abstained``.
    share, low, high
        Share of the items it voted on where it was right, 0-1, and its Wilson interval at 95 %; NaN = none.
    held_out
        Its accuracy on held-out cells of the reference; NaN = not known. All cells, not only those in doubt.
    estimated
        Its accuracy on the query's cells as the run estimated it without curators; NaN = not known.
    """

    member: str
    items: dict[str, int]
    cells: dict[str, int]
    share: float
    low: float
    high: float
    held_out: float
    estimated: float


@dataclass(frozen=True, slots=True)
class Findings:
    """What the reviewed items of a run say of its members.

    Attributes
    ----------
    run
        The reviewed run.
    calls
        sha256 of its calls.
    members
        One row a member.
    n_judged
        Items and parts whose decided term the members were held against.
    n_without_term
        Those decided to be unseen, or to have no term: no vote is right or wrong by them.
    reviewed
        Those that can teach a jury: decided to be one of the reference's own terms. Parts of an item that were decided
        alike are one observation.
    last_event
        Number of the log's last event; 0 = none.
    n_events
        Its events.
    """

    run: Run
    calls: str
    members: tuple[MemberFinding, ...]
    n_judged: int
    n_without_term: int
    reviewed: Reviewed
    last_event: int
    n_events: int


def member_findings(run: Run, pack: Pack, leaves: Leaves, *, last_event: int = 0, n_events: int = 0) -> Findings:
    """Return which members were right on what was reviewed."""
    ontology = pack.ontology
    members = tuple(pack.about["members"])
    judged = (
        np.array([outcome == "resolved" for outcome in leaves.outcome], bool)
        & (leaves.term >= 0)
        & (leaves.n_cells > 0)
    )
    votes = _votes(run, pack, leaves, np.flatnonzero(judged), members, ontology)
    term, n_cells = leaves.term[judged], leaves.n_cells[judged]
    calibration = run.record.get("calibration") or {}
    known = {row["name"]: row["accuracy"] for row in calibration.get("evidence", {}).get("members", [])}
    estimated = calibration.get("reliability", {})
    rows = []
    for j, name in enumerate(members):
        kind = _kinds(votes[:, j], term, ontology)
        items = {said: int((kind == i).sum()) for i, said in enumerate(KINDS)}
        cells = {said: int(n_cells[kind == i].sum()) for i, said in enumerate(KINDS)}
        n_cast = len(kind) - items["abstained"]
        low, high = wilson(items["right"], n_cast)
        rows.append(
            MemberFinding(
                name, items, cells, items["right"] / n_cast if n_cast else nan, low, high, _number(known.get(name)),
                _number(estimated.get(name)),
            )
        )  # fmt: skip
    ids = [leaves.ids[i] for i in np.flatnonzero(judged).tolist()]
    own = {ontology.index(t) for t in run.record.get("reference_terms", ()) if t in ontology}
    calls = str(pack.about["run"])
    return Findings(
        run, calls, tuple(rows), int(judged.sum()), int((leaves.decided & ~judged & (leaves.n_cells > 0)).sum()),
        _observations(ids, votes, term, n_cells, members, own=own, calls=calls), last_event, n_events,
    )  # fmt: skip


def wilson(n_right: int, n: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson 1927, doi:10.1080/01621459.1927.10502953); (NaN, NaN) of none."""
    if n == 0:
        return nan, nan
    p, z2 = n_right / n, Z * Z
    middle = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z / (1 + z2 / n) * sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    return max(middle - half, 0.0), min(middle + half, 1.0)


def findings_rows(findings: Findings) -> list[dict[str, Any]]:
    """Return one row a member, for ``members.tsv``."""
    return [
        {
            "member": row.member,
            **{f"items_{kind}": row.items[kind] for kind in KINDS},
            **{f"cells_{kind}": row.cells[kind] for kind in KINDS},
            **{
                name: round(value, 4)
                for name, value in (
                    ("share_right", row.share), ("low", row.low), ("high", row.high),
                    ("held_out_accuracy", row.held_out), ("estimated_accuracy", row.estimated),
                )
            },
        }
        for row in findings.members
    ]  # fmt: skip


def findings_lines(findings: Findings) -> list[str]:
    """Say which members were right."""
    if not findings.n_judged:
        return ["No item was given a term by a curator yet: nothing is known of the members."]
    width = max(len("member"), *(len(row.member) for row in findings.members))
    lines = [
        f"Members on {findings.n_judged:,} reviewed items (right: its vote is the curators' term or a kind of it)",
        f"  {'member':<{width}}  right  coarser  wrong  no vote  share right (95 %)   held-out cells  this query",
    ]
    for row in findings.members:
        share = f"{_percent(row.share)} ({_percent(row.low)}-{_percent(row.high)})"
        lines.append(
            f"  {row.member:<{width}}  {row.items['right']:>5,}  {row.items['coarser']:>7,}  {row.items['wrong']:>5,}"
            f"  {row.items['abstained']:>7,}  {share:>18}   {_percent(row.held_out):>14}  {_percent(row.estimated):>10}"
        )
    lines.append(
        "  Reviewed items are those in doubt: compare members by these shares, they are no accuracy on all cells."
    )
    return lines


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %" if np.isfinite(value) else "-"


def _number(value: float | None) -> float:
    return nan if value is None else float(value)


def _kinds(vote: NDArray[np.int32], term: NDArray[np.int32], ontology: CellOntology) -> NDArray[np.int64]:
    """Return which of `KINDS` each vote is, int64 (n,)."""
    right, coarser = ontology.is_ancestor(term, vote), ontology.is_ancestor(vote, term)
    return np.select([vote < 0, right, coarser], [3, 0, 1], 2)


def _votes(
    run: Run, pack: Pack, leaves: Leaves, wanted: NDArray[np.int64], members: Sequence[str], ontology: CellOntology
) -> NDArray[np.int32]:
    """Return the votes of some leaves, int32 (n, n_members): all cells of an item have the same."""
    import pyarrow.parquet as pq

    first = np.zeros(len(leaves.ids), np.int64)
    filled, at = np.unique(leaves.of_cell, return_index=True)
    first[filled] = at
    rows = np.asarray(pack.row)[first[wanted]] if len(wanted) else np.zeros(0, np.int64)
    found = np.full((len(wanted), len(members)), -1, np.int32)
    for j, name in enumerate(members):
        column = pq.read_table(run.calls_path, columns=[f"vote_{name}"]).column(0).take(rows).to_pylist()
        found[:, j] = [ontology.index(term) if term else -1 for term in column]
    return found


def _observations(
    ids: list[str],
    votes: NDArray[np.int32],
    term: NDArray[np.int32],
    n_cells: NDArray[np.int64],
    members: tuple[str, ...],
    *,
    own: set[int],
    calls: str,
) -> Reviewed:
    """Return what can teach: the reference's own terms, one observation for an item's parts that were decided alike."""
    alike: dict[tuple[str, int], list[int]] = {}
    for i, (part, t) in enumerate(zip(ids, term.tolist(), strict=True)):
        if t in own and (votes[i] >= 0).any():
            alike.setdefault((item_of(part), t), []).append(i)
    rows = np.array([parts[0] for parts in alike.values()], np.int64)
    cells = [int(n_cells[parts].sum()) for parts in alike.values()]
    return Reviewed(
        members, votes[rows], term[rows], np.array([calls] * len(rows), np.str_),
        np.array([ids[i] for i in rows.tolist()], dtype=np.str_), np.array(cells, np.int64),
    )  # fmt: skip
