"""Which items of the queue a curator wants to see, and quick answers to it for queues of thousands."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import urlencode

import numpy as np

from celljury.ontology.names import NameIndex
from celljury.reasons import MEANING, RUN_WIDE, Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from celljury.review.pack import Pack

STATUSES: Final = ("open", "decided", "conflict", "skipped", "reopened")
"""What an item may be; one that was split is not listed, its parts are."""

LONGEST: Final = 200
"""Characters of what is typed into a filter."""

N_KEPT: Final = 64
"""Lists that are kept, of so many different filters."""

REASON_ORDER: Final = tuple(
    [reason.code for reason in MEANING if not reason & RUN_WIDE]
    + [reason.code for reason in MEANING if reason & RUN_WIDE]
)
"""Reason codes, what makes a label moot first, what is so of whole runs last."""


@dataclass(frozen=True, slots=True)
class Filters:
    """What the list is narrowed to; "" = not narrowed.

    Attributes
    ----------
    reason
        A reason code.
    term
        A term's id, label or synonym; items called so or below.
    sample
        A sample's name.
    status
        One of `STATUSES`.
    reviewer
        Who has decided it.
    text
        What stands anywhere in its texts, whatever the case.
    """

    reason: str = ""
    term: str = ""
    sample: str = ""
    status: str = ""
    reviewer: str = ""
    text: str = ""

    @classmethod
    def of(cls, asked: Mapping[str, str]) -> Self:
        """Read them from a query or a form; anything else in it is left alone."""
        found = cls(**{field.name: asked.get(field.name, "") for field in fields(cls)})
        # What people type; the others are names as they are, and a sample's may begin with a space or be long.
        return replace(found, term=found.term.strip()[:LONGEST], text=found.text.strip()[:LONGEST])

    @property
    def set(self) -> dict[str, str]:
        """Those that narrow, by name."""
        return {field.name: value for field in fields(self) if (value := getattr(self, field.name))}

    def query(self, **more: Any) -> str:
        """Return them as a URL's query with its question mark; "" where there is nothing to say."""
        said = urlencode(self.set | {name: value for name, value in more.items() if value not in ("", None)})
        return f"?{said}" if said else ""

    def but(self, **changed: str) -> Filters:
        """Return them with some changed."""
        return replace(self, **changed)


class ItemIndex:
    """Look-ups over the items of a pack, made when first needed."""

    def __init__(self, pack: Pack) -> None:
        self.pack = pack
        self._matching = lru_cache(maxsize=N_KEPT)(self._worked_out)

    @cached_property
    def names(self) -> NameIndex:
        """Labels and synonyms of the run's ontology."""
        return NameIndex(self.pack.ontology)

    @cached_property
    def i_term(self) -> NDArray[np.int32]:
        """Index of each item's call, int32 (n_items,); -1 = none."""
        index = {term: self.pack.ontology.index(term) for term in set(self.pack.items["term"]) if term}
        return np.array([index.get(term, -1) for term in self.pack.items["term"]], np.int32)

    @cached_property
    def reasons(self) -> dict[str, NDArray[np.bool_]]:
        """Which items have a reason, bool (n_items,) by code; only those that some item has, in `REASON_ORDER`."""
        said = [frozenset(codes.split(";")) for codes in self.pack.items["reasons"]]
        masks = {code: np.array([code in codes for codes in said], bool) for code in REASON_ORDER}
        return {code: mask for code, mask in masks.items() if mask.any()}

    @cached_property
    def families(self) -> dict[str, NDArray[np.int64]]:
        """Rows of the items of each family, in the order of the queue."""
        family = self.pack.items["family"].to_numpy(dtype=str)
        order = np.argsort(family, kind="stable")
        names, starts = np.unique(family[order], return_index=True)
        return dict(zip(names.tolist(), np.split(order, starts[1:]), strict=True))

    @cached_property
    def _texts(self) -> list[str]:
        items = self.pack.items
        columns = (
            items[name]
            for name in ("item_id", "label", "term", "reasons", "sentence", "votes", "samples", "example_cells")
        )
        return ["\n".join(map(str, row)).casefold() for row in zip(*columns, strict=True)]

    def with_text(self, text: str) -> NDArray[np.bool_]:
        """Return which items say a text, or are called a term of this name or below it, bool (n_items,)."""
        wanted = text.casefold()
        # A synonym stands in no text of an item, and yet names what it is called.
        return np.array([wanted in said for said in self._texts], bool) | self.below(text)

    @cached_property
    def _sample_pairs(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        items = self.pack.items
        rows = np.repeat(np.arange(len(items)), (items["stop"] - items["start"]).to_numpy())
        n_samples = max(len(self.pack.about["samples"]), 1)
        pairs = np.unique(rows * n_samples + self.pack.batch)
        return pairs // n_samples, pairs % n_samples

    def with_sample(self, sample: str) -> NDArray[np.bool_]:
        """Return which items hold a cell of a sample, bool (n_items,); none where the run has no such sample."""
        found = np.zeros(len(self.pack.items), bool)
        names = self.pack.about["samples"]
        if sample in names:
            rows, samples = self._sample_pairs
            found[rows[samples == names.index(sample)]] = True
        return found

    def term(self, text: str) -> int:
        """Return the term that a text names by id, label or synonym; -1 = none."""
        match = self.names.lookup(text)
        return -1 if match is None else match.i_term

    def below(self, text: str) -> NDArray[np.bool_]:
        """Return which items are called a term or one below it, bool (n_items,); none where the text names no term."""
        return np.asarray(self.pack.ontology.is_ancestor(self.term(text), self.i_term), bool)

    def matching(self, filters: Filters) -> NDArray[np.bool_]:
        """Return which items a list holds as far as the queue alone tells, bool (n_items,): not by status or reviewer.

        The queue does not change while it is reviewed, and a page asks several times: the last answers are kept.
        """
        return self._matching(filters.but(status="", reviewer=""))

    def _worked_out(self, filters: Filters) -> NDArray[np.bool_]:
        found = np.ones(len(self.pack.items), bool)
        if filters.reason:
            found &= self.reasons.get(filters.reason, np.zeros_like(found))
        if filters.term:
            found &= self.below(filters.term)
        if filters.sample:
            found &= self.with_sample(filters.sample)
        if filters.text:
            found &= self.with_text(filters.text)
        found.flags.writeable = False
        return found

    @cached_property
    def called(self) -> list[tuple[str, str, int]]:
        """Terms that are called in the queue, or lie above what is: (id, label, items at or below), most items first.

        Those above every call say nothing and are left out, but for the lowest.
        """
        rows = self.pack.ontology.ancestor_rows(self.i_term[self.i_term >= 0])
        n_items = rows.sum(axis=0)
        terms = np.flatnonzero((n_items > 0) & (n_items < max(len(rows), 2)))
        order = terms[np.lexsort((terms, -n_items[terms]))]
        ontology = self.pack.ontology
        return [(ontology.ids[i], ontology.labels[i], int(n_items[i])) for i in order.tolist()]


def in_words(code: str) -> str:
    """Return a reason code as it is read."""
    return code.replace("_", " ")


_TONES: Final = {
    "strange": (
        Reason.UNSEEN | Reason.BORDERLINE_UNSEEN | Reason.CONFIDENT_BUT_STRANGE | Reason.SHARED_BIAS | Reason.DISTANCE_ONLY
    ),
    "conflict": Reason.SIBLING_CONFLICT | Reason.MARKER_CONTRADICTION | Reason.OUT_OF_PLACE,
    "coarse": Reason.LINEAGE_TRANSITION | Reason.GRANULARITY | Reason.BACKED_OFF | Reason.TOO_GENERAL,
    "quality": Reason.POSSIBLE_DOUBLET | Reason.LOW_QUALITY,
}  # fmt: skip


def tone(code: str) -> str:
    """Return the kind of a reason, which its bar in the list has a colour for."""
    return next((name for name, mask in _TONES.items() if code and Reason[code.upper()] & mask), "other")
