"""What the screen shows, as frozen values; the desk fills them, the templates lay them out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from celljury.markup import Html
    from celljury.review.filters import Filters


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the list: an item or part, its size, why it is here, and where it stands."""

    part_id: str
    name: str
    n_cells: int
    why: str
    tone: str
    status: str
    part: str
    locked_by: str


@dataclass(frozen=True, slots=True)
class Window:
    """The part of the list that is drawn: rows ``first`` + 1 and on, of ``n_rows``; page ``page`` of ``n_pages``, from 1."""

    rows: tuple[Row, ...]
    first: int
    n_rows: int
    page: int
    n_pages: int
    filters: Filters


@dataclass(frozen=True, slots=True)
class Choices:
    """What the filters offer: (value, how it is read, items)."""

    reasons: tuple[tuple[str, str, int], ...]
    terms: tuple[tuple[str, str, int], ...]
    samples: tuple[str, ...]
    statuses: tuple[tuple[str, int], ...]
    reviewers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the queue is: items and parts, cells that need review, cells of the run, and items by status."""

    n_items: int
    n_review: int
    n_cells: int
    n_decided: int
    n_open: int
    n_conflicts: int
    n_skipped: int


@dataclass(frozen=True, slots=True)
class Heading:
    """The run in the page's head: its name, the promise in short, where it is said in full, the ontology's release."""

    run: str
    promise: str
    promise_in_full: str
    release: str


@dataclass(frozen=True, slots=True)
class TermName:
    """A term to choose; ``hint`` says how it relates to the call."""

    term: str
    label: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Stat:
    """A number in the item's head, as it is read."""

    value: str
    name: str


@dataclass(frozen=True, slots=True)
class Sentence:
    """A reason: the words before its first colon, "" where it has none, and the rest."""

    lead: str
    rest: str


@dataclass(frozen=True, slots=True)
class MemberRow:
    """A member's vote, and its support of the call over the cells: mean, lowest and highest as read, and the mean 0-1."""

    name: str
    term: str
    label: str
    mean: str
    spread: str
    share: float


@dataclass(frozen=True, slots=True)
class SampleRow:
    """Cells of the item in a sample, their share of the item and, where it is known, of all cells of the sample."""

    name: str
    n_cells: int
    of_item: str
    of_sample: str


@dataclass(frozen=True, slots=True)
class SplitWay:
    """A split that gives two parts with cells: by what, what tells the parts apart, and their cells."""

    by: str
    says: str
    n_first: int
    n_second: int


@dataclass(frozen=True, slots=True)
class HistoryLine:
    """An event in words: when, who, what, with which note; ``stands`` is False for what was undone or does not count."""

    number: int
    at: str
    reviewer: str
    what: str
    note: str
    stands: bool
    remark: str


@dataclass(frozen=True, slots=True)
class Side:
    """One outcome of a conflict: who says it, and what."""

    reviewers: str
    what: str
    term: str
    status: str


@dataclass(frozen=True, slots=True)
class LockNote:
    """Somebody else is on the item, until an ISO time."""

    reviewer: str
    until: str


@dataclass(frozen=True, slots=True)
class Alike:
    """The open items that differ only in who said what and in cluster: how many with this one, and their cells."""

    n_items: int
    n_cells: int


@dataclass(frozen=True, slots=True)
class ItemView:
    """All of an item's screen.

    Attributes
    ----------
    position, n_rows
        Its place in the list as it is filtered, from 1, and the list's length; 0 where the list does not hold it.
    previous, following
        Neighbours in that list; "" = none.
    stands, stands_of
        What is decided, in words ("" = nothing), and by whom.
    own
        What stands for this reviewer, in words; "" = nothing.
    up
        Direct parents of the call.
    candidates
        What the keys 1 to 9 choose.
    path, dots
        Drawings; ``dots`` is None where there are no genes, for which ``no_dots`` is the reason.
    dots_table
        The numbers of ``dots`` for those who do not see them; None where it is.
    label_says
        Name of the call as a heading; ``call`` as in the sentence of an acceptance.
    """

    part_id: str
    item_id: str
    part: str
    name: str
    term: str
    n_cells: int
    position: int
    n_rows: int
    previous: str
    following: str
    status: str
    stands: str
    stands_of: str
    own: str
    samples_in_short: str
    backed_off_from: str
    stats: tuple[Stat, ...]
    sentences: tuple[Sentence, ...]
    reasons: tuple[str, ...]
    tone: str
    up: tuple[TermName, ...]
    candidates: tuple[TermName, ...]
    path: Html
    dots: Html | None
    dots_table: Html | None
    no_dots: str
    members: tuple[MemberRow, ...]
    samples: tuple[SampleRow, ...]
    more_samples: int
    knows_samples: bool
    splits: tuple[SplitWay, ...]
    history: tuple[HistoryLine, ...]
    sides: tuple[Side, ...]
    lock: LockNote | None
    alike: Alike | None
    can_undo: str
    can_redo: str
    example_cells: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Embedding:
    """The embedding's name, cells of the run and drawn of them, and names of areas: (x, y, label), x and y as in the points."""

    name: str
    n_cells: int
    n_drawn: int
    labels: tuple[tuple[float, float, str], ...]
