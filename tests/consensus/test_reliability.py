"""What members' votes are worth: by hand, on a query where one of them fails, and what may not change it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from celljury.reliability import LEAST_WORTH, SURE, Reliability, learn_reliability, worth_by_rule, worth_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

QUICK = settings(max_examples=60, deadline=None)


def votes_of(truth: NDArray[np.int64], right: list[float], *, n_terms: int, seed: int) -> NDArray[np.int32]:
    """Return votes (n_cells, n_members) of members that are right with these chances, else wrong at random."""
    rng = np.random.default_rng(seed)
    wrong = (truth[:, None] + rng.integers(1, n_terms, (len(truth), len(right)))) % n_terms
    return np.where(rng.random(wrong.shape) < right, truth[:, None], wrong).astype(np.int32)


def learned(vote: Any, n_cells: Any, held_vote: Any, held_truth: Any, *, n_terms: int, **options: Any) -> Reliability:
    return learn_reliability(
        np.asarray(vote, np.int32),
        np.asarray(n_cells, np.int64),
        held_vote=np.asarray(held_vote, np.int32),
        held_truth=np.asarray(held_truth, np.int32),
        n_terms=n_terms,
        **options,
    )


def same(left: Reliability, right: Reliability, *, members: Any = slice(None), atol: float = 1e-7) -> None:
    assert_allclose(left.share, right.share, atol=atol)
    for name in ("right", "accuracy", "confusion", "worth"):
        assert_allclose(getattr(left, name), getattr(right, name)[members], atol=10 * atol, err_msg=name)


# By hand ------------------------------------------------------------------------------------------------------------

NO_VOTES = np.zeros((0, 1), np.int32)
# A member voted a for 8 cells of a, and a for both cells of b.
ALWAYS_A = ([[0]] * 10, [0] * 8 + [1] * 2)


def test_without_a_query_held_out_cells_decide() -> None:
    """Counts and what stood before: a (8 + .5 + .05, .05) of 8.6, b (2.05, .5 + .05) of 2.6; shares 9 and 3 of 12."""
    found = learned(NO_VOTES, [], *ALWAYS_A, n_terms=2)
    assert_allclose(found.confusion, [[[8.55 / 8.6, 0.05 / 8.6], [2.05 / 2.6, 0.55 / 2.6]]])
    assert_allclose(found.share, [0.75, 0.25])
    of_a = [0.75 * 8.55 / 8.6, 0.25 * 2.05 / 2.6]
    of_b = [0.75 * 0.05 / 8.6, 0.25 * 0.55 / 2.6]
    assert_allclose(found.right, [[of_a[0] / sum(of_a), of_b[1] / sum(of_b)]])
    assert_allclose(found.accuracy, [of_a[0] + of_b[1]])
    assert_allclose(found.worth, worth_of(found.right))


def test_posterior_by_hand() -> None:
    found = learned(NO_VOTES, [], *ALWAYS_A, n_terms=2)
    posterior = found.posterior(np.array([[0], [-1]], np.int32))
    assert_allclose(posterior[0], [found.right[0, 0], 1 - found.right[0, 0]])
    assert posterior[1].tolist() == [0, 0]


def test_prior_of_many_votes_is_not_moved() -> None:
    """A member's own votes alone say nothing against it; with a stiff prior nor do the others'."""
    held = np.arange(60) % 3
    held_vote = np.repeat(held[:, None], 3, axis=1)
    prior = learned(np.zeros((0, 3)), [], held_vote, held, n_terms=3)
    stiff = learned([[0, 0, 1], [1, 1, 2], [2, 2, 0]], [20, 20, 20], held_vote, held, n_terms=3, prior_votes=1e9)
    assert_allclose(stiff.confusion, prior.confusion, atol=1e-6)


@pytest.mark.parametrize(
    ("right", "n_terms", "expected"),
    [
        pytest.param(0.5, 2, LEAST_WORTH, id="a_coin_among_two_is_worth_the_least"),
        pytest.param(0.5, 3, np.log(2), id="a_coin_among_three_is_worth_something"),
        pytest.param(0.9, 2, np.log(9), id="log_odds_among_two"),
        pytest.param(0.9, 5, np.log(9 * 4), id="log_odds_times_the_other_terms"),
        pytest.param(0.0, 5, LEAST_WORTH, id="no_vote_counts_against_its_term"),
        pytest.param(1.0, 2, np.log(SURE[1] / (1 - SURE[1])), id="no_vote_is_certain"),
        pytest.param(0.9, 1, np.log(9), id="a_single_term"),
    ],
)
def test_worth(right: float, n_terms: int, expected: float) -> None:
    assert_allclose(worth_of(np.full((2, n_terms), right)), expected)


def test_worth_by_rule() -> None:
    found = learned(NO_VOTES, [], *ALWAYS_A, n_terms=2)
    accuracy = np.array([0.9, np.nan])
    for rule in ("equal", "calibrated"):
        assert worth_by_rule(rule, found, accuracy, n_terms=3).tolist() == [[1] * 3] * 2
    held = worth_by_rule("held-out", found, accuracy, n_terms=3)
    assert_allclose(held, [[np.log(18)] * 3, [np.log(2)] * 3])  # a member without held-out votes is taken for a coin
    for rule in ("reliability", "dawid-skene"):
        assert worth_by_rule(rule, found, accuracy[:1], n_terms=2) is found.worth


# A query on which a member fails ------------------------------------------------------------------------------------

HELD = np.arange(300) % 3
HELD_VOTE = votes_of(HELD, [0.9, 0.9, 0.9, 0.95], n_terms=3, seed=0)
# On the query the best member of the reference takes every cell of term 0 for term 1.
PATTERNS = np.array([[0, 0, 0, 1], [1, 1, 1, 1], [2, 2, 2, 2]], np.int32)


def on_query(n: int) -> Reliability:
    return learned(PATTERNS, [n, n, n], HELD_VOTE, HELD, n_terms=3)


def test_member_that_fails_on_the_query_loses_weight_there() -> None:
    before = learned(PATTERNS[:0], [], HELD_VOTE, HELD, n_terms=3)
    after = on_query(200)
    assert before.accuracy[3] == max(before.accuracy)
    assert after.accuracy[3] == min(after.accuracy)
    assert after.accuracy[3] == pytest.approx(2 / 3, abs=0.05)
    assert after.right[3, 1] == pytest.approx(1 / 2, abs=0.05)
    assert after.worth[3, 1] < before.worth[3, 1] - 1
    assert (after.accuracy[:3] > 0.9).all()
    # It lost weight where it fails, and nowhere else.
    assert (after.worth[3, [0, 2]] > 2).all()
    assert_allclose(after.share, 1 / 3, atol=0.02)


def test_small_queries_stay_near_the_reference_and_evidence_grows_with_cells() -> None:
    before = learned(PATTERNS[:0], [], HELD_VOTE, HELD, n_terms=3)
    same(on_query(0), before)
    accuracy = [on_query(n).accuracy[3] for n in (0, 1, 3, 10, 30, 100, 300, 3000)]
    assert all(np.diff(accuracy) < 0)
    assert accuracy[0] - accuracy[1] < 0.05
    worth = [on_query(n).worth[3, 1] for n in (0, 1, 3, 10, 30, 100, 300, 3000)]
    assert all(np.diff(worth) < 0)


def test_shares_of_a_small_query_start_from_the_reference_s() -> None:
    """One cell of a rare type against five cells like the reference, of which nine in ten are of term 0."""
    held = np.repeat([0, 1], [900, 100])
    held_vote = np.repeat(held[:, None], 2, axis=1)
    found = learned([[1, 1]], [1], held_vote, held, n_terms=2)
    assert found.share[1] == pytest.approx((1 + 5 * 101 / 1002) / 6, abs=0.01)


def test_reliable_members_outvote_a_majority() -> None:
    """Two good members and three that are right on 40 % of cells: by heads the three can win."""
    truth = np.arange(2000) % 4
    held_vote = votes_of(truth, [0.95, 0.93, 0.5, 0.5, 0.5], n_terms=4, seed=1)
    query = votes_of(truth, [0.95, 0.93, 0.4, 0.4, 0.4], n_terms=4, seed=2)
    patterns, n_cells = np.unique(query, axis=0, return_counts=True)
    found = learned(patterns, n_cells, held_vote, truth, n_terms=4)
    assert_allclose(found.accuracy, [0.95, 0.93, 0.4, 0.4, 0.4], atol=0.04)
    weight = found.worth[np.arange(5), query]
    tally = np.zeros((len(query), 4))
    for j in range(5):
        tally[np.arange(len(query)), query[:, j]] += weight[:, j]
    heads = np.stack([(query == t).sum(axis=1) for t in range(4)], axis=1)
    assert (tally.argmax(axis=1) == truth).mean() > (heads.argmax(axis=1) == truth).mean() + 0.05
    assert (found.posterior(query).argmax(axis=1) == truth).mean() > 0.94


# Laws ---------------------------------------------------------------------------------------------------------------


class Drawn(NamedTuple):
    vote: NDArray[np.int32]
    n_cells: NDArray[np.int64]
    held_vote: NDArray[np.int32]
    held_truth: NDArray[np.int32]
    n_terms: int

    def learn(self, **changes: Any) -> Reliability:
        return learned(**(self._asdict() | changes))


@st.composite
def drawn(draw: st.DrawFn) -> Drawn:
    """Distinct patterns of 1 to 4 members over 1 to 4 terms with abstentions, their cells, and held-out votes."""
    n_members, n_terms = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    vote = np.unique(rng.integers(-1, n_terms, (draw(st.integers(1, 12)), n_members)), axis=0).astype(np.int32)
    truth = rng.integers(0, n_terms, draw(st.integers(0, 40))).astype(np.int32)
    held = np.where(rng.random((len(truth), n_members)) < 0.6, truth[:, None], rng.integers(-1, n_terms, n_members))
    return Drawn(vote, rng.integers(1, 50, len(vote)), held.astype(np.int32), truth, n_terms)


@QUICK
@given(drawn())
def test_everything_is_a_share(case: Drawn) -> None:
    found = case.learn()
    assert_allclose(found.confusion.sum(axis=2), 1)
    assert found.share.sum() == pytest.approx(1)
    assert (found.share > 0).all()
    for shares in (found.right, found.accuracy):
        assert ((shares >= 0) & (shares <= 1 + 1e-12)).all()
    assert (found.worth >= LEAST_WORTH).all()
    posterior = found.posterior(case.vote)
    assert_allclose(posterior.sum(axis=1), (case.vote >= 0).any(axis=1))


@QUICK
@given(drawn(), st.randoms(use_true_random=False))
def test_order_of_patterns_and_held_out_cells_changes_nothing(case: Drawn, random: Any) -> None:
    rows, held = list(range(len(case.vote))), list(range(len(case.held_truth)))
    random.shuffle(rows)
    random.shuffle(held)
    again = case.learn(vote=case.vote[rows], n_cells=case.n_cells[rows],
                       held_vote=case.held_vote[held].reshape(-1, case.vote.shape[1]),
                       held_truth=case.held_truth[held])  # fmt: skip
    same(again, case.learn())


@QUICK
@given(drawn(), st.data())
def test_a_pattern_cut_in_two_changes_nothing(case: Drawn, data: st.DataObject) -> None:
    """As blocks do it: each block counts the cells that it has of a pattern."""
    first = np.array([data.draw(st.integers(0, int(n))) for n in case.n_cells])
    again = case.learn(
        vote=np.concatenate([case.vote, case.vote]), n_cells=np.concatenate([first, case.n_cells - first])
    )
    same(again, case.learn())


@QUICK
@given(drawn(), st.randoms(use_true_random=False))
def test_order_of_members_changes_nothing(case: Drawn, random: Any) -> None:
    order = list(range(case.vote.shape[1]))
    random.shuffle(order)
    same(case.learn(vote=case.vote[:, order], held_vote=case.held_vote[:, order]), case.learn(), members=order)


@QUICK
@given(drawn(), st.randoms(use_true_random=False))
def test_numbers_of_terms_are_only_names(case: Drawn, random: Any) -> None:
    name = list(range(case.n_terms))
    random.shuffle(name)
    renamed = np.array([*name, -1])  # -1 stays -1
    again = case.learn(vote=renamed[case.vote], held_vote=renamed[case.held_vote], held_truth=renamed[case.held_truth])
    found = case.learn()
    assert_allclose(again.share[name], found.share, atol=1e-7)
    assert_allclose(again.worth[:, name], found.worth, atol=1e-6)
    assert_allclose(again.accuracy, found.accuracy, atol=1e-6)


@QUICK
@given(drawn())
def test_member_that_never_votes_changes_no_bit_of_the_others(case: Drawn) -> None:
    silent = {name: np.insert(getattr(case, name), 0, -1, axis=1) for name in ("vote", "held_vote")}
    again, found = case.learn(**silent), case.learn()
    assert_array_equal(again.share, found.share)
    for name in ("right", "confusion", "worth"):
        assert_array_equal(getattr(again, name)[1:], getattr(found, name))
