"""Metrics on a toy ontology worked by hand, laws, and scikit-learn as the oracle where it knows the metric."""

from __future__ import annotations

from itertools import pairwise, permutations
from math import log2
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, roc_auc_score, roc_curve
from sklearn.metrics import log_loss as sklearn_log_loss

from celljury import metrics, selective
from celljury.intervals import Resampling, estimate, interval
from celljury.metrics import MATCHES, METRICS, Judged, judge, match_kinds, per_type
from celljury.ontology.load import ontology_from_edges
from celljury.selective import Tally
from celljury.unseen import NAMED, Belongs, belonging, judge_node

if TYPE_CHECKING:
    from celljury.ontology.graph import CellOntology

QUICK = settings(max_examples=100, deadline=None)


def make_toy() -> CellOntology:
    r"""Nine terms with a diamond; bits are log2(9 / (terms at or below)).

    ::

              0 (0)
             /     \
        1 (.36)   7 (2.17)
       /   |   \   /
    2(1.17) 6   8          6, 8: 3.17
     /    \
    3     4                both 2.17
     \    /
       5                   3.17
    """
    parents = {"1": ["0"], "2": ["1"], "3": ["2"], "4": ["2"], "5": ["3", "4"], "6": ["1"], "7": ["0"], "8": ["1", "7"]}
    return ontology_from_edges({name: f"term {name}" for name in "012345678"}, parents)


TOY = make_toy()
BITS = {name: log2(9 / n) for name, n in zip("012345678", (9, 7, 4, 2, 2, 1, 1, 2, 1), strict=True)}


def indices(names: str) -> np.ndarray:
    """Terms of the toy ontology, one character each; ``-`` = none."""
    return np.array([-1 if name == "-" else TOY.index(name) for name in names], np.int32)


def judged(call: str, truth: str) -> Judged:
    return judge(indices(call), indices(truth), TOY)


#        call  truth
# exact   5     5
# parent  3     5    holds
# grandp. 2     5    holds, no category of its own
# sibling 6     2    wrong
# child   5     3    truth coarser
# none    -     8
# sibling 3     4    wrong
# exact   8     8
CALL, TRUTH = "53265-38", "55523848"
TABLE = judged(CALL, TRUTH)


def test_bits_are_those_of_the_drawing():
    np.testing.assert_allclose([TOY.ic[TOY.index(name)] for name in BITS], list(BITS.values()))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("coverage", 7 / 8),
        ("accuracy", 2 / 8),
        ("at_or_below", 4 / 8),
        ("covered_error", 3 / 7),
        ("covered_error_lenient", 2 / 7),
        ("truth_coarser", 1 / 7),
        ("unconditional_error", 3 / 8),
        # exact 1, then 2.17 / 3.17, 1.17 / 3.17, child 1, exact 1, wrong and none 0
        ("information_kept", (3 + (BITS["3"] + BITS["2"]) / BITS["5"]) / 8),
        ("information_kept_labelled", (3 + (BITS["3"] + BITS["2"]) / BITS["5"]) / 7),
        # shared 5 3 2 1 3 0 2 3, of the call 5 3 2 2 5 0 3 3, of the truth 5 5 5 2 3 3 3 3
        ("hierarchical_precision", 19 / 23),
        ("hierarchical_recall", 19 / 29),
        ("hierarchical_f", 2 * 19 / (23 + 29)),
        # F1 of 5: 2 / (3 + 2); of 8: 2 / (2 + 1); of 2, 3 and 4: 0
        ("macro_f1", (2 / 5 + 2 / 3) / 5),
    ],
)  # fmt: skip
def test_hand_worked_table(name, value):
    metric, _ = METRICS[name]
    assert float(metric(TABLE, None)) == pytest.approx(value)


def test_match_kinds_of_the_table():
    kinds = [MATCHES[kind] for kind in match_kinds(TABLE, TOY)]
    assert kinds == ["exact", "parent", "none", "sibling", "child", "no call", "sibling", "exact"]


def test_match_prefers_parent_to_sibling():
    # Redundant edges: b is a child of a and of the root, so a is its parent and its sibling at once.
    ontology = ontology_from_edges({"r": "r", "a": "a", "b": "b"}, {"a": ["r"], "b": ["a", "r"]})
    found = judge(ontology.indices(["a"]), ontology.indices(["b"]), ontology)
    assert MATCHES[match_kinds(found, ontology)[0]] == "parent"


def test_per_type_counts():
    found = per_type(TABLE)
    by_name = {TOY.ids[term]: i for i, term in enumerate(found.term)}
    five = by_name["5"]
    assert (found.n[five], found.n_called[five], found.n_right[five]) == (3, 2, 1)
    assert (found.recall[five], found.precision[five]) == (pytest.approx(1 / 3), pytest.approx(1 / 2))
    assert np.isnan(found.precision[by_name["4"]])
    assert found.f1[by_name["4"]] == 0


def test_root_as_call_holds_and_says_nothing():
    found = judged("0", "5")
    assert float(metrics.covered_error(found)) == 0
    assert float(metrics.information_kept(found)) == 0
    assert np.isnan(metrics.hierarchical_precision(found))


def test_root_as_truth_has_nothing_to_keep():
    found = judged("50", "00")
    assert found.kept.tolist() == [1, 1]


def test_nothing_labelled_gives_nan_not_zero():
    found = judged("--", "58")
    assert np.isnan(metrics.covered_error(found))
    assert float(metrics.accuracy(found)) == 0


@pytest.mark.parametrize("name", METRICS)
def test_weights_are_repeats(name):
    metric, _ = METRICS[name]
    repeated = judged(CALL[0] * 3 + CALL[3] + CALL[5] * 2, TRUTH[0] * 3 + TRUTH[3] + TRUTH[5] * 2)
    weights = np.array([[3, 0, 0, 1, 0, 2, 0, 0], [1] * 8], float)
    np.testing.assert_allclose(metric(TABLE, weights), [metric(repeated, None), metric(TABLE, None)])


PAIRS = st.lists(st.tuples(st.integers(-1, 8), st.integers(0, 8)), min_size=1, max_size=12)


@QUICK
@given(PAIRS, st.randoms())
def test_order_of_cells_changes_nothing(pairs, random):
    shuffled = random.sample(pairs, len(pairs))
    for metric, _ in METRICS.values():
        one, other = (
            float(metric(judge(*np.array(rows, np.int32).T, TOY), None)) for rows in (pairs, shuffled)
        )  # fmt: skip
        assert one == pytest.approx(other, nan_ok=True)


@QUICK
@given(st.lists(st.integers(0, 7), min_size=1, max_size=10))
def test_perfect_calls_give_one_everywhere(truth):
    # All terms but the root, which is the last: of it nothing can be known.
    rows = np.array(truth, np.int32)
    for name, (metric, _) in METRICS.items():
        worth = 0 if "error" in name or name == "truth_coarser" else 1
        assert float(metric(judge(rows, rows, TOY), None)) == pytest.approx(worth), name


@QUICK
@given(PAIRS)
def test_macro_f1_is_scikit_learns(pairs):
    call, truth = np.array(pairs, np.int32).T
    want = f1_score(truth, call, labels=np.unique(truth), average="macro", zero_division=0)
    assert float(metrics.macro_f1(judge(call, truth, TOY))) == pytest.approx(want)


@QUICK
@given(PAIRS)
def test_strict_error_is_lenient_error_and_coarse_truth(pairs):
    found = judge(*np.array(pairs, np.int32).T, TOY)
    assume(found.labelled.any())
    strict, lenient = metrics.covered_error(found), metrics.covered_error(found, lenient=True)
    assert float(strict) == pytest.approx(float(lenient + metrics.truth_coarser(found)))


# Scores -----------------------------------------------------------------------------------------------------------


def amounts(score, right):
    return Tally.of(np.array(score, float), np.array(right, bool)).split()


SCORE, RIGHT = [0.9, 0.8, 0.8, 0.5], [True, False, True, True]


@pytest.mark.parametrize(
    ("found", "value"),
    [
        pytest.param(selective.auroc(*amounts(SCORE, RIGHT)), (1 + 0.5 + 0) / 3, id="auroc_counts_a_tie_half"),
        # one error among k = 1 .. 4: 0, 1/2 on the mean of both orders, 1, 1
        pytest.param(selective.aurc(*amounts(SCORE, RIGHT)), (0 + 0.5 / 2 + 1 / 3 + 1 / 4) / 4, id="aurc"),
        pytest.param(selective.best_aurc(*amounts(SCORE, RIGHT)), (1 / 4) / 4, id="best_aurc_has_the_error_last"),
        pytest.param(selective.review_yield(*amounts(SCORE, RIGHT), share=0.25), 0, id="lowest_cell_is_right"),
        pytest.param(selective.review_yield(*amounts(SCORE, RIGHT), share=0.5), 0.5, id="half_of_a_tie"),
        pytest.param(selective.review_yield(*amounts(SCORE, RIGHT), share=0.75), 1, id="three_quarters_hold_it"),
    ],
)
def test_hand_worked_scores(found, value):
    assert float(found) == pytest.approx(value)


def test_risk_coverage_steps_over_distinct_scores():
    coverage, risk = selective.risk_coverage(*amounts(SCORE, RIGHT))
    np.testing.assert_allclose(coverage, [1 / 4, 3 / 4, 1])
    np.testing.assert_allclose(risk, [0, 1 / 3, 1 / 4])


def test_information_aurc_by_hand():
    # A right call of 1 bit before a wrong one of 1 bit: no risk, then int_1^2 (c - 1) / c dc = 1 - ln 2, over 2 bits.
    found = selective.information_aurc(np.array([0.0, 1.0]), np.array([1.0, 0.0]))
    assert float(found) == pytest.approx((1 - np.log(2)) / 2)


def test_information_aurc_does_not_depend_on_the_unit():
    right, wrong = np.array([0.2, 1.0, 0.7]), np.array([0.5, 0.1, 0.3])
    one, other = selective.information_aurc(right, wrong), selective.information_aurc(9 * right, 9 * wrong)
    assert float(one) == pytest.approx(float(other))


def test_calibration_error_by_hand():
    # Two bins: mean .2, none right; mean .9, one of two right.
    score, right = [0.1, 0.3, 0.9, 0.9], [False, False, True, False]
    tally = Tally.of(np.array(score), np.array(right))
    yes, no = tally.split()
    bins = selective.equal_mass_bins(yes + no, n_bins=2)
    assert bins.tolist() == [0, 0, 1]
    assert float(selective.calibration_error(tally.score, yes, no, bins)) == pytest.approx(0.5 * 0.2 + 0.5 * 0.4)


def test_equal_scores_share_a_bin():
    assert selective.equal_mass_bins(np.array([5.0, 90.0, 5.0]), n_bins=10).tolist() == [0, 5, 9]


@pytest.mark.parametrize(
    ("positive", "negative", "value"),
    [
        pytest.param([0.9, 0.8], [0.1, 0.2], 0.0, id="apart"),
        pytest.param([0.9, 0.1], [0.5, 0.05], 0.5, id="last_positive_below_one_negative"),
        pytest.param([0.5], [0.5, 0.5], 1.0, id="all_tied"),
    ],
)
def test_false_positives_at_95_percent(positive, negative, value):
    score, kind = [*positive, *negative], [True] * len(positive) + [False] * len(negative)
    assert float(selective.fpr_at_tpr(*amounts(score, kind))) == value


SCORED = st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=30)


@QUICK
@given(SCORED)
def test_scores_agree_with_scikit_learn(rows):
    score, outcome = np.array(rows, float).T
    score, outcome = score / 5, outcome.astype(bool)
    assume(outcome.any() and not outcome.all())
    yes, no = Tally.of(score, outcome).split()
    assert float(selective.auroc(yes, no)) == pytest.approx(roc_auc_score(outcome, score))
    p = np.clip(score, selective.CLIP, 1 - selective.CLIP)
    distinct = Tally.of(score, outcome).score
    assert float(selective.log_loss(distinct, yes, no)) == pytest.approx(sklearn_log_loss(outcome, p))
    false, true, _ = roc_curve(outcome, score)
    assert float(selective.fpr_at_tpr(yes, no)) == pytest.approx(false[true >= 0.95 - 1e-12].min())


@QUICK
@given(st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=1, max_size=6))
def test_aurc_is_the_mean_over_orders_of_ties(rows):
    def area(order):
        errors = np.cumsum([not right for _, right in order])
        return float((errors / np.arange(1, len(order) + 1)).mean())

    orders = [o for o in permutations(rows) if all(a[0] >= b[0] for a, b in pairwise(o))]
    want = np.mean([area(order) for order in orders])
    assert float(selective.aurc(*amounts(*zip(*rows, strict=True)))) == pytest.approx(want)


@QUICK
@given(SCORED)
def test_aurc_lies_between_errors_last_and_errors_first(rows):
    right, wrong = amounts(*zip(*rows, strict=True))
    area, best = float(selective.aurc(right, wrong)), float(selective.best_aurc(right, wrong))
    n, n_wrong = right.sum() + wrong.sum(), int(wrong.sum())
    k = np.arange(1, n + 1)
    worst = float((np.minimum(k, n_wrong) / k).mean())
    assert best - 1e-9 <= area <= worst + 1e-9


def test_many_scores_are_rounded(monkeypatch):
    monkeypatch.setattr(selective, "MAX_SCORES", 2)
    tally = Tally.of(np.array([0.12341, 0.12342, 0.5]), np.array([True, False, True]))
    np.testing.assert_allclose(tally.score, [0.1234, 0.5])
    assert [part.tolist() for part in tally.split()] == [[1, 1], [1, 0]]


# Unseen types -----------------------------------------------------------------------------------------------------


def test_belonging_on_the_toy():
    # Reference: 3 and 6. 5 is below 3; 2 is only above it; 4 is beside it, though 5 lies below both; 7 meets at the root.
    found = belonging(indices("532478"), indices("36"), TOY)
    kinds = [Belongs(kind).name for kind in found.kind]
    assert kinds == ["SEEN", "SEEN", "OPEN", "UNSEEN", "UNSEEN", "UNSEEN"]
    assert [TOY.ids[i] for i in found.best] == ["3", "3", "2", "2", "0", "1"]


@pytest.mark.parametrize(
    ("node", "truth", "best", "named", "kept"),
    [
        pytest.param("2", "4", "2", "right", 1.0, id="best_node"),
        pytest.param("1", "4", "2", "right", BITS["1"] / BITS["2"], id="higher_node_keeps_less"),
        pytest.param("6", "4", "2", "wrong", 0.0, id="another_branch"),
        pytest.param("-", "4", "2", "root only", 0.0, id="plain_unseen"),
        pytest.param("0", "4", "2", "root only", 0.0, id="root_is_as_plain"),
        pytest.param("-", "7", "0", "root only", 1.0, id="nothing_could_be_named"),
    ],
)
def test_named_node(node, truth, best, named, kept):
    kind, part = judge_node(indices(node), indices(truth), indices(best), TOY)
    assert (NAMED[kind[0]], part[0]) == (named, pytest.approx(kept))


# Intervals --------------------------------------------------------------------------------------------------------


def mean_of(column):
    return lambda weights: {"mean": metrics.ratio(weights @ column, weights.sum(axis=-1))}


def test_interval_over_cells_has_the_length_of_the_binomial():
    row = np.repeat([0, 1], [300, 100])
    made = estimate(mean_of(np.array([0.0, 1.0])), row, 2, Resampling.of(None, 400), n=400)["mean"]
    assert made.value == 0.25
    assert made.high - made.low == pytest.approx(2 * 1.96 * np.sqrt(0.25 * 0.75 / 400), rel=0.12)


def test_interval_over_donors_is_wide_where_donors_differ_and_none_where_they_agree():
    donor = np.repeat(np.arange(10), 40)
    apart = (donor < 5).astype(np.int64)
    alike = np.tile([0, 1], 200)
    column = np.array([0.0, 1.0])
    wide = estimate(mean_of(column), apart, 2, Resampling.of(donor, 400), n=400)["mean"]
    none = estimate(mean_of(column), alike, 2, Resampling.of(donor, 400), n=400)["mean"]
    assert wide.high - wide.low > 0.4
    assert (none.low, none.high) == (0.5, 0.5)


def test_one_donor_means_cells():
    assert Resampling.of(np.zeros(5, np.int64), 5).over == "cells"
    assert Resampling.of(np.array([0, 0, 1, 1, 1]), 5).over == "donors"


def test_draws_are_seeded_and_complete():
    row = np.array([0, 0, 1, 2, 2, 2])
    drawn = [np.concatenate(list(Resampling.of(None, 6, n_draws=50).weights(row, 3))) for _ in range(2)]
    np.testing.assert_array_equal(*drawn)
    assert drawn[0].shape == (50, 3)
    assert (drawn[0].sum(axis=1) == 6).all()


def test_donors_are_drawn_whole():
    # Donor 0 has rows 0 0, donor 1 has rows 1 1 1.
    resampling = Resampling.of(np.array([0, 0, 1, 1, 1]), 5, n_draws=40)
    (drawn,) = resampling.weights(np.array([0, 0, 1, 1, 1]), 2)
    assert {tuple(row) for row in drawn.tolist()} == {(4, 0), (2, 3), (0, 6)}


def test_interval_of_nothing_is_nan():
    assert np.isnan(interval(np.array([np.nan, np.nan]), 0.95)).all()
    made = estimate(mean_of(np.zeros(0)), np.zeros(0, np.int64), 0, Resampling.of(None, 0), n=0)["mean"]
    assert np.isnan([made.value, made.low, made.high]).all()
