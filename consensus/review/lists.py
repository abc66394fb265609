"""The list beside the item: what the filters leave of the queue, a window of it, what is next, and how far it is."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np

from celljury.review.board import TO_DO
from celljury.review.filters import STATUSES, in_words, tone
from celljury.review.showing import name_of, reasons_of, why_of
from celljury.review.texts import part_name
from celljury.review.views import Choices, LockNote, Progress, Row, Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from celljury.review.board import Seen
    from celljury.review.filters import Filters, ItemIndex
    from celljury.review.locks import Locks
    from celljury.review.pack import Pack

PAGE: Final = 50
"""Rows of the list that are drawn at once."""


class QueueList:
    """The queue of a pack as a list for reviewers.

    Parameters
    ----------
    locks
        Who is on which item; None = nobody is told.
    """

    def __init__(self, pack: Pack, index: ItemIndex, locks: Locks | None) -> None:
        self.pack, self.index, self.locks = pack, index, locks

    def mask(self, filters: Filters, seen: Seen) -> NDArray[np.bool_]:
        """Return which entries a list holds, bool (n_entries,)."""
        found = self.index.matching(filters)[seen.entries.row]
        if filters.status:
            found &= seen.entries.status == filters.status
        if filters.reviewer:
            found &= seen.decided_by(filters.reviewer)
        return found

    def window(self, filters: Filters, seen: Seen, *, page: int = 0, here: str = "") -> Window:
        """Return a page of the list; page 0 = the one that ``here`` is on, or the first."""
        rows = np.flatnonzero(self.mask(filters, seen))
        n_pages = max(1, -(-len(rows) // PAGE))
        if not page and here in seen.entries.position:
            page = int(np.searchsorted(rows, seen.entries.position[here], side="right") - 1) // PAGE + 1
        page = min(max(page, 1), n_pages)
        first = (page - 1) * PAGE
        taken = self.taken(seen.reviewer)
        drawn = tuple(self._row(i, seen, taken) for i in rows[first : first + PAGE].tolist())
        return Window(drawn, first, len(rows), page, n_pages, filters)

    def _row(self, i: int, seen: Seen, taken: dict[str, LockNote]) -> Row:
        part_id, at = seen.entries.ids[i], int(seen.entries.row[i])
        codes = reasons_of(self.pack, at)
        lock = taken.get(part_id)
        return Row(
            part_id=part_id,
            name=name_of(self.pack, at),
            n_cells=self.n_cells(part_id),
            why=why_of(self.pack, at),
            tone=tone(codes[0] if codes else ""),
            status=str(seen.entries.status[i]),
            part=part_name(part_id),
            locked_by=lock.reviewer if lock else "",
        )

    def choices(self, seen: Seen) -> Choices:
        """Return what the filters offer."""
        reasons = tuple((code, in_words(code), int(mask.sum())) for code, mask in self.index.reasons.items())
        statuses = tuple((name, int(np.count_nonzero(seen.entries.status == name))) for name in STATUSES)
        return Choices(
            reasons, tuple(self.index.called), tuple(self.pack.about["samples"]), statuses, tuple(seen.reviewers)
        )

    def progress(self, seen: Seen) -> Progress:
        """Return how far the queue is for a reviewer."""
        n = {name: int(np.count_nonzero(seen.entries.status == name)) for name in STATUSES}
        about = self.pack.about
        return Progress(
            n_items=len(seen.entries.ids), n_review=int(about["n_review"]), n_cells=int(about["n_cells"]),
            n_decided=n["decided"], n_open=n["open"] + n["reopened"], n_conflicts=n["conflict"], n_skipped=n["skipped"],
        )  # fmt: skip

    def after(self, part_id: str, filters: Filters, seen: Seen) -> str:
        """Return the next item of the list that is to do and that nobody else is on; "" = none. After the last the first."""
        to_do = self.mask(filters, seen) & np.isin(seen.entries.status, tuple(TO_DO))
        rows = np.flatnonzero(to_do).tolist()
        here = seen.entries.position.get(part_id, -1)
        taken = self.taken(seen.reviewer)
        ahead = [i for i in rows if i > here] + [i for i in rows if i < here]
        return next((seen.entries.ids[i] for i in ahead if seen.entries.ids[i] not in taken), "")

    def first(self, filters: Filters, seen: Seen) -> str:
        """Return where to begin: the first item to do, else the first; "" = the list is empty."""
        listed = np.flatnonzero(self.mask(filters, seen))
        return self.after("", filters, seen) or (seen.entries.ids[listed[0]] if listed.size else "")

    def taken(self, reviewer: str) -> dict[str, LockNote]:
        """Return the items and parts that others are on, with who and until when."""
        if self.locks is None:
            return {}
        return {
            lock.item_id: LockNote(lock.reviewer, lock.until) for lock in self.locks.held() if lock.reviewer != reviewer
        }

    def n_cells(self, part_id: str) -> int:
        """Return how many cells an item or part has."""
        if part_id in self.pack.position:
            item = self.pack.position[part_id]
            return int(self._sizes[item])
        return len(self.pack.rows_of(part_id))

    @cached_property
    def _sizes(self) -> NDArray[np.int64]:
        return np.asarray((self.pack.items["stop"] - self.pack.items["start"]).to_numpy(), np.int64)
