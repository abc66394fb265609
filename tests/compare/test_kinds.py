"""What changed, as people would say it from the drawing of the toy ontology."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from celljury.compare.carry import carry
from celljury.compare.kinds import Change, Changes, Said, judge
from celljury.reduce import Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celljury.ontology.graph import CellOntology

Word = tuple[str, str]
"""Term, empty = none; and status."""


def said(words: Sequence[Word], ontology: CellOntology, **also: float) -> Said:
    n = len(words)
    return Said(
        np.array([ontology.index(term) if term else -1 for term, _ in words], np.int32),
        np.array([Status[status.upper()] for _, status in words], np.int8), np.full(n, also.get("support", 0.5), np.float32),
        np.full(n, bool(also.get("review"))), np.full(n, bool(also.get("decided"))),
    )  # fmt: skip


def judged(a: Sequence[Word], b: Sequence[Word], old: CellOntology, new: CellOntology) -> Changes:
    return judge(said(a, old), said(b, new), old, new, carry(old, new), carry(new, old))


@pytest.mark.parametrize(
    ("a", "b", "kind", "lca"),
    [
        pytest.param(("T:3", "resolved"), ("T:3", "resolved"), Change.SAME, "T:3", id="same"),
        pytest.param(("T:3", "resolved"), ("T:3", "backed_off"), Change.STATUS, "T:3", id="same_term_other_status"),
        pytest.param(
            ("T:2", "resolved"), ("T:5", "resolved"), Change.MORE_SPECIFIC, "T:2", id="below_is_more_specific"
        ),
        pytest.param(("T:5", "resolved"), ("T:4", "resolved"), Change.MORE_GENERAL, "T:4", id="above_is_more_general"),
        pytest.param(("T:3", "resolved"), ("T:6", "resolved"), Change.OTHER_BRANCH, "T:1", id="branches_meet_at_lca"),
        pytest.param(("", "unresolved"), ("T:6", "resolved"), Change.NOW_CALLED, "", id="called_now"),
        pytest.param(("T:6", "resolved"), ("", "unresolved"), Change.NEWLY_UNRESOLVED, "", id="no_call_any_more"),
        pytest.param(("T:3", "resolved"), ("T:2", "unseen"), Change.NEWLY_UNSEEN, "T:2", id="unseen_whatever_the_node"),
        pytest.param(("", "unresolved"), ("", "unseen"), Change.NEWLY_UNSEEN, "", id="unseen_comes_before_unresolved"),
        pytest.param(("", "unseen"), ("", "unresolved"), Change.NO_LONGER_UNSEEN, "", id="seen_but_not_called"),
        pytest.param(("T:2", "unseen"), ("T:3", "unseen"), Change.MORE_SPECIFIC, "T:2", id="unseen_under_a_lower_node"),
        pytest.param(("", "unseen"), ("T:3", "unseen"), Change.MORE_SPECIFIC, "", id="unseen_under_a_node_now"),
        pytest.param(("T:3", "unseen"), ("", "unseen"), Change.MORE_GENERAL, "", id="unseen_nowhere_now"),
    ],
)
def test_kind_within_a_release(toy: CellOntology, a: Word, b: Word, kind: Change, lca: str) -> None:
    found = judged([a], [b], toy, toy)
    assert Change(found.kind[0]) == kind
    assert (toy.ids[found.lca[0]] if found.lca[0] >= 0 else "") == lca
    assert not found.moved[0]


@pytest.mark.parametrize(
    ("a", "b", "kind", "moved"),
    [
        pytest.param("T:6", "T:60", Change.RENAMED, False, id="replaced_id"),
        pytest.param("T:6", "T:61", Change.MORE_SPECIFIC, False, id="new_term_below_the_successor"),
        pytest.param("T:5", "T:3", Change.MORE_GENERAL, False, id="retired_term_to_its_ancestor"),
        pytest.param("T:5", "T:1", Change.MORE_GENERAL, False, id="retired_term_to_a_far_ancestor"),
        pytest.param("T:5", "T:4", Change.MORE_GENERAL, False, id="old_release_knows_the_other_parent"),
        pytest.param("T:5", "T:62", Change.OTHER_BRANCH, False, id="new_term_beside_a_retired_one"),
        pytest.param("T:2", "T:4", Change.OTHER_BRANCH, True, id="below_before_beside_now"),
        pytest.param("T:4", "T:2", Change.OTHER_BRANCH, True, id="above_before_beside_now"),
        pytest.param("T:8", "T:8", Change.SAME, False, id="other_ancestors_are_no_other_call"),
        pytest.param("T:3", "T:60", Change.OTHER_BRANCH, False, id="beside_it_in_both"),
    ],
)
def test_kind_across_releases(
    toy: CellOntology, later: CellOntology, a: str, b: str, *, kind: Change, moved: bool
) -> None:
    found = judged([(a, "resolved")], [(b, "resolved")], toy, later)
    assert Change(found.kind[0]) == kind
    assert found.moved[0] == moved


def test_term_that_the_other_release_lacks_is_still_below_the_former_id_of_its_parent(
    toy: CellOntology, later: CellOntology
) -> None:
    found = judged([("T:61", "resolved")], [("T:6", "resolved")], later, toy)
    assert Change(found.kind[0]) == Change.MORE_GENERAL


def test_bits_are_won_below_and_lost_up_to_where_branches_meet(toy: CellOntology) -> None:
    ic = dict(zip(toy.ids, toy.ic, strict=True))
    words = [("T:2", "T:5"), ("T:5", "T:2"), ("T:3", "T:6"), ("T:6", ""), ("", "T:6"), ("T:6", "T:6")]
    found = judged(
        [(a, "resolved" if a else "unresolved") for a, _ in words],
        [(b, "resolved" if b else "unresolved") for _, b in words], toy, toy,
    )  # fmt: skip
    expected = [
        ic["T:5"] - ic["T:2"], ic["T:2"] - ic["T:5"], ic["T:1"] - ic["T:3"], -ic["T:6"], ic["T:6"], 0,
    ]  # fmt: skip
    assert found.bits == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("b", "kind"),
    [
        pytest.param({"support": 0.50001}, Change.SUPPORT, id="support_to_five_digits"),
        pytest.param({"support": 0.500001}, Change.SAME, id="less_is_the_same"),
        pytest.param({"review": True, "support": 0.9}, Change.REVIEW, id="queue_before_support"),
        pytest.param({"decided": True, "review": True}, Change.DECIDED, id="decision_before_queue"),
    ],
)
def test_kind_of_the_same_call(toy: CellOntology, b: dict[str, float], kind: Change) -> None:
    carried = carry(toy, toy)
    word = [("T:3", "resolved")]
    found = judge(said(word, toy), said(word, toy, **b), toy, toy, carried, carried)
    assert Change(found.kind[0]) == kind


WORDS = st.sampled_from(
    [
        ("", "unresolved"),
        ("", "unseen"),
        *((f"T:{i}", status) for i in range(9) for status in ("resolved", "backed_off", "unseen")),
    ]
)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=8))
def test_the_other_way_round_is_the_mirror_image(toy: CellOntology, pairs: list[tuple[Word, Word]]) -> None:
    a, b = [x for x, _ in pairs], [y for _, y in pairs]
    there, back = judged(a, b, toy, toy), judged(b, a, toy, toy)
    assert [Change(k).mirror for k in there.kind] == [Change(k) for k in back.kind]
    assert there.lca.tolist() == back.lca.tolist()
    aside = there.kind == Change.OTHER_BRANCH
    line = np.isin(there.kind, [Change.MORE_SPECIFIC, Change.MORE_GENERAL])
    assert there.bits[line] == pytest.approx(-back.bits[line], abs=1e-5)
    assert (there.bits[aside] <= 0).all()
