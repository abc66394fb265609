"""Why calls differ: each cause alone, causes in pairs, and the laws of the replay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from celljury.compare.by_evidence import attribute_by_evidence
from celljury.compare.causes import STEPS, Cause, why
from celljury.compare.inputs import Both, Votes4
from celljury.compare.kinds import Change, judge
from celljury.compare.pairing import Pairs
from celljury.compare.replay import Replay
from celljury.compare.tables import member_names, said_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conftest import MakeSide

    from celljury.compare.replay import Found
    from celljury.compare.sides import Side
    from celljury.ontology.graph import CellOntology

ALL = sum(STEPS, Cause(0))


def both_of(a: Side, b: Side) -> Both:
    """Both sides over the same cells, in the same order."""
    rows, none = np.arange(len(a)), np.zeros(0, np.int64)
    return Both.of(a, b, Pairs(rows, rows, none, none))


def explained(a: Side, b: Side) -> tuple[list[Change], Found, Both]:
    both = both_of(a, b)
    rows = np.arange(len(a))
    changes = judge(said_of(a, rows), said_of(b, rows), a.ontology, b.ontology, both.there, both.back)
    found = Replay.of(both, rows, rows).attribute(changes.kind, both.differing())
    return [Change(k) for k in changes.kind], found, both


def one(a: Side, b: Side) -> tuple[Change, str, str]:
    """Kind, causes and members of the first cell."""
    kinds, found, both = explained(a, b)
    assert found.holds.all()
    return kinds[0], why(int(found.why[0])), member_names(int(found.members[0]), both.members)


def test_nothing_changed_has_no_cause(side_of: MakeSide, toy: CellOntology) -> None:
    side = side_of(toy, [["T:3", "T:3", "T:4"], ["", "", ""]])
    kinds, found, _ = explained(side, side)
    assert kinds == [Change.SAME, Change.SAME]
    assert found.why.tolist() == [0, 0]
    assert found.holds.all()


def test_one_member_s_vote_alone(side_of: MakeSide, toy: CellOntology) -> None:
    a = side_of(toy, [["T:3", "T:3", "T:3"]])
    b = side_of(toy, [["T:3", "T:4", "T:3"]])
    assert one(a, b) == (Change.MORE_GENERAL, "votes", "b")


def test_of_two_changed_votes_the_one_that_flips_the_call(side_of: MakeSide, toy: CellOntology) -> None:
    # b's step to memory T already takes the consensus up to T cell; a's from CD4 to CD4 memory changes nothing by itself.
    a = side_of(toy, [["T:3", "T:3", "T:3"]])
    b = side_of(toy, [["T:5", "T:4", "T:3"]])
    assert one(a, b) == (Change.MORE_GENERAL, "votes", "b")
    _, found, _ = explained(a, b)
    assert found.alone.all()


def test_votes_that_flip_the_call_only_together(side_of: MakeSide, toy: CellOntology) -> None:
    # By quorum 2/3 one B cell more or less does not matter; two do.
    a = side_of(toy, [["T:2", "T:2", "T:2"]], reduce__rule="quorum", reduce__quorum=0.6)
    b = side_of(toy, [["T:6", "T:6", "T:2"]], reduce__rule="quorum", reduce__quorum=0.6)
    assert one(a, b) == (Change.OTHER_BRANCH, "votes", "a;b")
    _, found, _ = explained(a, b)
    assert not found.alone.any()


def test_absent_member(side_of: MakeSide, toy: CellOntology) -> None:
    votes = [["T:3", "T:3", "T:6"]]
    a, b = side_of(toy, votes), side_of(toy, votes, absent=["c"])
    assert one(a, b) == (Change.MORE_SPECIFIC, "members", "c")
    assert one(b, a) == (Change.MORE_GENERAL, "members", "c")


def test_member_that_only_one_run_knows(side_of: MakeSide, toy: CellOntology) -> None:
    a = side_of(toy, [["T:3", "T:3"]], members=["a", "b"])
    b = side_of(toy, [["T:4", "T:3", "T:3"]], members=["new", "b", "a"])
    assert one(a, b) == (Change.MORE_GENERAL, "members", "new")


def test_rule_and_quorum(side_of: MakeSide, toy: CellOntology) -> None:
    votes = [["T:3", "T:3", "T:6"]]
    lca, quorum = side_of(toy, votes), side_of(toy, votes, reduce__rule="quorum", reduce__quorum=0.6)
    assert one(lca, quorum) == (Change.MORE_SPECIFIC, "rule", "")
    strict = side_of(toy, votes, reduce__rule="quorum", reduce__quorum=0.9)
    assert one(quorum, strict) == (Change.MORE_GENERAL, "rule", "")


def test_too_general_terms(side_of: MakeSide, toy: CellOntology) -> None:
    votes = [["T:3", "T:6", "T:6"]]
    a, b = side_of(toy, votes), side_of(toy, votes, too_general__terms=["T:1"])
    assert one(a, b) == (Change.NEWLY_UNRESOLVED, "too_general", "")
    assert one(b, a) == (Change.NOW_CALLED, "too_general", "")


def test_conflict_that_is_let_pass(side_of: MakeSide, toy: CellOntology) -> None:
    votes = [["T:3", "T:3", "T:6"]]
    quorum = {"reduce__rule": "quorum", "reduce__quorum": 0.6}
    a, b = side_of(toy, votes, **quorum), side_of(toy, votes, review__max_conflict=0.5, **quorum)
    assert one(a, b) == (Change.REVIEW, "review", "")


def test_support_alone(side_of: MakeSide, toy: CellOntology) -> None:
    quorum: dict[str, Any] = {"reduce__rule": "quorum", "reduce__quorum": 0.6, "review__max_conflict": 1.0}
    a = side_of(toy, [["T:3", "T:3", "T:3"]], **quorum)
    b = side_of(toy, [["T:3", "T:3", "T:6"]], **quorum)
    assert one(a, b) == (Change.SUPPORT, "votes", "c")


def test_curators_decision(side_of: MakeSide, toy: CellOntology) -> None:
    votes = [["T:3", "T:6", "T:6"]]
    a, b = side_of(toy, votes), side_of(toy, votes, decided={0: ("T:6", "resolved")})
    assert one(a, b) == (Change.MORE_SPECIFIC, "curator", "")
    same = side_of(toy, votes, decided={0: ("T:1", "resolved")})
    assert one(a, same) == (Change.DECIDED, "curator", "")


def test_decision_that_stands_hides_what_lies_below_it(side_of: MakeSide, toy: CellOntology) -> None:
    decided = {0: ("T:6", "resolved")}
    a = side_of(toy, [["T:3", "T:6", "T:6"]], decided=decided)
    b = side_of(toy, [["T:3", "T:3", "T:3"]], decided=decided)
    kinds, found, _ = explained(a, b)
    assert kinds == [Change.REVIEW]  # the call below it is no longer in doubt
    assert why(int(found.why[0])) == "votes"


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        pytest.param(["T:6"] * 3, ["T:60"] * 3, (Change.RENAMED, "ontology"), id="replaced_id"),
        pytest.param(["T:5"] * 3, ["T:3"] * 3, (Change.MORE_GENERAL, "ontology"), id="retired_term"),
        pytest.param(["T:2", "T:2", "T:4"], ["T:2", "T:2", "T:4"], (Change.MORE_GENERAL, "ontology"), id="moved_term"),
        pytest.param(["T:2"] * 3, ["T:61"] * 3, (Change.OTHER_BRANCH, "ontology"), id="new_term"),
        pytest.param(["T:2", "T:2", "T:2"], ["T:2", "T:2", "T:3"], None, id="no_release_needed"),
    ],
)
def test_ontology_release(
    side_of: MakeSide,
    toy: CellOntology,
    later: CellOntology,
    first: list[str],
    second: list[str],
    expected: tuple[Change, str] | None,
) -> None:
    kind, cause, _ = one(side_of(toy, [first]), side_of(later, [second]))
    assert (kind, cause) == (expected or (Change.SAME, ""))


def test_vote_that_became_nothing_when_its_term_was_retired_is_the_release_s_doing(
    side_of: MakeSide, toy: CellOntology, later: CellOntology
) -> None:
    a, b = side_of(toy, [["T:5", "T:2", "T:2"]]), side_of(later, [["", "T:3", "T:3"]])
    # c and b moved to CD4 by themselves; a's vote is gone with its term.
    assert one(a, b) == (Change.MORE_SPECIFIC, "votes", "b;c")


PAIRS = [
    # The quorum alone calls T cells; then c's vote makes them CD4.
    pytest.param(
        {"votes": [["T:2", "T:2", "T:6"]]},
        {"votes": [["T:3", "T:3", "T:6"]], "reduce__rule": "quorum", "reduce__quorum": 0.6},
        "rule", id="votes_alone_meet_where_they_met",
    ),
    pytest.param(
        {"votes": [["T:3", "T:3", "T:6"]], "reduce__rule": "quorum", "reduce__quorum": 0.6},
        {"votes": [["T:3", "T:4", "T:6"]], "too_general__terms": ["T:2"], "reduce__rule": "quorum", "reduce__quorum": 0.6},
        "votes+too_general", id="vote_to_a_term_that_is_now_too_general",
    ),
    pytest.param(
        {"votes": [["T:3", "T:3", "T:6"]]},
        {"votes": [["T:3", "T:4", "T:6"]], "absent": ["c"]},
        "members+votes", id="member_gone_then_votes",
    ),
    pytest.param(
        {"votes": [["T:3", "T:3", "T:3"]]},
        {"votes": [["T:3", "T:4", "T:3"]], "decided": {0: ("T:6", "resolved")}},
        "votes+curator", id="votes_below_a_decision",
    ),
    pytest.param(
        {"votes": [["T:3", "T:3", "T:6"]]},
        {"votes": [["T:3", "T:3", "T:6"]], "absent": ["c"], "reduce__rule": "quorum", "reduce__quorum": 0.6},
        "members", id="who_comes_first_takes_it_all",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("first", "second", "expected"), PAIRS)
def test_two_causes(
    side_of: MakeSide, toy: CellOntology, first: dict[str, Any], second: dict[str, Any], expected: str
) -> None:
    assert one(side_of(toy, **first), side_of(toy, **second))[1] == expected


def test_release_and_quorum(side_of: MakeSide, toy: CellOntology, later: CellOntology) -> None:
    a = side_of(toy, [["T:2", "T:2", "T:4"]])
    b = side_of(later, [["T:2", "T:2", "T:4"]], reduce__rule="quorum", reduce__quorum=0.6)
    # T cells by all votes; the move of memory T takes them to blood cell, the quorum back: nothing is left of either.
    kinds, found, _ = explained(a, b)
    assert kinds == [Change.REVIEW]
    assert why(int(found.why[0])) == "ontology"


def test_values_that_the_rule_does_not_give_are_not_explained(side_of: MakeSide, toy: CellOntology) -> None:
    a, b = side_of(toy, [["T:3", "T:3", "T:3"]]), side_of(toy, [["T:3", "T:3", "T:3"]])
    b.calls.term[0] = toy.index("T:6")
    kinds, found, _ = explained(a, b)
    assert kinds == [Change.OTHER_BRANCH]
    assert not found.holds.any()
    assert found.why.tolist() == [0]


def test_replay_that_does_not_end_at_b_explains_nothing_of_the_cell(side_of: MakeSide, toy: CellOntology) -> None:
    # A vote did change the consensus, but not to what B says.
    a, b = side_of(toy, [["T:3", "T:3", "T:3"]] * 2), side_of(toy, [["T:3", "T:4", "T:3"]] * 2)
    b.calls.term[0] = toy.index("T:6")
    _, found, _ = explained(a, b)
    assert found.holds.tolist() == [False, True]
    assert [why(mask) for mask in found.why.tolist()] == ["", "votes"]
    assert found.members.tolist() == [0, 2]


EVIDENCE = [
    pytest.param([["T:3", "T:3", "T:6"]], [["T:3", "T:4", "T:6"]], {}, "votes", "b", id="whose_votes_differ"),
    pytest.param(
        [["T:3", "T:3", "T:6"]], [["T:4", "T:4", ""]], {"absent": ["c"]}, "members", "c", id="member_before_votes"
    ),
    pytest.param(
        [["T:3", "T:3", ""]], [["T:3", "T:3", ""]], {"absent": ["c"]}, "members", "", id="absent_without_a_vote"
    ),
    pytest.param([["T:3"] * 3], [["T:3"] * 3], {"reduce__rule": "quorum"}, "rule", "", id="same_votes_other_rule"),
    pytest.param([["T:3"] * 3], [["T:3"] * 3], {"too_general__terms": ["T:2"]}, "too_general", "", id="other_list"),
    pytest.param(
        [["T:3"] * 3], [["T:4"] * 3], {"decided": {0: ("T:6", "resolved")}}, "curator", "", id="decision_first"
    ),
    pytest.param([["T:3"] * 3], [["T:3"] * 3], {}, "not_explained", "", id="nothing_known_differs"),
]


@pytest.mark.parametrize(("first", "second", "settings_of_b", "cause", "members"), EVIDENCE)
def test_causes_read_off_the_evidence(
    side_of: MakeSide,
    toy: CellOntology,
    first: list[list[str]],
    second: list[list[str]],
    settings_of_b: dict[str, Any],
    cause: str,
    members: str,
) -> None:
    both, rows = both_of(side_of(toy, first), side_of(toy, second, **settings_of_b)), np.arange(1)
    kind, unmoved = np.array([Change.OTHER_BRANCH], np.int8), np.zeros(1, bool)
    found, who = attribute_by_evidence(both, rows, rows, Votes4.of(both, rows, rows), kind, unmoved, both.differing())
    assert (why(int(found[0])), member_names(int(who[0]), both.members)) == (cause, members)


@st.composite
def runs(draw: st.DrawFn, n_cells: int, ids: Sequence[str]) -> dict[str, Any]:
    """Draw a run: votes, members, absent ones, rule, too general terms, decisions."""
    members = draw(st.permutations(["a", "b", "c", "d"]))[: draw(st.integers(1, 4))]
    term = st.sampled_from(["", *ids])
    votes = [[draw(term) for _ in members] for _ in range(n_cells)]
    found: dict[str, Any] = {"votes": votes, "members": members}
    found["absent"] = draw(st.lists(st.sampled_from(members), max_size=len(members) - 1, unique=True))
    if draw(st.booleans()):
        found |= {"reduce__rule": "quorum", "reduce__quorum": draw(st.sampled_from([0.5, 0.6, 2 / 3, 0.75, 1.0]))}
    found["too_general__terms"] = draw(st.lists(st.sampled_from(["T:0", "T:1", "T:2", "T:7"]), unique=True))
    found["review__max_conflict"] = draw(st.sampled_from([0.0, 0.25, 1.0]))
    decided = draw(st.dictionaries(st.integers(0, n_cells - 1), st.sampled_from(ids), max_size=1))
    found["decided"] = {row: (what, "resolved") for row, what in decided.items()}
    return found


@settings(max_examples=150, deadline=None)
@given(data=st.data(), n_cells=st.integers(1, 5), releases=st.tuples(st.booleans(), st.booleans()))
def test_every_replay_ends_at_b_and_explains_just_what_changed(
    side_of: MakeSide,
    toy: CellOntology,
    later: CellOntology,
    data: st.DataObject,
    n_cells: int,
    releases: tuple[bool, bool],
) -> None:
    """For any two runs by votes over the same cells, also of two releases and of either order."""
    first, second = ((later if release else toy) for release in releases)
    a = side_of(first, **data.draw(runs(n_cells, first.ids)))
    b = side_of(second, **data.draw(runs(n_cells, second.ids)))
    both, rows = both_of(a, b), np.arange(n_cells)
    replay = Replay.of(both, rows, rows)
    for taken, later_ in ((Cause(0), False), (ALL, True)):
        got, stored = replay.called(taken), replay.stored(later=later_)
        for name in ("term", "status", "steps", "needs_review", "decided"):
            assert getattr(got, name).tolist() == getattr(stored, name).tolist(), name
    kinds, found, _ = explained(a, b)
    assert found.holds.all()
    assert [mask == 0 for mask in found.why.tolist()] == [kind == Change.SAME for kind in kinds]
    back, other, _ = explained(b, a)
    assert [kind == Change.SAME for kind in back] == [kind == Change.SAME for kind in kinds]
    assert other.holds.all()
    if first is second:
        assert [kind.mirror for kind in kinds] == back


@settings(max_examples=60, deadline=None)
@given(data=st.data(), n_cells=st.integers(1, 4))
def test_what_the_runs_share_is_no_cause(
    side_of: MakeSide, toy: CellOntology, data: st.DataObject, n_cells: int
) -> None:
    """Two runs that differ in votes alone: no other cause is named, and only members whose votes differ."""
    drawn = data.draw(runs(n_cells, toy.ids))
    votes = [[data.draw(st.sampled_from(["", *toy.ids])) for _ in row] for row in drawn["votes"]]
    _, found, both = explained(side_of(toy, **drawn), side_of(toy, **drawn | {"votes": votes}))
    for i, (mask, members) in enumerate(zip(found.why.tolist(), found.members.tolist(), strict=True)):
        assert mask in (0, Cause.VOTES)
        named = set(member_names(members, both.members).split(";")) - {""}
        assert bool(named) == (mask > 0)
        assert named <= {n for n, x, y in zip(drawn["members"], drawn["votes"][i], votes[i], strict=True) if x != y}
