"""An item's or part's screen, put together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from celljury.review import happened, showing
from celljury.review.dots import dots_table, marker_dots
from celljury.review.events import item_of
from celljury.review.filters import in_words, tone
from celljury.review.texts import label_of, outcome_name, part_name, sentences_of, what
from celljury.review.views import ItemView

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celljury.review.board import Seen
    from celljury.review.filters import Filters
    from celljury.review.lists import QueueList
    from celljury.review.views import LockNote


def item_view(part_id: str, lists: QueueList, filters: Filters, seen: Seen, lock: LockNote | None = None) -> ItemView:
    """Return an item's or part's screen as a reviewer sees it; raises UnknownItemError."""
    pack, ontology = lists.pack, lists.pack.ontology
    rows = pack.rows_of(part_id)
    item_id = item_of(part_id)
    at = pack.position[item_id]
    found = pack.items.iloc[at]
    listed = [seen.entries.ids[i] for i in np.flatnonzero(lists.mask(filters, seen)).tolist()]
    place = listed.index(part_id) if part_id in listed else -1
    state = seen.state(part_id)
    own = state.by_reviewer.get(seen.reviewer)
    codes = showing.reasons_of(pack, at)
    samples = showing.samples_of(pack, rows)
    backed = found["status"] == "backed_off" and found["top_term"]
    undo, redo = seen.full.undoable(seen.reviewer), seen.full.redoable(seen.reviewer)
    dots = showing.dots_of(pack, at)
    ahead, behind = _neighbours(part_id, place, listed, seen)
    return ItemView(
        part_id=part_id,
        item_id=item_id,
        part=part_name(part_id),
        name=showing.name_of(pack, at),
        term=str(found["term"]),
        n_cells=len(rows),
        position=place + 1,
        n_rows=len(listed),
        previous=behind,
        following=ahead,
        status=state.status,
        stands=outcome_name(state.outcome, ontology) if state.outcome else "",
        stands_of=", ".join(who for who, event in state.by_reviewer.items() if event.after is not None),
        own=what(own, ontology) if own else "",
        samples_in_short=_samples_in_short([sample.name for sample in samples]),
        backed_off_from=label_of(found["top_term"], ontology) if backed else "",
        stats=showing.stats_of(pack, at),
        sentences=sentences_of(str(found["sentence"])),
        reasons=tuple(in_words(code) for code in codes),
        tone=tone(codes[0] if codes else ""),
        up=showing.parents_of(str(found["term"]), ontology),
        candidates=showing.candidates_of(pack, at),
        path=showing.path_of(pack, at, rows),
        dots=marker_dots(*dots, width=410) if dots[0] else None,
        dots_table=dots_table(*dots) if dots[0] else None,
        no_dots=str(pack.about["no_genes"]) or "The reference has no marker genes for the terms that were voted for.",
        members=showing.members_of(pack, at, rows),
        samples=samples[: showing.MOST_SAMPLES],
        more_samples=max(len(samples) - showing.MOST_SAMPLES, 0),
        knows_samples=any(sample.of_sample for sample in samples),
        splits=showing.splits_of(pack, part_id, rows),
        history=happened.history_of(part_id, seen, ontology),
        sides=happened.sides_of(state, ontology),
        lock=lock,
        alike=happened.alike_of(part_id, pack, lists.index, seen, lists.taken(seen.reviewer))[1],
        can_undo=what(undo, ontology) if undo else "",
        can_redo="redo" if redo else "",
        example_cells=tuple(str(found["example_cells"]).split(";")),
    )


def _neighbours(part_id: str, place: int, listed: Sequence[str], seen: Seen) -> tuple[str, str]:
    """Return the next and the one before in a list, which may have lost the item itself to a filter by status."""
    if place >= 0:
        return (listed[place + 1] if place + 1 < len(listed) else ""), (listed[place - 1] if place else "")
    here = seen.entries.position.get(part_id, -1)
    ahead = next((other for other in listed if seen.entries.position[other] > here), "")
    behind = next((other for other in reversed(listed) if seen.entries.position[other] < here), "")
    return ahead, behind


def _samples_in_short(names: Sequence[str]) -> str:
    shown = names[:3]
    more = len(names) - len(shown)
    noun = "sample" if len(names) == 1 else "samples"
    return f"{noun} {', '.join(shown)}" + (f" and {more} more" if more else "")
