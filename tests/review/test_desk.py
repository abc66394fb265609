"""The desk without HTTP, on a queue of five items whose answers are seen by eye."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from celljury.errors import OutputError
from celljury.ontology.load import ontology_from_edges
from celljury.provenance import sha256
from celljury.review.decisions import Decisions
from celljury.review.desk import Desk, Done, LockedItemError
from celljury.review.events import Action, Outcome
from celljury.review.filters import REASON_ORDER, Filters, tone
from celljury.review.locks import Locks
from celljury.review.pack import PACK_FORMAT, Pack, UnknownItemError
from celljury.review.points import drawn_points, embedding_of, item_points
from celljury.review.press import Press, RefusedPressError
from celljury.review.texts import part_name, sentences_of
from celljury.review.views import Sentence

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LABELS = {
    "T:1": "cell", "T:2": "T cell", "T:3": "CD4 T cell", "T:4": "CD8 T cell", "T:5": "B cell", "T:6": "naive CD4 T cell",
    "T:7": "double positive T cell",
}  # fmt: skip
PARENTS = {"T:2": ["T:1"], "T:3": ["T:2"], "T:4": ["T:2"], "T:5": ["T:1"], "T:6": ["T:3"], "T:7": ["T:3", "T:4"]}
ONTOLOGY = ontology_from_edges(LABELS, PARENTS, synonyms={"T:5": ["B lymphocyte"]})
NO_FILTERS = Filters()

# item, cells by sample, call, status, votes, candidates, reasons, family
QUEUE = [
    ("aaaaaaaaaaa0", (3, 1), "T:2", "backed_off", "m=T:3;n=T:3;o=T:4", "T:3;T:4", "sibling_conflict;backed_off", "f1"),
    ("aaaaaaaaaaa1", (2, 0), "T:2", "backed_off", "m=T:4;n=T:3;o=T:3", "T:3;T:4", "sibling_conflict", "f1"),
    ("aaaaaaaaaaa2", (0, 3), "T:5", "resolved", "m=T:5;n=T:5;o=T:5", "T:5", "low_quality", "f2"),
    ("aaaaaaaaaaa3", (1, 0), "T:2", "unseen", "m=T:6;n=T:6;o=T:6", "T:6", "unseen", "f3"),
    ("aaaaaaaaaaa4", (1, 1), "T:7", "resolved", "m=T:7;n=T:7;o=T:6", "T:7;T:6", "granularity", "f4"),
]
TWINS, TWIN, B_CELLS, STRANGE, DOUBLE = (row[0] for row in QUEUE)


def toy_pack(folder: Path) -> Pack:
    sizes = np.array([sum(row[1]) for row in QUEUE])
    n = int(sizes.sum())
    folder.mkdir()
    pd.DataFrame({"cell_id": [f"cell{i:02d}" for i in range(n)]}).to_parquet(folder / "calls.parquet")
    camps = [row[5].split(";")[:2] for row in QUEUE]
    items = pd.DataFrame(
        {
            "item_id": [row[0] for row in QUEUE], "n_cells": sizes, "gain": np.arange(5.0)[::-1],
            "samples": ["" for _ in QUEUE], "term": [row[2] for row in QUEUE], "label": [LABELS[row[2]] for row in QUEUE],
            "status": [row[3] for row in QUEUE], "depth": [int(ONTOLOGY.depth[ONTOLOGY.index(row[2])]) for row in QUEUE],
            "agreement": 1.0, "reasons": [row[6] for row in QUEUE],
            "sentence": "Members split: 2 of 3 say so. Nothing else.", "votes": [row[4] for row in QUEUE],
            "candidates": [row[5] for row in QUEUE], "markers": "", "example_cells": "cell00;cell01",
            "family": [row[7] for row in QUEUE], "evidence": [f"evidence{i}" for i in range(5)],
            "start": np.cumsum(sizes) - sizes, "stop": np.cumsum(sizes), "ic": np.float32(1), "support": np.float32(0.9),
            "p_seen": np.float32([0.5, 0.5, np.nan, 0.01, 0.5]), "top_term": [camp[0] for camp in camps],
            "camp_a": [camp[0] for camp in camps], "camp_b": [(*camp, "")[1] for camp in camps],
            "size_a": np.float32(2 / 3), "size_b": np.float32(1 / 3), "n_votes": np.int32(3),
        }
    )  # fmt: skip
    half = np.zeros(n, np.int8)
    half[2:4] = 1
    support = np.full((n, 3), 0.5, np.float32)
    support[0, 1] = 0.9
    genes = ("CD4", "CD8A")
    about = {
        "format": PACK_FORMAT, "run": sha256(folder / "calls.parquet"), "n_cells": 40, "n_review": n, "n_items": 5,
        "members": ["m", "n", "o"], "samples": ["s0", "s1"], "embedding": {"name": "UMAP", "n_drawn": 3},
        "drawn_terms": ["T:5"], "release": "none", "promise": "Promised.", "tier": "cell", "alpha": 0.05, "no_genes": "",
        "sample_cells": [30, 10],
    }  # fmt: skip
    Pack(
        folder=folder, about=about, items=items, row=np.arange(n), xy=np.arange(2 * n, dtype=np.float32).reshape(n, 2),
        batch=np.concatenate([np.repeat([0, 1], row[1]) for row in QUEUE]).astype(np.int32), support=support, half=half,
        drawn_xy=np.float32([[0, 0], [2, 4], [9, 9]]), drawn_term=np.int16([0, 0, -1]), genes=genes,
        item_share=np.full((5, 2), 0.5, np.float32), item_mean=np.full((5, 2), 1.0, np.float32), terms=("T:3", "T:4"),
        term_share=np.float32([[1, 0], [0, 1]]), term_mean=np.float32([[2, 0], [0, 2]]), term_cells=np.array([9, 9]),
        term_genes={"T:3": ("CD4",), "T:4": ("CD8A",)},
    ).save(ONTOLOGY)  # fmt: skip
    return Pack.open(folder)


@pytest.fixture
def pack(tmp_path: Path) -> Pack:
    return toy_pack(tmp_path / "run")


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Decisions]:
    with Decisions.open(tmp_path / "decisions.sqlite") as decisions:
        yield decisions


@pytest.fixture
def desk(pack: Pack, log: Decisions) -> Desk:
    return Desk(pack, log)


KEYS = itertools.count()


def press(
    desk: Desk, part_id: str, action: Action, *, reviewer: str = "mk", filters: Filters = NO_FILTERS, **more: Any
) -> Done:
    more.setdefault("key", f"key-{next(KEYS):08d}")
    return desk.act(Press(reviewer=reviewer, part_id=part_id, action=action, **more), filters)


def statuses(desk: Desk, reviewer: str = "mk") -> list[str]:
    return desk.seen(reviewer).entries.status.tolist()


# Actions --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("item", "action", "more", "outcome"),
    [
        pytest.param(TWINS, Action.ACCEPT, {}, Outcome("T:2", "resolved"), id="accept_of_a_backed_off_call_resolves"),
        pytest.param(
            STRANGE, Action.ACCEPT, {}, Outcome("T:2", "unseen"), id="accept_of_an_unseen_call_keeps_it_unseen"
        ),
        pytest.param(TWINS, Action.UP, {}, Outcome("T:1", "resolved"), id="one_step_up_is_the_only_parent"),
        pytest.param(STRANGE, Action.UP, {}, Outcome("T:1", "unseen"), id="unseen_one_step_up_is_still_unseen"),
        pytest.param(DOUBLE, Action.UP, {"term": "T:4"}, Outcome("T:4", "resolved"), id="up_to_one_of_two_parents"),
        pytest.param(TWINS, Action.CHOOSE, {"term": "T:3"}, Outcome("T:3", "resolved"), id="choose_by_id"),
        pytest.param(
            TWINS, Action.CHOOSE, {"term": "b lymphocyte"}, Outcome("T:5", "resolved"), id="choose_by_synonym"
        ),
        pytest.param(B_CELLS, Action.UNSEEN, {}, Outcome("T:5", "unseen"), id="unseen_is_new_under_the_call"),
        pytest.param(B_CELLS, Action.UNSEEN, {"term": "T:1"}, Outcome("T:1", "unseen"), id="unseen_under_another_term"),
        pytest.param(B_CELLS, Action.SKIP, {}, None, id="a_skip_says_nothing_of_the_cells"),
    ],
)
def test_action_writes_its_outcome(
    desk: Desk, item: str, action: Action, more: dict[str, str], outcome: Outcome | None
) -> None:
    done = press(desk, item, action, **more)
    (event,) = done.events
    assert event.after == outcome
    assert event.before is None
    assert event.evidence == f"evidence{[row[0] for row in QUEUE].index(item)}"
    assert done.goto != item


@pytest.mark.parametrize(
    ("item", "action", "more", "says"),
    [
        pytest.param(DOUBLE, Action.UP, {}, "several steps up", id="which_of_two_parents"),
        pytest.param(TWINS, Action.UP, {"term": "T:5"}, "not directly above", id="up_to_what_is_not_above"),
        pytest.param(TWINS, Action.CHOOSE, {"term": "CD8 T"}, "Nearest: CD8 T cell", id="no_such_term_names_near_ones"),
        pytest.param(TWINS, Action.CHOOSE, {"term": ""}, "names no term", id="no_term_at_all"),
        pytest.param(TWINS, Action.SETTLE, {"term": "T:3"}, "no conflict", id="nothing_to_settle"),
        pytest.param(TWINS, Action.NOTE, {"note": "  "}, "empty", id="a_note_without_words"),
        pytest.param(TWINS, Action.SPLIT, {"by": "o"}, "possible: cluster, n", id="a_split_that_leaves_one_part_empty"),
        pytest.param(TWINS, Action.UNDO, {}, "nothing of yours to undo", id="nothing_done_yet"),
        pytest.param(TWINS, Action.UNDO, {"redo": True}, "nothing of yours to redo", id="nothing_undone_yet"),
    ],
)
def test_what_cannot_be_done_is_refused_and_leaves_the_log_as_it_is(
    desk: Desk, log: Decisions, item: str, action: Action, more: dict[str, Any], says: str
) -> None:
    with pytest.raises(RefusedPressError, match=says):
        press(desk, item, action, **more)
    assert log.events() == ()


@pytest.mark.parametrize("key", ["", "short", "a" * 65, "with space", "naïve-key"])
def test_press_without_a_proper_key_is_refused(desk: Desk, key: str) -> None:
    with pytest.raises(RefusedPressError, match="no key"):
        press(desk, TWINS, Action.ACCEPT, key=key)


def test_unknown_item_is_refused(desk: Desk) -> None:
    for part_id in ("nothing", f"{TWINS}~cluster~7", f"{TWINS}~nobody~0"):
        with pytest.raises(UnknownItemError):
            press(desk, part_id, Action.ACCEPT)


def test_repeated_key_is_done_once(desk: Desk, log: Decisions) -> None:
    first = press(desk, TWINS, Action.ACCEPT, key="pressed-once")
    again = press(desk, TWINS, Action.ACCEPT, key="pressed-once")
    assert again == first
    assert len(log.events()) == 1
    with pytest.raises(RefusedPressError, match="somebody else"):
        press(desk, TWINS, Action.ACCEPT, key="pressed-once", reviewer="jo")


@pytest.mark.parametrize(
    ("first", "again"),
    [
        pytest.param((TWINS, Action.ACCEPT, {}), (TWINS, Action.UNSEEN, {}), id="another_action"),
        pytest.param((TWINS, Action.ACCEPT, {}), (B_CELLS, Action.ACCEPT, {}), id="another_item"),
        pytest.param((TWINS, Action.ACCEPT, {}), (TWINS, Action.UNDO, {}), id="an_undo_of_it"),
        pytest.param(
            (TWINS, Action.CHOOSE, {"term": "T:3"}), (TWINS, Action.CHOOSE, {"term": "T:4"}), id="another_term"
        ),
        pytest.param((TWINS, Action.NOTE, {"note": "a"}), (TWINS, Action.NOTE, {"note": "b"}), id="another_note"),
        pytest.param((TWINS, Action.SPLIT, {"by": "n"}), (TWINS, Action.SPLIT, {"by": "cluster"}), id="another_split"),
        pytest.param((TWINS, Action.UNDO, {}), (TWINS, Action.UNDO, {"redo": True}), id="a_redo_with_an_undos_key"),
        pytest.param((TWINS, Action.UNDO, {}), (TWINS, Action.ACCEPT, {}), id="a_decision_with_an_undos_key"),
    ],
)
def test_key_that_was_used_for_something_else_is_refused(
    desk: Desk, log: Decisions, first: tuple[str, Action, dict[str, Any]], again: tuple[str, Action, dict[str, Any]]
) -> None:
    """Without scripts the way back leads to a page whose key has been used."""
    press(desk, TWINS, Action.SKIP)
    press(desk, first[0], first[1], key="one-and-the-same", **first[2])
    before = log.events()
    with pytest.raises(RefusedPressError, match=r"This page was used already, for a press that .* Load"):
        press(desk, again[0], again[1], key="one-and-the-same", **again[2])
    assert log.events() == before


@pytest.mark.parametrize(
    ("action", "more"),
    [
        (Action.CHOOSE, {"term": "b lymphocyte"}), (Action.NOTE, {"note": " a "}), (Action.SPLIT, {"by": "cluster"}),
        (Action.UNDO, {}), (Action.UNDO, {"redo": True}), (Action.SKIP, {"alike": True}),
    ],
)  # fmt: skip
def test_every_press_may_come_twice(desk: Desk, log: Decisions, action: Action, more: dict[str, Any]) -> None:
    press(desk, TWINS, Action.SKIP)
    if more.get("redo"):
        press(desk, TWINS, Action.UNDO)
    first = press(desk, TWINS, action, key="sent-again", **more)
    n_events = len(log.events())
    assert press(desk, TWINS, action, key="sent-again", **more).events == first.events
    assert len(log.events()) == n_events


def test_later_decision_remembers_what_stood_before(desk: Desk) -> None:
    press(desk, TWINS, Action.ACCEPT)
    (event,) = press(desk, TWINS, Action.CHOOSE, term="T:3").events
    assert event.before == Outcome("T:2", "resolved")


# A family at once -----------------------------------------------------------------------------------------------------


def test_family_is_decided_in_one_press_and_undone_in_one(desk: Desk, log: Decisions) -> None:
    alike = desk.item(TWINS, NO_FILTERS, desk.seen("mk")).alike
    assert alike is not None
    assert (alike.n_items, alike.n_cells) == (2, 6)
    done = press(desk, TWINS, Action.CHOOSE, term="T:3", alike=True, key="family-key")
    assert [event.item_id for event in done.events] == [TWINS, TWIN]
    assert {event.group for event in done.events} == {"family-key"}
    assert statuses(desk) == ["decided", "decided", "open", "open", "open"]
    assert desk.say(done.number, desk.seen("mk")) == "Chose CD4 T cell for 2 items, 6 cells. Z undoes."
    assert press(desk, TWINS, Action.CHOOSE, term="T:3", alike=True, key="family-key").events == done.events
    undone = press(desk, B_CELLS, Action.UNDO)
    assert undone.goto == TWINS
    assert statuses(desk) == ["open"] * 5
    assert len(log.events()) == 3


@pytest.mark.parametrize("when", [1, 2])
def test_press_that_comes_twice_at_once_decides_a_family_once(
    pack: Pack, log: Decisions, monkeypatch: pytest.MonkeyPatch, when: int
) -> None:
    """The other of two takes the whole way just before this one looks at the log for the first or second time."""
    desk, other = Desk(pack, log), Desk(pack, log)
    real, looks = log.events, itertools.count(1)

    def events(self: Decisions, *, after: int = 0) -> Any:
        if next(looks) == when:
            monkeypatch.undo()
            press(other, TWINS, Action.ACCEPT, alike=True, key="sent-twice")
        return real(after=after)

    monkeypatch.setattr(Decisions, "events", events)
    done = press(desk, TWINS, Action.ACCEPT, alike=True, key="sent-twice")
    assert [event.item_id for event in done.events] == [TWINS, TWIN]
    assert log.events() == done.events


def test_family_that_shrinks_between_two_of_one_press_is_not_decided_twice(pack: Pack, log: Decisions) -> None:
    """Of the two one saw the twin still open: the item on the screen is in the log once."""
    desk, other = Desk(pack, log), Desk(pack, log)
    seen = desk.seen("mk")
    desk.seen = lambda _: seen  # type: ignore[method-assign]
    press(other, TWIN, Action.ACCEPT, reviewer="jo")
    press(other, TWINS, Action.ACCEPT, alike=True, key="sent-twice")
    desk.board.pressed = lambda _: ()  # type: ignore[method-assign]
    press(desk, TWINS, Action.ACCEPT, alike=True, key="sent-twice")
    assert [event.item_id for event in log.events()].count(TWINS) == 1


def test_family_leaves_out_what_is_decided_and_parts_have_none(desk: Desk) -> None:
    press(desk, TWIN, Action.ACCEPT)
    assert desk.item(TWINS, NO_FILTERS, desk.seen("mk")).alike is None
    assert [event.item_id for event in press(desk, TWINS, Action.ACCEPT, alike=True).events] == [TWINS]
    press(desk, TWINS, Action.UNDO)
    press(desk, TWINS, Action.UNDO)
    press(desk, TWINS, Action.SPLIT, by="cluster")
    part = f"{TWINS}~cluster~0"
    assert desk.item(part, NO_FILTERS, desk.seen("mk")).alike is None
    assert [event.item_id for event in press(desk, part, Action.ACCEPT, alike=True).events] == [part]
    assert desk.item(TWIN, NO_FILTERS, desk.seen("mk")).alike is None


# Undo, redo, notes, splits --------------------------------------------------------------------------------------------


def test_undo_takes_back_the_own_last_and_redo_brings_it_again(desk: Desk) -> None:
    press(desk, TWINS, Action.ACCEPT)
    press(desk, B_CELLS, Action.UNSEEN)
    press(desk, STRANGE, Action.ACCEPT, reviewer="jo")
    undone = press(desk, TWINS, Action.UNDO)
    assert undone.goto == B_CELLS
    assert (
        desk.say(undone.number, desk.seen("mk"))
        == "Undone: marked as unseen under B cell for 3 cells. Y does it again."
    )
    assert statuses(desk) == ["decided", "open", "open", "decided", "open"]
    redone = press(desk, TWINS, Action.UNDO, redo=True)
    assert desk.say(redone.number, desk.seen("mk")) == "Done again: marked as unseen under B cell. Z undoes."
    assert statuses(desk)[2] == "decided"


def test_note_stays_on_the_item_and_is_no_decision(desk: Desk) -> None:
    text = "'); DROP TABLE events; --\n<script>alert(1)</script>"
    done = press(desk, TWINS, Action.NOTE, note=f"  {text} ")
    assert done.goto == TWINS
    assert statuses(desk)[0] == "open"
    (line,) = desk.item(TWINS, NO_FILTERS, desk.seen("mk")).history
    assert (line.note, line.what, line.stands) == (text, "wrote a note", True)


def test_split_puts_parts_in_place_of_the_item(desk: Desk) -> None:
    view = desk.item(TWINS, NO_FILTERS, desk.seen("mk"))
    assert [(way.by, way.n_first, way.n_second) for way in view.splits] == [("cluster", 2, 2), ("n", 3, 1)]
    done = press(desk, TWINS, Action.SPLIT, by="cluster")
    part = f"{TWINS}~cluster~0"
    assert done.goto == part
    seen = desk.seen("mk")
    assert seen.entries.ids[:3] == (part, f"{TWINS}~cluster~1", TWIN)
    assert seen.live(TWINS) == part
    view = desk.item(part, NO_FILTERS, seen)
    assert (view.n_cells, view.part, view.position, view.n_rows) == (2, "A by cluster", 1, 6)
    assert [line.what for line in view.history] == ["split by cluster"]
    press(desk, part, Action.CHOOSE, term="T:3")
    with pytest.raises(RefusedPressError, match="split"):
        press(desk, TWINS, Action.ACCEPT)
    assert desk.seen("mk").live(TWINS) == f"{TWINS}~cluster~1"
    press(desk, TWINS, Action.UNDO)
    press(desk, TWINS, Action.UNDO)
    assert desk.seen("mk").live(part) == TWINS
    assert len(desk.seen("mk").entries.ids) == 5


def test_part_by_a_member_holds_those_of_which_it_is_surer(desk: Desk) -> None:
    press(desk, TWINS, Action.SPLIT, by="n")
    assert desk.item(f"{TWINS}~n~1", NO_FILTERS, desk.seen("mk")).n_cells == 1
    assert part_name(f"{TWINS}~n~1~cluster~0") == "B by n, A by cluster"


# Several reviewers ----------------------------------------------------------------------------------------------------


def test_conflict_shows_both_sides_and_is_settled(desk: Desk) -> None:
    press(desk, TWINS, Action.ACCEPT)
    press(desk, TWINS, Action.CHOOSE, term="T:3", reviewer="jo")
    view = desk.item(TWINS, NO_FILTERS, desk.seen("mk"))
    assert view.status == "conflict"
    assert {(side.reviewers, side.what) for side in view.sides} == {("mk", "T cell"), ("jo", "CD4 T cell")}
    assert desk.lists.progress(desk.seen("mk")).n_conflicts == 1
    press(desk, TWINS, Action.SETTLE, term="T:4", reviewer="jo")
    view = desk.item(TWINS, NO_FILTERS, desk.seen("mk"))
    assert (view.status, view.stands, view.sides) == ("decided", "CD8 T cell", ())


def test_blind_mode_hides_others_until_the_own_decision(pack: Pack, log: Decisions) -> None:
    desk = Desk(pack, log, locks=Locks(log.database), blind=True)
    press(desk, TWINS, Action.CHOOSE, term="T:3", reviewer="jo")
    press(desk, TWINS, Action.NOTE, note="surely", reviewer="jo")
    press(desk, B_CELLS, Action.ACCEPT, reviewer="jo")
    seen = desk.seen("mk")
    view = desk.item(TWINS, NO_FILTERS, seen)
    assert (view.status, view.history, view.stands_of) == ("open", (), "")
    assert seen.reviewers == ["mk"]
    assert desk.lists.progress(seen).n_decided == 0
    assert not desk.lists.mask(Filters(reviewer="jo"), seen).any()
    assert desk.enter(TWINS, "jo") is None
    assert desk.enter(TWINS, "mk") is None, "locks would tell who is where"
    press(desk, TWINS, Action.ACCEPT)
    view = desk.item(TWINS, NO_FILTERS, desk.seen("mk"))
    assert view.status == "conflict"
    assert [line.reviewer for line in view.history] == ["mk", "jo", "jo"]
    assert desk.seen("mk").entries.status.tolist() == ["conflict", "open", "open", "open", "open"]
    press(desk, TWINS, Action.UNDO)
    assert desk.item(TWINS, NO_FILTERS, desk.seen("mk")).status == "open"


def test_blind_mode_shows_splits_to_all(pack: Pack, log: Decisions) -> None:
    desk = Desk(pack, log, blind=True)
    press(desk, TWINS, Action.SPLIT, by="cluster", reviewer="jo")
    assert len(desk.seen("mk").entries.ids) == 6
    press(desk, TWINS, Action.UNDO, reviewer="jo")
    assert len(desk.seen("mk").entries.ids) == 5


@pytest.mark.parametrize("who", ["jo", "mk"])
@pytest.mark.parametrize("looks", ["at the end", "after each"])
def test_blind_mode_shows_splits_that_were_undone_and_done_again(
    pack: Pack, log: Decisions, who: str, looks: str
) -> None:
    desk = Desk(pack, log, blind=True)
    press(desk, B_CELLS, Action.ACCEPT, reviewer="mk")
    for action, more, n in (
        (Action.SPLIT, {"by": "cluster"}, 6),
        (Action.UNDO, {}, 5),
        (Action.UNDO, {"redo": True}, 6),
    ):
        press(desk, TWINS, action, reviewer="jo", **more)
        if looks == "after each":
            assert len(desk.seen(who).entries.ids) == n
    assert desk.seen(who).entries.ids[:2] == (f"{TWINS}~cluster~0", f"{TWINS}~cluster~1")
    assert press(desk, f"{TWINS}~cluster~0", Action.ACCEPT, reviewer=who).events[0].reviewer == who


def test_lock_keeps_others_out_until_it_is_taken_over_or_over(pack: Pack, log: Decisions) -> None:
    now = 1_000_000.0
    desk = Desk(pack, log, locks=Locks(log.database, clock=lambda: now))
    assert desk.enter(TWINS, "jo") is None
    lock = desk.enter(TWINS, "mk")
    assert lock is not None
    assert lock.reviewer == "jo"
    with pytest.raises(LockedItemError, match="jo is on this item"):
        press(desk, TWINS, Action.ACCEPT)
    press(desk, TWINS, Action.NOTE, note="a note may be left")
    assert desk.lists.first(NO_FILTERS, desk.seen("mk")) == TWIN, "what others are on is passed over"
    assert desk.lists.window(NO_FILTERS, desk.seen("mk")).rows[0].locked_by == "jo"
    assert [e.item_id for e in press(desk, TWIN, Action.ACCEPT, alike=True).events] == [TWIN]
    assert desk.enter(TWINS, "mk", force=True) is None
    press(desk, TWINS, Action.ACCEPT)
    assert desk.enter(B_CELLS, "jo") is None
    now += 301
    assert desk.enter(B_CELLS, "mk") is None
    assert desk.enter(STRANGE, "mk") is None
    assert desk.enter(B_CELLS, "jo") is None, "who goes on to another item lets go of the last"


def test_item_is_shown_where_its_lock_cannot_be_written(
    pack: Pack, log: Decisions, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(pack, log, locks=Locks(log.database))
    desk.enter(TWINS, "jo")

    def full(*_: Any, **__: Any) -> Any:
        message = "the disk is full"
        raise OutputError(message)

    monkeypatch.setattr("celljury.review.database.Database.writing", full)
    assert desk.enter(B_CELLS, "mk") is None
    held = desk.enter(TWINS, "mk")
    assert held is not None
    assert held.reviewer == "jo"
    with pytest.raises(OutputError):
        desk.enter(TWINS, "mk", force=True)


def test_decision_on_other_evidence_reopens_the_item(pack: Pack, log: Decisions) -> None:
    press(Desk(pack, log), TWINS, Action.ACCEPT)
    changed = pack.items.assign(evidence=["changed", *pack.items["evidence"][1:]])
    desk = Desk(replace(pack, items=changed), log)
    view = desk.item(TWINS, NO_FILTERS, desk.seen("mk"))
    assert view.status == "reopened"
    (line,) = view.history
    assert (line.stands, line.remark) == (False, "on other evidence, does not count")
    assert desk.lists.first(NO_FILTERS, desk.seen("mk")) == TWINS


# Lists ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        pytest.param(Filters(), [0, 1, 2, 3, 4], id="all"),
        pytest.param(Filters(reason="sibling_conflict"), [0, 1], id="reason"),
        pytest.param(Filters(reason="no such"), [], id="unknown_reason"),
        pytest.param(Filters(term="T:2"), [0, 1, 3, 4], id="term_with_all_below"),
        pytest.param(Filters(term="CD4 t cell"), [4], id="term_by_label"),
        pytest.param(Filters(term="nonsense"), [], id="unknown_term"),
        pytest.param(Filters(sample="s1"), [0, 2, 4], id="sample"),
        pytest.param(Filters(sample="s9"), [], id="unknown_sample"),
        pytest.param(Filters(text="B CELL"), [2], id="text_whatever_the_case"),
        pytest.param(Filters(text="B lymphocyte"), [2], id="text_that_is_a_synonym"),
        pytest.param(Filters(text="aaaaaaaaaaa3"), [3], id="text_that_is_an_id"),
        pytest.param(Filters(text="%' OR 1=1"), [], id="text_is_only_text"),
        pytest.param(Filters(status="decided"), [1], id="status"),
        pytest.param(Filters(status="nonsense"), [], id="unknown_status"),
        pytest.param(Filters(reviewer="jo"), [1], id="reviewer"),
        pytest.param(Filters(reviewer="mk"), [3], id="a_skip_is_the_reviewers_too"),
        pytest.param(Filters(reason="sibling_conflict", status="open"), [0], id="two_at_once"),
    ],
)
def test_filters(desk: Desk, filters: Filters, found: list[int]) -> None:
    press(desk, TWIN, Action.ACCEPT, reviewer="jo")
    press(desk, STRANGE, Action.SKIP)
    window = desk.lists.window(filters, desk.seen("mk"))
    assert [row.part_id for row in window.rows] == [QUEUE[i][0] for i in found]


def test_filters_go_through_a_query_and_keep_to_their_names() -> None:
    asked = {"reason": "unseen", "text": " a&b=c ", "token": "secret", "page": "3"}
    filters = Filters.of(asked)
    assert filters.set == {"reason": "unseen", "text": "a&b=c"}
    assert filters.query(said=3, page="") == "?reason=unseen&text=a%26b%3Dc&said=3"
    assert Filters().query() == ""
    assert len(Filters.of({"text": "x" * 10_000}).text) == len(Filters.of({"term": "x" * 10_000}).term) == 200


@pytest.mark.parametrize("sample", [" donor 1 ", "s" * 300, "\tx"])
def test_sample_of_any_name_is_found(pack: Pack, log: Decisions, sample: str) -> None:
    desk = Desk(replace(pack, about=pack.about | {"samples": ["s0", sample]}), log)
    window = desk.lists.window(Filters.of({"sample": sample}), desk.seen("mk"))
    assert [row.part_id for row in window.rows] == [TWINS, B_CELLS, DOUBLE]


def test_next_goes_on_after_the_item_and_begins_again(desk: Desk) -> None:
    assert press(desk, B_CELLS, Action.ACCEPT).goto == STRANGE
    assert press(desk, DOUBLE, Action.ACCEPT).goto == TWINS
    only = Filters(reason="sibling_conflict")
    assert press(desk, TWINS, Action.ACCEPT, filters=only).goto == TWIN
    assert press(desk, TWIN, Action.ACCEPT, filters=only).goto == TWIN, "nothing is left of this list"
    done = press(desk, STRANGE, Action.SKIP)
    assert desk.say(done.number, desk.seen("mk")) == "Skipped: 1 cell. Z undoes. Nothing is left to do."


def test_neighbours_stay_known_where_a_filter_lost_the_item(desk: Desk) -> None:
    press(desk, TWIN, Action.ACCEPT)
    view = desk.item(TWIN, Filters(status="open"), desk.seen("mk"))
    assert (view.position, view.n_rows, view.previous, view.following) == (0, 4, TWINS, B_CELLS)
    view = desk.item(TWINS, NO_FILTERS, desk.seen("mk"))
    assert (view.position, view.previous, view.following) == (1, "", TWIN)


def test_others_presses_are_not_said_as_ones_own(desk: Desk) -> None:
    done = press(desk, TWINS, Action.ACCEPT, reviewer="jo")
    assert desk.say(done.number, desk.seen("mk")) == ""
    assert desk.say(99, desk.seen("mk")) == ""
    assert desk.say(done.number, desk.seen("jo")) == "Accepted T cell for 4 cells. Z undoes."


# What an item shows ---------------------------------------------------------------------------------------------------


def test_item_says_what_its_cells_and_votes_say(desk: Desk) -> None:
    view = desk.item(TWINS, NO_FILTERS, desk.seen("mk"))
    assert (view.name, view.term, view.n_cells, view.backed_off_from) == ("T cell", "T:2", 4, "CD4 T cell")
    assert [(stat.value, stat.name) for stat in view.stats] == [
        ("0.90", "support"), ("2 / 3", "votes in the largest camp"), ("1", "depth (top vote 2)"), ("0.50", "p that it belongs"),
    ]  # fmt: skip
    assert [(c.term, c.hint) for c in view.candidates] == [("T:3", "2 of 3 votes"), ("T:4", "1 of 3 votes")]
    assert [(m.name, m.label, m.mean) for m in view.members] == [
        ("m", "CD4 T cell", "0.50"), ("n", "CD4 T cell", "0.60"), ("o", "CD8 T cell", "0.50"),
    ]  # fmt: skip
    assert [(s.name, s.n_cells, s.of_item, s.of_sample) for s in view.samples] == [
        ("s0", 3, "75.0 %", "10.0 %"), ("s1", 1, "25.0 %", "10.0 %"),
    ]  # fmt: skip
    assert {parent.term for parent in desk.item(DOUBLE, NO_FILTERS, desk.seen("mk")).up} == {"T:3", "T:4"}
    assert "<svg" in view.path
    assert view.dots is not None
    assert "CD8A" in view.dots
    assert view.dots_table is not None
    assert '<th scope="row">CD8A</th><td>50 % of cells, mean 1.00</td>' in view.dots_table


def test_unseen_item_offers_what_members_voted_for(desk: Desk) -> None:
    view = desk.item(STRANGE, NO_FILTERS, desk.seen("mk"))
    assert view.name == "unseen under T cell"
    assert [c.label for c in view.candidates] == ["naive CD4 T cell"]
    assert desk.item(B_CELLS, NO_FILTERS, desk.seen("mk")).stats[3].name == "p: not tested"


def test_sentences_stand_apart_with_their_leads() -> None:
    text = "Barely belongs: p = 0.13 (at most 0.05 is out). They exclude each other. See CL:0000084 for it."
    assert sentences_of(text) == (
        Sentence("Barely belongs", "p = 0.13 (at most 0.05 is out)."),
        Sentence("", "They exclude each other."),
        Sentence("", "See CL:0000084 for it."),
    )
    assert sentences_of("") == ()


def test_search_finds_by_beginnings_synonyms_and_likeness(desk: Desk) -> None:
    assert desk.search("CD8", TWINS)[0].label == "CD8 T cell"
    assert desk.search("cd8 t", TWINS)[0].hint == "below the call"
    by_synonym = desk.search("lympho")[0]
    assert (by_synonym.term, by_synonym.hint) == ("T:5", "also B lymphocyte")
    assert desk.search("T cell", TWINS)[0].hint == "the call"
    assert desk.search("   ") == ()
    assert desk.search("qqqqq") == ()


def test_every_reason_has_a_tone_and_a_place() -> None:
    assert len(set(REASON_ORDER)) == len(REASON_ORDER) == 21
    assert {tone(code) for code in REASON_ORDER} == {"strange", "conflict", "coarse", "quality", "other"}


# Points ---------------------------------------------------------------------------------------------------------------


def test_points_are_packed_little_endian(pack: Pack) -> None:
    drawn = drawn_points(pack)
    assert np.frombuffer(drawn[:24], "<f4").tolist() == [0, 0, 2, 4, 9, 9]
    assert np.frombuffer(drawn[24:], "<i2").tolist() == [0, 0, -1]
    assert np.frombuffer(item_points(pack, f"{TWINS}~cluster~1"), "<f4").tolist() == [4, 5, 6, 7]
    embedding = embedding_of(pack)
    assert embedding is not None
    assert (embedding.name, embedding.n_drawn) == ("UMAP", 3)
    ((x, y, label),) = embedding.labels
    assert (x, label) == (1, "B cell")
    assert 2 < y <= 4
