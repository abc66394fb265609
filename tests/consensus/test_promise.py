"""The promise is read as prose here; batches are judged on hand-worked intervals."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from celljury.calibrate import Threshold, best_threshold
from celljury.promise import check_exchangeable, promise

# What a promise may not leave out -------------------------------------------------------------------------------------


def threshold(tier: Any, n_donors: int, **changes: Any) -> Threshold:
    fields: dict[str, Any] = {
        "value": 0.8, "tier": tier, "alpha": 0.05, "n_donors": n_donors, "n_cells": 2400, "mean_risk": 0.031,
        "sd_risk": 0.02, "max_risk": 0.112, "bound": None if tier == "none" else 0.0493,
    }  # fmt: skip
    return Threshold(**fields | changes)


def test_exact_donor() -> None:
    assert promise(threshold("exact-donor", 24), unit="donor", eps=0.05) == (
        "Promised: in a new donor, at most 5 % of the cells get a wrong call, on average over new donors. "
        "Wrong means that the cell's true type is neither the called term nor a kind of it; a cell without a call is not "
        "wrong. "
        "This is exact as long as new donors come from the same source as the 24 that were held out (left out of training, "
        "then called); there, 3.1 % of the cells were wrong on average, and 11.2 % in the worst donor. "
        "Not promised: that every single donor, or every cell type, stays below 5 %. The average is also one over "
        "references drawn like this one. "
        "Cells of types that the reference knows are called unseen by mistake in about 5 % of cases. "
        "How many cells of unknown types are missed is estimated by leaving known types out, and never bounded."
    )


def test_cluster_t() -> None:
    assert promise(threshold("cluster-t", 12), unit="batch") == (
        "Aimed at: in a new batch, at most 5 % of the cells get a wrong call, on average over new batches. "
        "Wrong means that the cell's true type is neither the called term nor a kind of it; a cell without a call is not "
        "wrong. "
        "This is approximate: 12 batches were held out (left out of training, then called); there, 3.1 % of the cells were "
        "wrong on average, and 11.2 % in the worst batch. A margin for the differences between them was added, 4.93 % with "
        "it. "
        "Not promised: that the average stays below 5 % for certain, or that every single batch, or every cell type, does. "
        "An exact promise needs at least 19 batches and a stricter threshold (tier exact-donor). "
        "Whether a cell's type is in the reference at all was not tested."
    )


def test_cell_with_three_donors() -> None:
    why = "tier cluster-t needs at least 8 held-out donors at 5 % and has 3"
    assert promise(threshold("cell", 3, why=why), unit="donor") == (
        "Promised: of cells like the 2,400 that were held out (left out of training, then called), at most 5 % get a wrong "
        "call, on average. "
        "Wrong means that the cell's true type is neither the called term nor a kind of it; a cell without a call is not "
        "wrong. "
        "Not promised: anything about a new donor, whose cells can be wrong more often. The held-out cells come from 3 "
        "donors. "
        "A promise about new donors needs at least 8 of them held out (approximate) or 19 (exact); here there were 3. "
        "Why this one: tier cluster-t needs at least 8 held-out donors at 5 % and has 3. "
        "Whether a cell's type is in the reference at all was not tested."
    )


def test_none() -> None:
    found = best_threshold(np.full(10, -np.inf), None, alpha=0.05, wanted="cell", default=0.9)
    assert promise(found, unit=None) == (
        "No error rate is promised: tier cell needs at least 19 held-out cells at 5 % and has 10. "
        "A call's support is a share of votes or of pooled probability, not a probability of being right. "
        "Of 10 held-out cells (left out of training, then called) 0 % got a wrong call. "
        "A promise about new donors needs at least 8 of them held out (approximate) or 19 (exact); here none is known. "
        "Whether a cell's type is in the reference at all was not tested."
    )


@pytest.mark.parametrize("tier", ["exact-donor", "cluster-t", "cell", "none"])
@pytest.mark.parametrize("unit", ["donor", "batch", None])
def test_every_promise_says_what_is_not_promised(tier: Any, unit: Any) -> None:
    text = promise(threshold(tier, 20), unit=unit, eps=0.05)
    assert re.search(r"Not promised|No error rate is promised", text)
    assert ("Promised" in text or "Aimed at" in text) == (tier != "none")
    assert "never bounded" in text
    assert ("donor" in text.replace("exact-donor", "")) == (unit != "batch")
    assert "None" not in text


def test_needed_donors_follow_alpha() -> None:
    text = promise(threshold("cell", 3, alpha=0.01), unit="donor")
    assert "at least 8 of them held out (approximate) or 99 (exact)" in text


@pytest.mark.parametrize(
    ("scope", "said"),
    [
        pytest.param("stratum", "This speaks of cells in this compartment", id="own"),
        pytest.param("rest", "too few cells of their own, taken together", id="rest"),
    ],
)
def test_promise_for_a_stratum_says_that_it_is_one(scope: Any, said: str) -> None:
    text = promise(threshold("cluster-t", 12, scope=scope), unit="donor")
    assert said in text
    assert "not of all compartments at once" in text
    assert "compartment" not in promise(threshold("cluster-t", 12), unit="donor")


# Exchangeability ------------------------------------------------------------------------------------------------------

# Five donors: mean 3, sd sqrt(2.5), t(4, .995) = 4.6041: 3 +- 4.6041 x 1.5811 x sqrt(1.2) = 3 +- 7.9745.
DONORS = np.array([1.0, 2.0, 3.0, 4.0, 5.0])


@pytest.mark.parametrize(
    ("value", "ok"),
    [
        pytest.param(3.0, True, id="at_the_mean"),
        pytest.param(10.97, True, id="just_inside_above"),
        pytest.param(10.98, False, id="just_outside_above"),
        pytest.param(-4.97, True, id="just_inside_below"),
        pytest.param(-4.98, False, id="just_outside_below"),
    ],
)
def test_interval_by_hand(value: float, *, ok: bool) -> None:
    found = check_exchangeable({"log counts": DONORS}, {"log counts": np.array([value])}, level=0.01)
    assert found.checked
    assert found.ok.tolist() == [ok]
    assert found.unlike.tolist() == [not ok]
    assert found.high[0] == pytest.approx(3 + 7.9745, abs=1e-4)
    assert (found.least[0], found.most[0]) == (1.0, 5.0)


def test_level_is_shared_out_over_statistics() -> None:
    """With two statistics t(4, .9975) = 5.5976 instead of 4.6041: 10.98 lies inside."""
    found = check_exchangeable({"a": DONORS, "b": DONORS}, {"a": np.array([10.98]), "b": np.array([3.0])}, level=0.01)
    assert found.ok.all()
    assert found.high == pytest.approx([3 + 5.5976 * 2.5**0.5 * 1.2**0.5] * 2, abs=1e-3)


def test_sentences_name_statistics_values_and_range() -> None:
    calibration = {"median counts per cell": 1000 * DONORS, "mean top probability": DONORS / 10}
    query = {"median counts per cell": np.array([3000.0, 90000.0]), "mean top probability": np.array([0.3, 0.3])}
    found = check_exchangeable(calibration, query)
    assert found.lying_outside(0) == ()
    assert found.lying_outside(1) == ("median counts per cell",)
    (sentence,) = found.sentences(["first", "second"])
    assert sentence == (
        "Batch 'second' is unlike the held-out donors: median counts per cell is 90,000, in 5 donors 1,000 to 5,000"
        " (expected of a further donor: -6,695 to 12,695). No error rate is promised for its cells."
    )
    text = promise(threshold("cluster-t", 12), unit="donor", downgraded=found.sentences(["first", "second"]))
    assert sentence in text


@pytest.mark.parametrize("n_donors", [0, 1, 2])
def test_too_few_donors_check_nothing_and_say_so(n_donors: int) -> None:
    found = check_exchangeable({"a": DONORS[:n_donors]}, {"a": np.array([3.0, 1e9])})
    assert not found.checked
    assert found.ok.tolist() == [False, False]
    assert found.unlike.tolist() == [False, False]
    (sentence,) = found.sentences(["x", "y"])
    assert "cannot be checked" in sentence
    assert sentence.endswith(f"that needs at least 3 of them, and the calibration has {n_donors}.")


@pytest.mark.parametrize(
    ("value", "ok"),
    [
        pytest.param(0.1 + 0.2, True, id="last_digits_do_not_count"),
        pytest.param(0.31, False, id="any_other_value_is_outside"),
    ],
)
def test_statistic_that_is_equal_in_all_donors(value: float, *, ok: bool) -> None:
    found = check_exchangeable({"share": np.full(5, 0.3)}, {"share": np.array([value])})
    assert found.ok.tolist() == [ok]


@pytest.mark.parametrize(
    ("calibration", "query", "level", "message"),
    [
        pytest.param({"a": DONORS}, {"b": DONORS}, 0.01, "expected the statistics", id="other_names"),
        pytest.param({}, {}, 0.01, "expected the statistics", id="no_statistic"),
        pytest.param(
            {"a": DONORS}, {"a": np.array([np.nan])}, 0.01, r"finite numbers, got others in \['a'\]", id="nan"
        ),
        pytest.param({"a": DONORS, "b": DONORS[:3]}, {"a": DONORS, "b": DONORS}, 0.01, "one number each", id="ragged"),
        pytest.param({"a": DONORS}, {"a": DONORS}, 0.0, "level: expected a share", id="level_0"),
    ],
)
def test_what_cannot_be_compared_is_refused(calibration: Any, query: Any, level: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_exchangeable(calibration, query, level=level)


@settings(max_examples=100, deadline=None)
@given(st.integers(3, 30), st.integers(1, 6), st.integers(0, 2**32), st.floats(0.001, 1000), st.floats(-1000, 1000))
def test_units_and_orders_change_nothing(n_donors: int, n: int, seed: int, scale: float, shift: float) -> None:
    rng = np.random.default_rng(seed)
    calibration = {f"s{j}": rng.normal(size=n_donors) for j in range(n)}
    query = {f"s{j}": rng.normal(scale=5, size=4) for j in range(n)}
    found = check_exchangeable(calibration, query)
    order = rng.permutation(n_donors)
    moved = check_exchangeable(
        {name: (scale * values + shift)[order] for name, values in reversed(calibration.items())},
        {name: scale * values + shift for name, values in query.items()},
    )
    np.testing.assert_array_equal(moved.outside[:, ::-1], found.outside)


def test_donors_of_the_same_law_are_found_outside_as_often_as_the_level_says() -> None:
    rng = np.random.default_rng(0)
    names = ("a", "b", "c")
    outside = []
    for _ in range(2000):
        calibration = {name: rng.normal(size=10) for name in names}
        outside.append(check_exchangeable(calibration, {name: rng.normal(size=1) for name in names}, level=0.1).unlike)
    # Bonferroni over three independent statistics: 1 - (1 - .1 / 3)^3 = .0967; 2000 draws are within .02 of it.
    assert 0.077 < np.mean(outside) < 0.117


def test_a_difference_too_small_to_matter_is_inside():
    donors = {"depth": np.array([2.0, 2.001, 1.999, 2.0])}
    query = {"depth": np.array([2.05, 2.2])}
    assert check_exchangeable(donors, query).outside.ravel().tolist() == [True, True]
    assert check_exchangeable(donors, query, tolerance={"depth": 0.1}).outside.ravel().tolist() == [False, True]
