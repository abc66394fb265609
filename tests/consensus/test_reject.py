"""Whether a cell belongs: p-values by hand, their level on simulated batches, and what may not change them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from celljury.reject import (
    CLIP,
    MIN_STRATUM,
    SHIFT_PRIOR,
    Belonging,
    in_units,
    learn_belonging,
    own_p_values,
    p_values,
    shift_of,
    stacked,
    summed,
    used_signals,
)
from celljury.votes import Votes

if TYPE_CHECKING:
    from numpy.typing import NDArray

QUICK = settings(max_examples=100, deadline=None)
EPS = 0.05
# One member gives four kinds, another two of the same ones.
SIGNALS = (
    ("residual", "a"), ("class_residual", "a"), ("mahalanobis", "a"), ("relative", "a"),
    ("mahalanobis", "b"), ("crowding", "b"),
)  # fmt: skip
N_TYPES = 3


def votes_with(values: NDArray[np.float64], signals: Any = SIGNALS) -> Votes:
    """Return votes that carry these signals (n_cells, n_signals) and nothing else."""
    n = len(values)
    members = tuple(dict.fromkeys(member for _, member in signals))
    nothing = np.full((n, len(members)), np.nan, np.float32)
    columns = {key: values[:, j].astype(np.float32) for j, key in enumerate(signals)}
    return Votes(np.array([f"c{i}" for i in range(n)]), members, np.zeros((n, len(members)), np.int32), None, nothing,
                 columns)  # fmt: skip


def batch(
    rng: np.random.Generator, n: int, *, unseen: float = 0.0
) -> tuple[NDArray[np.float64], NDArray[np.int32], Any]:
    """Return signals of a batch with its own shift, called types, and which cells are of a type never seen.

    Signals of a cell are correlated, types differ in them, and unseen cells lie 4 spreads away in all.
    """
    called = rng.integers(0, N_TYPES, n).astype(np.int32)
    of_type = np.linspace(0, 1, N_TYPES)[called, None] * np.linspace(-1, 2, len(SIGNALS))
    common = rng.normal(0, 1, (n, 1))
    values = of_type + 0.6 * common + 0.8 * rng.normal(0, 1, (n, len(SIGNALS))) + rng.normal(0, 1.5, len(SIGNALS))
    new = rng.random(n) < unseen
    return values + 4 * new[:, None], called, new


def reference(rng: np.random.Generator, *, n_folds: int = 5, n: int = 300, **options: Any) -> Belonging:
    """Return what held-out cells of some batches, one a fold, teach."""
    batches = [batch(rng, n) for _ in range(n_folds)]
    values, called = (np.concatenate([made[i] for made in batches]) for i in (0, 1))
    fold = np.repeat(np.arange(n_folds), n).astype(np.int32)
    return learn(values, called, fold, **options)


def learn(values: Any, called: Any, fold: Any, *, stratum: Any = None, heavy: Any = frozenset()) -> Belonging:
    strata = np.zeros(N_TYPES, np.int32) if stratum is None else np.asarray(stratum, np.int32)
    return learn_belonging(votes_with(values), called, dict.fromkeys("ab", fold), heavy=heavy, stratum=strata)


def p_seen(belonging: Belonging, values: NDArray[np.float64], called: NDArray[np.int32]) -> NDArray[np.float64]:
    """Return the p-values of a query."""
    units = belonging.units(votes_with(values), called)
    moved = belonging.for_query(units)
    return moved.p_seen(moved.score(units), called)


# By hand ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        pytest.param(5.0, 1 / 5, id="stranger_than_all_is_one_of_n_plus_1"),
        pytest.param(3.0, 2 / 5, id="one_as_strange_and_none_stranger"),
        pytest.param(2.0, 4 / 5, id="ties_count_as_at_least_as_strange"),
        pytest.param(0.0, 5 / 5, id="less_strange_than_all"),
        pytest.param(np.nan, np.nan, id="a_cell_without_a_score_has_none"),
        pytest.param(np.inf, 1 / 5, id="infinitely_strange"),
    ],
)
def test_p_value(score: float, expected: float) -> None:
    assert_allclose(p_values(np.array([score]), np.array([1.0, 2.0, 2.0, 3.0])), [expected])


def test_without_held_out_cells_everything_belongs() -> None:
    assert p_values(np.array([1e9]), np.zeros(0)).tolist() == [1]


def test_signals_of_a_kind_are_averaged_and_kinds_are_summed() -> None:
    signals = (("mahalanobis", "a"), ("residual", "a"), ("mahalanobis", "b"))
    units = np.array([[1.0, 2.0, 3.0], [np.nan, 2.0, 3.0], [1.0, np.nan, 3.0], [np.nan] * 3, [99.0, -99.0, 99.0]])
    # Mahalanobis (1 + 3) / 2 = 2 and residual 2; a missing member is left out; a missing kind counts as the other one.
    assert_allclose(summed(units, signals), [4, 5, 4, np.nan, CLIP[1] + CLIP[0]])
    assert np.isnan(summed(np.zeros((2, 0)), ())).all()


def test_units_are_those_of_the_called_type() -> None:
    center, spread = np.array([[1.0, 5.0]]), np.array([[2.0, 4.0]])
    units = in_units(np.array([[9.0], [9.0], [9.0], [np.nan]]), np.array([0, 1, -1, 0], np.int32), center, spread)
    assert_allclose(units, [[4], [1], [4], [np.nan]])  # without a call as of the first type


def test_shift_is_the_lower_quartile_s_drawn_to_0_for_few_cells() -> None:
    units = np.array([[1.0, np.nan], [2.0, np.nan], [3.0, np.nan], [4.0, np.nan], [5.0, np.nan]])
    assert_allclose(shift_of(units, np.array([0.5, 7.0])), [5 / (5 + SHIFT_PRIOR) * (2.0 - 0.5), 0])
    assert shift_of(units[:0], np.zeros(2)).tolist() == [0, 0]


def test_scale_and_distribution_by_hand() -> None:
    """Five cells at 0, 1, 2, 3, 4: median 2, median absolute deviation 1; lower quartile 1, in spreads -1 / 1.4826."""
    made = learn_belonging(
        votes_with(np.arange(5.0)[:, None], (("residual", "a"),)), np.zeros(5, np.int32), {"a": np.zeros(5, np.int32)},
        heavy=frozenset(), stratum=np.zeros(1, np.int32),
    )  # fmt: skip
    assert (made.signals, made.kinds) == ((("residual", "a"),), ("residual",))
    assert_allclose([made.center[0, 0], made.spread[0, 0]], [2, 1.4826])
    assert_allclose(made.base, [-1 / 1.4826])
    # The only fold lies at the base itself and is not moved.
    assert len(made.scores) == 1
    assert_allclose(made.scores[0], (np.arange(5) - 2) / 1.4826)
    votes = votes_with(np.array([[2.0], [9.0]]), (("residual", "a"),))
    units = made.units(votes, np.zeros(2, np.int32))
    assert_allclose(made.p_seen(made.score(units), np.zeros(2, np.int32)), [(1 + 3) / 6, 1 / 6])


def test_types_have_their_own_scale_where_the_kind_is_read_per_type() -> None:
    rng = np.random.default_rng(0)
    called = np.repeat([0, 1], 200).astype(np.int32)
    values = rng.normal(0, 1, (400, len(SIGNALS))) + np.where(called == 1, 5.0, 0.0)[:, None]
    fold = np.zeros(400, np.int32)
    own = learn(values, called, fold)
    j, k = SIGNALS.index(("mahalanobis", "a")), SIGNALS.index(("residual", "a"))
    assert_allclose(own.center[j, :2], [0, 5], atol=0.4)
    assert own.center[j, 2] == np.float64(np.median(values[:, j].astype(np.float32)))  # no cell was called it
    assert own.center[k, 0] == own.center[k, 1]


@pytest.mark.parametrize(
    ("heavy", "used"),
    [
        pytest.param("", SIGNALS, id="all_light"),
        pytest.param("b", SIGNALS[:4], id="a_light_member_s_signals_stand_alone"),
        pytest.param(
            "ab", [key for key in SIGNALS if key[0] in ("mahalanobis", "crowding")], id="latents_where_none_is"
        ),
    ],
)
def test_signals_of_heavy_members_count_only_where_no_light_one_gives_any(heavy: str, used: Any) -> None:
    values, called, _ = batch(np.random.default_rng(0), 200)
    made = learn(values, called, np.zeros(200, np.int32), heavy=frozenset(heavy))
    assert made.signals == tuple(used)
    votes = votes_with(values)
    nothing = np.full(200, np.nan, np.float32)
    left = {key: nothing if key[1] == "a" else column for key, column in votes.signals.items()}
    silent = Votes(votes.cell_ids, votes.members, votes.terms, None, votes.strange, left)
    assert used_signals(silent, frozenset("b")) == SIGNALS[4:], "a light member that gave none does not stand alone"


def test_constant_signal_and_signal_of_no_cell() -> None:
    values = np.zeros((50, len(SIGNALS)))
    values[:, 0] = np.arange(50)
    values[:, 1] = np.nan
    made = learn(values, np.zeros(50, np.int32), np.zeros(50, np.int32))
    assert ("class_residual", "a") not in made.signals
    assert (made.spread > 0).all()
    assert np.isfinite(made.scores[-1]).all()


# Level and power on simulated batches -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stratum", "n"),
    [
        pytest.param([0, 0, 0], 400, id="one_compartment"),
        pytest.param([0, 1, -1], 400, id="two_compartments_and_types_in_none"),
        pytest.param([0, 0, 0], 20, id="small_query"),
    ],
)
def test_seen_cells_are_called_unseen_in_a_share_of_eps(stratum: list[int], n: int) -> None:
    """50 draws of a reference and a query, every fold and the query with shifts of their own.

    The standard error over draws is below half a per cent with 400 cells, about 1 % with 20, whose shift is known badly.
    """
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(50):
        belonging = reference(rng, n=200, stratum=stratum)
        values, called, _ = batch(rng, n)
        shares.append((p_seen(belonging, values, called) <= EPS).mean())
    error = np.std(shares, ddof=1) / np.sqrt(len(shares))
    allowed = EPS if n > 100 else 0.10  # 30 of 50 parts of a shift of 1.5 spreads stay in
    assert np.mean(shares) <= allowed + 2 * error
    assert np.mean(shares) > EPS / 4, "the test would pass if nothing were ever called unseen"


def test_a_third_unseen_moves_the_yardstick_to_the_safe_side() -> None:
    rng = np.random.default_rng(1)
    false, found = [], []
    for _ in range(30):
        belonging = reference(rng, n=200)
        values, called, new = batch(rng, 400, unseen=0.33)
        unseen = p_seen(belonging, values, called) <= EPS
        false.append(unseen[~new].mean())
        found.append(unseen[new].mean())
    assert np.mean(false) <= 2 * EPS
    assert np.mean(found) > 0.9


def test_shift_of_a_large_query_is_taken_out_and_of_a_small_one_in_part() -> None:
    rng = np.random.default_rng(2)
    belonging = reference(rng)
    values, called, _ = batch(rng, 20_000)
    before = p_seen(belonging, values, called)
    move = np.array([2.0, -1.0, 1.5, 1.0, 0.5, -2.0])
    # What is left is 30 in 20,030 of the shift: some thousandths of a spread each.
    assert_allclose(p_seen(belonging, values + move, called), before, atol=0.02)
    few = slice(0, 10)
    alone, moved = p_seen(belonging, values[few], called[few]), p_seen(belonging, values[few] + 3.0, called[few])
    assert (moved <= alone).all()
    assert moved.mean() < alone.mean() - 0.2


def test_compartments_with_few_held_out_cells_are_read_against_all() -> None:
    rng = np.random.default_rng(3)
    n = MIN_STRATUM
    called = np.repeat([0, 1, 2], [n, n - 1, n]).astype(np.int32)
    values, fold = rng.normal(0, 1, (len(called), len(SIGNALS))), np.zeros(len(called), np.int32)
    made = learn(values, called, fold, stratum=[0, 1, -1])
    assert made.stratum.tolist() == [0, -1, -1]
    assert [len(scores) for scores in made.scores] == [n, len(called)]
    score = np.full(4, 1.0)
    found = made.p_seen(score, np.array([0, 1, 2, -1], np.int32))
    assert_array_equal(found[1:], p_values(score[1:], made.scores[-1]))
    assert found[0] == p_values(score[:1], made.scores[0])[0]


# What may not change them -------------------------------------------------------------------------------------------


def test_cell_without_signals_is_never_unseen() -> None:
    rng = np.random.default_rng(4)
    belonging = reference(rng)
    values, called, _ = batch(rng, 200)
    whole = p_seen(belonging, values, called)
    values = np.insert(values, 7, np.nan, axis=0)
    found = p_seen(belonging, values, np.insert(called, 7, 0))
    assert np.isnan(found[7])
    assert not found[7] <= EPS
    assert_array_equal(np.delete(found, 7), whole)


def test_nan_among_held_out_cells_is_left_out() -> None:
    rng = np.random.default_rng(5)
    values, called, _ = batch(rng, 300)
    fold = np.zeros(300, np.int32)
    more = np.concatenate([values, np.full((40, len(SIGNALS)), np.nan)])
    again = learn(more, np.append(called, np.zeros(40, np.int32)), np.zeros(340, np.int32))
    for left, right in zip(again.scores, learn(values, called, fold).scores, strict=True):
        assert_array_equal(left, right)


def test_member_that_is_silent_on_the_query_leaves_scores_on_one_scale() -> None:
    rng = np.random.default_rng(6)
    belonging = reference(rng)
    values, called, _ = batch(rng, 2000)
    silent = values.copy()
    silent[:, 4:] = np.nan  # all of member b, of which crowding is a kind of its own
    assert (p_seen(belonging, silent, called) <= EPS).mean() < 2 * EPS
    votes = votes_with(values)
    gone = Votes(votes.cell_ids, votes.members, votes.terms, None, votes.strange,
                 {key: column for key, column in votes.signals.items() if key[1] == "a"})  # fmt: skip
    assert_array_equal(stacked(gone, SIGNALS), stacked(votes_with(silent), SIGNALS))


@QUICK
@given(st.integers(0, 10_000), st.integers(0, len(SIGNALS) - 1), st.floats(0, 20))
def test_stranger_in_one_signal_is_never_less_strange(seed: int, j: int, more: float) -> None:
    rng = np.random.default_rng(seed)
    units = np.where(rng.random((20, len(SIGNALS))) < 0.2, np.nan, rng.normal(0, 4, (20, len(SIGNALS))))
    raised = units.copy()
    raised[:, j] += more
    before, after = summed(units, SIGNALS), summed(raised, SIGNALS)
    known = np.isfinite(before)
    assert_array_equal(known, np.isfinite(after))
    assert (after[known] >= before[known] - 1e-12).all()
    scores = np.sort(rng.normal(0, 4, 50))
    assert (p_values(after, scores)[known] <= p_values(before, scores)[known] + 1 / 51 + 1e-12).all()


def test_order_and_blocks_change_no_bit() -> None:
    rng = np.random.default_rng(7)
    belonging = reference(rng, stratum=[0, 1, -1])
    values, called, _ = batch(rng, 500, unseen=0.2)
    whole = p_seen(belonging, values, called)
    order = rng.permutation(500)
    assert_array_equal(p_seen(belonging, values[order], called[order]), whole[order])
    blocks = [slice(0, 1), slice(1, 120), slice(120, 500)]
    units = [belonging.units(votes_with(values[rows]), called[rows]) for rows in blocks]
    moved = belonging.for_query(np.concatenate(units))
    parts = [moved.p_seen(moved.score(u), called[rows]) for u, rows in zip(units, blocks, strict=True)]
    assert_array_equal(np.concatenate(parts), whole)
    assert_array_equal(moved.by_kind(units[1]), moved.by_kind(np.concatenate(units))[1:120])


def test_order_of_held_out_cells_and_numbers_of_folds_change_nothing() -> None:
    rng = np.random.default_rng(8)
    values, called, _ = batch(rng, 600)
    fold = rng.integers(0, 3, 600).astype(np.int32)
    made = learn(values, called, fold, stratum=[0, 1, -1])
    order = rng.permutation(600)
    again = learn(values[order], called[order], 2 - fold[order], stratum=[0, 1, -1])
    assert_array_equal(again.center, made.center)
    assert_array_equal(again.spread, made.spread)
    assert_array_equal(again.base, made.base)
    for left, right in zip(again.scores, made.scores, strict=True):
        assert_array_equal(left, right)


# One member's own score ---------------------------------------------------------------------------------------------


def test_own_p_values_are_free_of_the_batches_shifts() -> None:
    rng = np.random.default_rng(9)
    fold = np.repeat(np.arange(4), 500).astype(np.int32)
    held = (rng.normal(0, 1, 2000) + np.array([0.0, 5.0, -3.0, 9.0])[fold]).astype(np.float32)
    query = (rng.normal(0, 1, 3000) + 40).astype(np.float32)
    p = own_p_values(query, held, fold)
    assert (p <= EPS).mean() == pytest.approx(EPS, abs=0.04)
    assert p.mean() == pytest.approx(0.5, abs=0.1)
    assert own_p_values(np.append(query, np.float32(60)), held, fold)[-1] == pytest.approx(1 / 2001)


def test_own_p_values_where_nothing_is_known() -> None:
    nothing, some, fold = np.full(3, np.nan, np.float32), np.zeros(3, np.float32), np.zeros(3, np.int32)
    assert np.isnan(own_p_values(some, nothing, fold)).all()
    assert np.isnan(own_p_values(nothing, some, fold)).all()
    mixed = np.array([0, np.nan, 1], np.float32)
    assert np.isnan(own_p_values(mixed, mixed, fold)).tolist() == [False, True, False]
