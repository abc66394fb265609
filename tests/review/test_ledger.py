"""The log replayed: what stands, what is undone, conflicts, splits, other evidence; laws; Cohen's kappa."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from celljury.errors import InputError
from celljury.review.agreement import cohen_kappa
from celljury.review.ledger import Action, Event, Ledger, Outcome, item_of, parts_of, replay

NOW = {"i1": "e1", "i2": "e2", "i3": "e3"}
T, B, NK = (Outcome(term, "resolved") for term in ("T:2", "T:5", "T:9"))
NEW_T = Outcome("T:2", "unseen")


class Log:
    """A log that grows by one line a call."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, who: str, action: str, item: str = "i1", after: Outcome | None = None, **more: Any) -> Event:
        number = len(self.events) + 1
        fields = {"note": "", "evidence": NOW.get(item_of(item), ""), "undoes": None, "group": "", "by": ""} | more
        event = Event(
            number=number, key=f"k{number}", at=f"2026-01-01T00:00:{number:02d}.000+00:00", reviewer=who, item_id=item,
            action=Action(action), before=None, after=after, version="0.1.0", **fields,
        )  # fmt: skip
        self.events.append(event)
        return event

    def undo(self, who: str, event: Event, **more: Any) -> Event:
        return self(who, "undo", event.item_id, undoes=event.number, **more)

    @property
    def ledger(self) -> Ledger:
        return replay(self.events, NOW)


@pytest.fixture
def log() -> Log:
    return Log()


# One item ---------------------------------------------------------------------------------------------------------


def test_nothing_said_is_open(log: Log) -> None:
    state = log.ledger.state("i1")
    assert (state.status, state.outcome, state.by_reviewer, state.stale) == ("open", None, {}, ())
    assert log.ledger.outcomes() == {}
    assert log.ledger.leaves("i1") == ("i1",)


@pytest.mark.parametrize("action", ["accept", "up", "choose", "unseen", "settle"])
def test_one_decision_decides(log: Log, action: str) -> None:
    event = log("ada", action, after=NEW_T)
    state = log.ledger.state("i1")
    assert (state.status, state.outcome, state.by_reviewer) == ("decided", NEW_T, {"ada": event})
    assert log.ledger.outcomes() == {"i1": NEW_T}


def test_later_decision_of_a_reviewer_replaces_the_earlier(log: Log) -> None:
    log("ada", "accept", after=T)
    later = log("ada", "choose", after=B)
    assert log.ledger.state("i1").by_reviewer == {"ada": later}
    assert log.ledger.state("i1").outcome == B


def test_skip_is_no_decision_and_takes_none_back(log: Log) -> None:
    log("ada", "skip")
    assert (log.ledger.state("i1").status, log.ledger.outcomes()) == ("skipped", {})
    log("bob", "accept", after=T)
    assert (log.ledger.state("i1").status, log.ledger.state("i1").outcome) == ("decided", T)
    log("bob", "skip")
    assert log.ledger.state("i1").outcome == T


def test_notes_are_kept_and_decide_nothing(log: Log) -> None:
    note = log("ada", "note", note="doublets?")
    accept = log("ada", "accept", after=T, note="sure")
    assert log.ledger.state("i1").notes == (note, accept)
    log.undo("ada", accept, note="not so sure")
    assert log.ledger.state("i1").notes == (note,)
    assert log.ledger.state("i1").status == "open"


def test_same_term_with_another_status_is_another_outcome(log: Log) -> None:
    log("ada", "accept", after=T)
    log("bob", "unseen", after=NEW_T)
    assert log.ledger.state("i1").status == "conflict"


# Undo -------------------------------------------------------------------------------------------------------------


def test_undo_brings_back_what_stood_before_and_undo_of_it_undoes_that(log: Log) -> None:
    log("ada", "accept", after=T)
    before = log.ledger.state("i1")
    second = log("ada", "choose", after=B)
    after = log.ledger.state("i1")
    undo = log.undo("ada", second)
    assert log.ledger.state("i1") == before
    log.undo("ada", undo)
    assert log.ledger.state("i1") == after


def test_undo_of_another_reviewers_decision_has_no_effect(log: Log) -> None:
    event = log("ada", "accept", after=T)
    log.undo("bob", event)
    assert log.ledger.state("i1").outcome == T


@pytest.mark.parametrize("number", [0, 2, 99], ids=["no_event", "itself", "not_yet_there"])
def test_undo_of_nothing_has_no_effect(log: Log, number: int) -> None:
    log("ada", "accept", after=T)
    log("ada", "undo", undoes=number)
    assert log.ledger.state("i1").outcome == T


def test_undo_takes_back_the_whole_press(log: Log) -> None:
    first = log("ada", "accept", "i1", T, group="g")
    log("ada", "accept", "i2", T, group="g")
    log("bob", "accept", "i3", T, group="g")
    undo = log.undo("ada", first)
    assert log.ledger.outcomes() == {"i3": T}
    log.undo("ada", undo)
    assert log.ledger.outcomes() == {"i1": T, "i2": T, "i3": T}


def test_what_the_undo_and_redo_keys_take_back(log: Log) -> None:
    assert log.ledger.undoable("ada") is None
    assert log.ledger.redoable("ada") is None
    one = log("ada", "accept", "i1", T)
    two = log("ada", "accept", "i2", T)
    log("bob", "accept", "i3", T)
    assert log.ledger.undoable("ada") == two
    first = log.undo("ada", two)
    assert (log.ledger.undoable("ada"), log.ledger.redoable("ada")) == (one, first)
    second = log.undo("ada", one)
    assert (log.ledger.undoable("ada"), log.ledger.redoable("ada")) == (None, second)
    log.undo("ada", second)
    assert (log.ledger.undoable("ada"), log.ledger.redoable("ada")) == (one, first)
    log.undo("ada", first)
    assert (log.ledger.undoable("ada"), log.ledger.redoable("ada")) == (two, None)
    log.undo("ada", two)
    log("ada", "skip", "i3")
    assert log.ledger.redoable("ada") is None


# Conflicts --------------------------------------------------------------------------------------------------------


def test_conflict_lasts_until_it_is_settled(log: Log) -> None:
    log("ada", "accept", after=T)
    log("bob", "choose", after=B)
    assert (log.ledger.state("i1").status, log.ledger.outcomes()) == ("conflict", {})
    settle = log("cy", "settle", after=B)
    assert (log.ledger.state("i1").status, log.ledger.state("i1").outcome) == ("decided", B)
    log.undo("cy", settle)
    assert log.ledger.state("i1").status == "conflict"


def test_one_of_the_two_may_settle_and_undo_brings_their_decision_back(log: Log) -> None:
    log("ada", "accept", after=T)
    log("bob", "choose", after=B)
    conflict = log.ledger.state("i1")
    settle = log("ada", "settle", after=NK)
    assert log.ledger.state("i1").outcome == NK
    log.undo("ada", settle)
    assert log.ledger.state("i1") == conflict


@pytest.mark.parametrize(
    ("after", "status"),
    [pytest.param(T, "conflict", id="another_view_reopens_it"), pytest.param(B, "decided", id="the_same_does_not")],
)
def test_decision_after_the_settlement_is_compared_with_it(log: Log, after: Outcome, status: str) -> None:
    log("ada", "accept", after=T)
    log("bob", "choose", after=B)
    log("cy", "settle", after=B)
    log("ada", "choose", after=after)
    assert log.ledger.state("i1").status == status


@pytest.mark.parametrize("settler", ["ada", "cy"])
def test_who_settled_and_says_the_same_again_keeps_the_settlement(log: Log, settler: str) -> None:
    log("ada", "accept", after=T)
    log("bob", "choose", after=B)
    settle = log(settler, "settle", after=T)
    log(settler, "accept", after=T, note="still sure")
    state = log.ledger.state("i1")
    assert (state.status, state.outcome, state.by_reviewer[settler]) == ("decided", T, settle)
    log("bob", "choose", after=B)
    assert log.ledger.state("i1").status == "conflict"
    log(settler, "accept", after=T)
    assert log.ledger.state("i1").status == "conflict", "only a settlement answers what was said after one"
    log(settler, "settle", after=T)
    assert log.ledger.state("i1").outcome == T


def test_who_settled_may_change_their_mind(log: Log) -> None:
    log("ada", "accept", after=T)
    log("bob", "choose", after=B)
    log("ada", "settle", after=T)
    log("ada", "choose", after=B)
    assert (log.ledger.state("i1").status, log.ledger.state("i1").outcome) == ("decided", B)


# Other evidence ---------------------------------------------------------------------------------------------------


def test_decision_on_other_evidence_reopens(log: Log) -> None:
    old = log("ada", "accept", after=T, evidence="before")
    note = log("ada", "note", note="look at CD8B", evidence="before")
    state = log.ledger.state("i1")
    assert (state.status, state.outcome, state.by_reviewer, state.stale) == ("reopened", None, {}, (old,))
    assert state.notes == (note,)
    log("bob", "accept", after=B)
    assert (log.ledger.state("i1").status, log.ledger.state("i1").outcome) == ("decided", B)


def test_item_that_is_gone_has_no_outcome(log: Log) -> None:
    log("ada", "accept", "gone", T)
    assert log.ledger.outcomes() == {}
    assert log.ledger.state("gone").status == "reopened"
    assert not log.ledger.holds("gone")


def test_split_of_other_evidence_does_not_hold(log: Log) -> None:
    log("ada", "split", by="cluster", evidence="before")
    log("ada", "accept", "i1~cluster~0", T, evidence="before")
    assert log.ledger.leaves("i1") == ("i1",)
    assert log.ledger.state("i1").status == "reopened"
    assert log.ledger.outcomes() == {}


# Splits -----------------------------------------------------------------------------------------------------------


def test_parts_are_decided_on_their_own(log: Log) -> None:
    log("ada", "accept", after=NK)
    split = log("ada", "split", by="cluster")
    assert (log.ledger.state("i1").status, log.ledger.state("i1").outcome) == ("split", None)
    zero, one = parts_of("i1", "cluster")
    assert log.ledger.leaves("i1") == (zero, one) == ("i1~cluster~0", "i1~cluster~1")
    assert log.ledger.outcomes() == {}
    log("ada", "accept", one, T)
    log("bob", "split", zero, by="scanvi")
    log("bob", "accept", f"{zero}~scanvi~1", B)
    assert log.ledger.leaves("i1") == (f"{zero}~scanvi~0", f"{zero}~scanvi~1", one)
    assert log.ledger.outcomes() == {one: T, f"{zero}~scanvi~1": B}
    assert log.ledger.holds(one)
    assert not log.ledger.holds("i1")
    log.undo("ada", split)
    assert log.ledger.outcomes() == {"i1": NK}
    assert not log.ledger.holds(one)


def test_first_split_holds(log: Log) -> None:
    first = log("ada", "split", by="cluster")
    log("bob", "split", by="scanvi")
    assert log.ledger.leaves("i1") == parts_of("i1", "cluster")
    log.undo("ada", first)
    assert log.ledger.leaves("i1") == parts_of("i1", "scanvi")


# Laws -------------------------------------------------------------------------------------------------------------

ITEMS = ["i1", "i2", "i1~cluster~0", "i1~cluster~1", "gone"]


@st.composite
def logs(draw: st.DrawFn, *, size: int = 25) -> list[Event]:
    log = Log()
    for _ in range(draw(st.integers(0, size))):
        who = draw(st.sampled_from(["ada", "bob", "cy"]))
        action = draw(st.sampled_from([*Action, Action.UNDO, Action.UNDO]))
        item = draw(st.sampled_from(ITEMS))
        group = draw(st.sampled_from(["", "", "g1", "g2"]))
        note = draw(st.sampled_from(["", "hm"]))
        if action is Action.UNDO:
            log(who, action, item, undoes=draw(st.integers(0, len(log.events) + 1)), group=group, note=note)
        elif action is Action.SPLIT:
            log(who, action, item, by="cluster", group=group)
        else:
            decides = action not in (Action.SKIP, Action.NOTE)
            after = draw(st.sampled_from([T, B, NEW_T])) if decides else None
            evidence = draw(st.sampled_from([NOW.get(item_of(item), "")] * 3 + ["before"]))
            log(who, action, item, after, note=note, evidence=evidence, group=group)
    return log.events


def stand(events: list[Event]) -> set[int]:
    """Return the numbers of the events that stand, from the last to the first: each undo that stands reaches back."""
    by_number = {event.number: event for event in events}
    fallen: set[int] = set()
    for event in reversed(events):
        target = by_number.get(event.undoes or 0)
        if event.action is Action.UNDO and event.number not in fallen and target is not None:
            for other in events:
                same_press = other is target or (target.group != "" and other.group == target.group)
                if same_press and other.number < event.number and other.reviewer == event.reviewer == target.reviewer:
                    fallen.add(other.number)
    return {event.number for event in events} - fallen


def states(ledger: Ledger) -> list[Any]:
    return [ledger.state(item) for item in ITEMS]


@given(logs(), st.integers(0, 25), st.integers(0, 25))
@settings(max_examples=150, deadline=None)
def test_a_log_read_in_pieces_says_the_same(events: list[Event], i: int, j: int) -> None:
    i, j = sorted((i, j))
    whole = replay(events, NOW)
    assert replay(events[:i], NOW).after(events[i:j]).after(events[j:]) == whole
    one_by_one = replay((), NOW)
    for event in events:
        one_by_one = one_by_one.after([event])
    assert one_by_one == whole
    assert whole.after(events) is whole


@given(logs(), st.integers(0, 25))
@settings(deadline=None)
def test_a_longer_ledger_leaves_the_shorter_as_it_was(events: list[Event], i: int) -> None:
    shorter = replay(events[:i], NOW)
    shorter.after(events[i:])
    assert shorter == replay(events[:i], NOW)


@given(logs(), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_order_of_arrival_does_not_matter_numbers_do(events: list[Event], random: Any) -> None:
    mixed = list(events)
    random.shuffle(mixed)
    half = len(mixed) // 2
    assert replay(mixed, NOW) == replay(events, NOW)
    assert replay(mixed[:half], NOW).after(mixed[half:]) == replay(events, NOW)


@given(logs())
@settings(max_examples=150, deadline=None)
def test_what_stands_is_what_no_standing_undo_reaches(events: list[Event]) -> None:
    ledger = replay(events, NOW)
    assert {event.number for event in events if ledger.stands(event)} == stand(events)


@given(logs())
@settings(deadline=None)
def test_every_event_is_kept(events: list[Event]) -> None:
    ledger = replay(events, NOW)
    assert ledger.events == tuple(events)
    assert ledger.last == len(events)
    assert sorted(e.number for item in ITEMS for e in ledger.history(item)) == [e.number for e in events]


@given(logs(), st.sampled_from(ITEMS[:4]), st.sampled_from(["accept", "skip", "note", "split", "settle"]))
@settings(deadline=None)
def test_undo_restores_and_undo_of_undo_restores_again(events: list[Event], item: str, action: str) -> None:
    log = Log()
    log.events = list(events)
    before = states(log.ledger)
    after = T if action in ("accept", "settle") else None
    event = log("ada", action, item, after, by="cluster" if action == "split" else "", note="x")
    done = states(log.ledger)
    undo = log.undo("ada", event)
    assert states(log.ledger) == before
    log.undo("ada", undo)
    assert states(log.ledger) == done


@given(logs(), st.sampled_from(ITEMS), st.sampled_from(["skip", "note"]))
@settings(deadline=None)
def test_skip_and_note_never_change_an_outcome(events: list[Event], item: str, action: str) -> None:
    log = Log()
    log.events = list(events)
    before = log.ledger.outcomes()
    log("ada", action, item, note="x")
    assert log.ledger.outcomes() == before


@given(logs(size=12), logs(size=12), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_reviewers_on_different_items_do_not_depend_on_each_other(
    mine: list[Event], theirs: list[Event], random: Any
) -> None:
    """Two logs interleaved in any way say of each item what its own log says."""
    ours = [("ada", e) for e in mine if item_of(e.item_id) == "i1" and e.action is not Action.UNDO]
    others = [("bob", e) for e in theirs if item_of(e.item_id) == "i2" and e.action is not Action.UNDO]
    found = []
    for _ in range(2):
        order = [0] * len(ours) + [1] * len(others)
        random.shuffle(order)
        queues = [iter(ours), iter(others)]
        log = Log()
        for which in order:
            who, e = next(queues[which])
            log(who, e.action, e.item_id, e.after, evidence=e.evidence, by=e.by)
        found.append({item: (log.ledger.state(item).status, log.ledger.state(item).outcome) for item in ITEMS})
    assert found[0] == found[1]


@given(logs())
@settings(max_examples=150, deadline=None)
def test_conflict_takes_two_with_different_outcomes_and_decided_takes_one(events: list[Event]) -> None:
    ledger = replay(events, NOW)
    for item in ITEMS:
        state = ledger.state(item)
        said = {event.after for event in state.by_reviewer.values() if event.after is not None}
        assert (state.outcome is not None) == (state.status == "decided")
        if state.status == "conflict":
            assert len(said) > 1
        if state.status == "decided":
            assert state.outcome in said
        if state.status in ("open", "reopened"):
            assert state.by_reviewer == {}
            assert (state.status == "reopened") == bool(state.stale)


@given(logs())
@settings(deadline=None)
def test_leaves_hold_and_no_outcome_lies_in_another(events: list[Event]) -> None:
    ledger = replay(events, NOW)
    leaves = [leaf for item in NOW for leaf in ledger.leaves(item)]
    assert all(ledger.holds(leaf) for leaf in leaves)
    assert ledger.outcomes().keys() <= set(leaves)


@given(logs())
@settings(deadline=None)
def test_event_to_json_and_back(events: list[Event]) -> None:
    assert [Event.from_json(json.loads(json.dumps(event.to_json()))) for event in events] == events


def test_queue_of_5000_items_is_replayed_and_only_what_is_touched_is_worked_out_again() -> None:
    evidence = {f"i{i}": "e" for i in range(5_000)}
    base = Log()("ada", "accept", after=T, evidence="e")
    fields = {name: getattr(base, name) for name in Event.__slots__}
    events = [
        Event(**{**fields, "number": i + 1, "reviewer": f"r{i % 3}", "item_id": f"i{i * 7 % 5_000}"})
        for i in range(20_000)
    ]
    ledger = replay(events[:-1], evidence)
    longer = ledger.after(events[-1:])
    assert len(longer.outcomes()) == 5_000
    untouched = [item for item in evidence if item != events[-1].item_id]
    assert all(longer.state(item) is ledger.state(item) for item in untouched)


# Outcome ----------------------------------------------------------------------------------------------------------


def test_outcome_of_an_unknown_status_is_refused() -> None:
    with pytest.raises(InputError, match="must be one of resolved, unseen, unresolved, got 'backed_off'"):
        Outcome("T:2", "backed_off")


# Kappa ------------------------------------------------------------------------------------------------------------


def test_kappa_by_hand() -> None:
    """Cohen (1960), example of 2 x 2 counts 20, 5, 10, 15: p_o = 0.7, p_e = 0.5, kappa = 0.4."""
    pairs = [("y", "y")] * 20 + [("y", "n")] * 5 + [("n", "y")] * 10 + [("n", "n")] * 15
    observed, kappa, why = cohen_kappa(pairs)
    assert (observed, kappa, why) == (0.7, pytest.approx(0.4), "")


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), max_size=30))
@settings(deadline=None)
def test_kappa_laws(pairs: list[tuple[str, str]]) -> None:
    observed, kappa, why = cohen_kappa(pairs)
    swapped = cohen_kappa([(y, x) for x, y in pairs])
    assert math.isnan(kappa) == bool(why)
    if not why:
        assert swapped == (observed, kappa, why)
        assert -1 <= kappa <= 1
        assert (kappa == 1) == (observed == 1)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), min_size=1, max_size=30))
@settings(deadline=None)
def test_kappa_equals_scikit_learns(pairs: list[tuple[str, str]]) -> None:
    _, kappa, why = cohen_kappa(pairs)
    if not why:
        assert kappa == pytest.approx(cohen_kappa_score(*zip(*pairs, strict=True)), abs=1e-12)


def test_kappa_of_a_log(log: Log) -> None:
    log("ada", "accept", "i1", T)
    log("bob", "accept", "i1", T)
    log("ada", "accept", "i2", T)
    log("bob", "accept", "i2", B)
    log("bob", "settle", "i2", T)
    log("ada", "accept", "i3", T)
    log("bob", "skip", "i3")
    log("cy", "accept", "i3", T)
    rows = {(row.a, row.b): row for row in log.ledger.kappa()}
    assert list(rows) == [("ada", "bob"), ("ada", "cy"), ("bob", "cy")]
    # ada: T, T; bob: T, B (the settlement left out). p_o = 1/2, p_e = 1 * 1/2.
    assert (rows["ada", "bob"].n_both, rows["ada", "bob"].agreement, rows["ada", "bob"].kappa) == (2, 0.5, 0.0)
    assert (rows["ada", "cy"].n_both, rows["ada", "cy"].agreement) == (1, 1.0)
    assert math.isnan(rows["ada", "cy"].kappa)
    assert rows["ada", "cy"].why == "both said one and the same of everything"
    assert (rows["bob", "cy"].n_both, rows["bob", "cy"].why) == (0, "nothing that both decided")


def test_kappa_is_of_what_holds(log: Log) -> None:
    """A split item counts by its parts; what is undone or on other evidence does not count."""
    for who in ("ada", "bob"):
        log(who, "accept", "i1", T)
    log("ada", "split", "i1", by="cluster")
    for who, outcome in (("ada", T), ("bob", B)):
        log(who, "accept", "i1~cluster~0", outcome)
    log("ada", "accept", "i2", T)
    log.undo("bob", log("bob", "accept", "i2", T))
    log("ada", "accept", "i3", T)
    log("bob", "accept", "i3", T, evidence="before")
    (row,) = log.ledger.kappa()
    assert (row.n_both, row.agreement) == (1, 0.0)


def test_kappa_is_of_first_decisions(log: Log) -> None:
    """Who has decided sees what others said, also in blind mode: a change of mind after that is no second opinion."""
    for item, said in (("i1", B), ("i2", T), ("i3", B)):
        log("ada", "accept", item, T)
        log("bob", "accept", item, said)
    log("bob", "choose", "i1", T)
    (row,) = log.ledger.kappa()
    assert (row.n_both, row.agreement) == (3, pytest.approx(1 / 3))
    # What was undone was never said, and what was said on other evidence was said of something else.
    first = log.ledger.history("i3")[1]
    log("bob", "choose", "i3", T)
    log.undo("bob", first)
    (row,) = log.ledger.kappa()
    assert row.agreement == pytest.approx(2 / 3)
    log("cy", "accept", "i2", B, evidence="before")
    log("cy", "accept", "i2", T)
    assert [row.agreement for row in log.ledger.kappa() if row.b == "cy"] == [1.0, 1.0]


def test_who_settles_first_is_no_second_opinion(log: Log) -> None:
    log("ada", "accept", "i1", T)
    log("bob", "accept", "i1", B)
    log("cy", "settle", "i1", T)
    log("cy", "accept", "i1", T)
    assert [(row.a, row.b) for row in log.ledger.kappa()] == [("ada", "bob")]


def test_a_part_may_have_evidence_of_its_own(log: Log) -> None:
    """After another run an item may be cut elsewhere: a decision on a part of other cells must not hold."""
    part = "i1~cluster~0"
    log("ada", "split", by="cluster")
    log("ada", "accept", part, T, evidence="cells a and b")
    as_it_was = replay(log.events, {**NOW, part: "cells a and b"})
    assert as_it_was.outcomes() == {part: T}
    cut_elsewhere = replay(log.events, {**NOW, part: "cells a and c"})
    assert cut_elsewhere.state(part).status == "reopened"
    assert cut_elsewhere.state("i1").status == "split"
    assert cut_elsewhere.outcomes() == {}
