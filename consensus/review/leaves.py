"""What the log says of every cell that needs review: the item or part that decides it, and what holds there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from celljury.errors import InputError, UnknownTermError
from celljury.review.events import line_of
from celljury.review.ledger import replay

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from celljury.ontology.graph import CellOntology
    from celljury.review.ledger import ItemState, Ledger
    from celljury.review.pack import Pack


@dataclass(frozen=True, slots=True)
class Leaves:
    """Items and parts of split items, none of which is itself split: every reviewed cell is in exactly one.

    Attributes
    ----------
    ids
        Their ids (n_leaves,), in the order of the queue.
    status
        ``open``, ``decided``, ``conflict``, ``skipped`` or ``reopened`` (n_leaves,).
    term
        Decided term as an ontology index, int32 (n_leaves,), -1 = none, or not decided.
    outcome
        Decided status (n_leaves,): ``resolved``, ``unseen`` or ``unresolved``; empty = not decided.
    call_term, call_status
        What the run had called (n_leaves,); -1 = no term.
    reviewers
        Who decided, or skipped where nobody decided (n_leaves,), joined by ``;``.
    decided_at
        Since when the outcome holds, by the events that were not undone, UTC (n_leaves,); empty = not decided.
    note
        What was noted on it and on what it is a part of (n_leaves,), joined by `BETWEEN_NOTES`.
    n_cells
        Its cells, int64 (n_leaves,); a part can be empty.
    of_cell
        Index of each review cell's leaf, int32 (n_review,), in the order of ``Pack.row``.
    """

    ids: tuple[str, ...]
    status: tuple[str, ...]
    term: NDArray[np.int32]
    outcome: tuple[str, ...]
    call_term: NDArray[np.int32]
    call_status: tuple[str, ...]
    reviewers: tuple[str, ...]
    decided_at: tuple[str, ...]
    note: tuple[str, ...]
    n_cells: NDArray[np.int64]
    of_cell: NDArray[np.int32]

    @property
    def decided(self) -> NDArray[np.bool_]:
        """Whether a curator's outcome holds, bool (n_leaves,)."""
        return np.array([bool(outcome) for outcome in self.outcome], bool)

    @property
    def changed(self) -> NDArray[np.bool_]:
        """Whether it differs from the call in its term, or in being unseen, bool (n_leaves,)."""
        unseen = np.array([a == "unseen" for a in self.outcome], bool)
        was_unseen = np.array([a == "unseen" for a in self.call_status], bool)
        return self.decided & ((self.term != self.call_term) | (unseen != was_unseen))


BETWEEN_NOTES = " | "


def leaves_of(pack: Pack, ledger: Ledger) -> Leaves:
    """Return what the log says of every review cell.

    Raises
    ------
    InputError
        If a decision names a term that the run's ontology does not have.
    """
    items = pack.items
    ids: list[str] = []
    n_cells: list[int] = []
    of_item: list[int] = []
    of_cell = np.empty(len(pack.row), np.int32)
    columns = zip(items["item_id"].tolist(), items["start"].tolist(), items["stop"].tolist(), strict=True)
    for i, (item_id, start, stop) in enumerate(columns):
        parts = ledger.leaves(item_id)
        for part in parts:
            if part == item_id:
                of_cell[start:stop] = len(ids)
                n_cells.append(stop - start)
            else:
                rows = pack.rows_of(part)
                of_cell[rows] = len(ids)
                n_cells.append(len(rows))
            ids.append(part)
            of_item.append(i)
    whole = np.array(of_item, np.int64)
    states = [ledger.state(part) for part in ids]
    ontology = pack.ontology
    found = Leaves(
        ids=tuple(ids),
        status=tuple(state.status for state in states),
        term=np.array([_term(state, ontology) for state in states], np.int32),
        outcome=tuple(state.outcome.status if state.outcome else "" for state in states),
        call_term=np.array([ontology.index(t) if t else -1 for t in items["term"].tolist()], np.int32)[whole],
        call_status=tuple(items["status"].iloc[whole].tolist()),
        reviewers=tuple(";".join(_reviewers(state)) for state in states),
        decided_at=tuple(_decided_at(state, ledger) for state in states),
        note=tuple(_note(part, ledger) for part in ids),
        n_cells=np.array(n_cells, np.int64),
        of_cell=of_cell,
    )
    assert found.n_cells.sum() == len(pack.row), "a cell is in two parts of its item, or in none"
    assert np.array_equal(np.bincount(of_cell, minlength=len(ids)), found.n_cells), "parts of an item overlap"
    return found


def _term(state: ItemState, ontology: CellOntology) -> int:
    if state.outcome is None or not state.outcome.term:
        return -1
    try:
        return ontology.index(state.outcome.term)
    except UnknownTermError as error:
        message = (
            f"item {state.item_id} was decided to be {state.outcome.term} (by {', '.join(_reviewers(state))}), which is no live"
            f" term of this run's ontology, CL {ontology.source.release}. Decide it again with celljury review."
        )
        raise InputError(message) from error


def _reviewers(state: ItemState) -> list[str]:
    """Return who decided; who skipped where nobody did."""
    decided = [name for name, event in state.by_reviewer.items() if event.after is not None]
    return sorted(decided or state.by_reviewer)


def _decided_at(state: ItemState, ledger: Ledger) -> str:
    """Return since when the outcome holds; "" where there is none.

    That is the event with which the item came to it and did not leave it again, among those that stand: what was undone
    never stood in the way.
    """
    since, so_far = "", replay((), ledger.evidence)
    if state.outcome is not None:
        for event in ledger.history(state.item_id):
            if ledger.stands(event):
                before, so_far = so_far.state(state.item_id).outcome, so_far.after([event])
                if before != state.outcome == so_far.state(state.item_id).outcome:
                    since = event.at
    return since


def _note(part: str, ledger: Ledger) -> str:
    notes = {event.number: event.note for name in line_of(part) for event in ledger.state(name).notes}
    return BETWEEN_NOTES.join(notes[number] for number in sorted(notes))
