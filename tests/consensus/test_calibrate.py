"""Thresholds on hand-worked tables, laws of the tiers, their error on simulated new donors, and folds."""

from __future__ import annotations

from itertools import pairwise
from math import inf, nextafter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t as student

from celljury.calibrate import (
    Threshold,
    best_threshold,
    cell_folds,
    donor_folds,
    find_threshold,
    needed,
    stratified_thresholds,
)

LAWS = settings(max_examples=150, deadline=None)
TIERS = ("exact-donor", "cluster-t", "cell")


def above(value: float) -> float:
    return nextafter(value, inf)


def held(*donors: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """Return critical values and donor codes from one list of critical values per donor."""
    return np.concatenate(donors), np.repeat(np.arange(len(donors)), [len(cells) for cells in donors])


def value(found: Threshold | None) -> float:
    """Return the threshold, infinite where the tier cannot be attained."""
    return inf if found is None else found.value


# By hand -------------------------------------------------------------------------------------------------------------

NEVER = -inf


def clean(n_donors: int, n_cells: int = 10) -> list[list[float]]:
    return [[NEVER] * n_cells] * n_donors


@pytest.mark.parametrize(
    ("tier", "alpha", "donors", "expected", "bound"),
    [
        # Losses at 0: 3, above .3: 2, above .5: 1, above .8: 0; (losses + 1) / (19 + 1) <= .10 allows one.
        pytest.param("cell", 0.10, [[0.3, 0.5, 0.8] + [NEVER] * 16], above(0.5), 2 / 20, id="cell_one_error_allowed"),
        pytest.param("cell", 0.05, [[0.3, 0.5, 0.8] + [NEVER] * 16], above(0.8), 1 / 20, id="cell_no_error_allowed"),
        pytest.param("cell", 0.05, [[0.3] + [NEVER] * 17], None, None, id="cell_18_cells_never_reach_5_percent"),
        pytest.param("cell", 0.20, [[0.3, 0.5, 0.8] + [NEVER] * 16], 0.0, 4 / 20, id="cell_all_errors_allowed_is_0"),
        pytest.param("cell", 0.10, [[0.5, 0.5] + [NEVER] * 17], above(0.5), 1 / 20, id="tied_cells_err_together"),
        pytest.param("cell", 0.05, [[1.0] + [NEVER] * 18], above(1.0), 1 / 20, id="value_above_1_calls_nothing"),
        pytest.param("cell", 0.05, [[inf] + [NEVER] * 18], None, None, id="always_wrong_cell_rules_the_tier_out"),
        pytest.param("cell", 0.05, [[-0.2] + [NEVER] * 18], 0.0, 1 / 20, id="critical_value_below_0_never_matters"),
        # (sum r + 1) / 20 <= .05 allows no error in any of 19 donors.
        pytest.param("exact-donor", 0.05, [[0.4] + [NEVER] * 9, *clean(18)], above(0.4), 1 / 20, id="exact_19_donors"),
        pytest.param("exact-donor", 0.05, clean(18), None, None, id="exact_18_donors_are_too_few"),
        # (sum r + 1) / 10 <= .12 allows sum r = .2, two of ten cells: .6 and .4 stay wrong above .2.
        pytest.param("exact-donor", 0.12, [[0.2, 0.4] + [NEVER] * 8, [0.6] + [NEVER] * 9, *clean(7)], above(0.2),
                     1.2 / 10, id="exact_counts_shares"),
        # One donor of one cell: its error is a risk of 1, a whole donor; 2 / 10 > .12.
        pytest.param("exact-donor", 0.12, [[0.2, 0.4] + [NEVER] * 8, [0.6], *clean(7)], above(0.6), 1.0 / 10,
                     id="exact_small_donor_counts_as_much"),
        pytest.param("cluster-t", 0.05, clean(7), None, None, id="cluster_7_donors_are_too_few"),
        # No error in 80 cells leaves 1 - .1^(1/80) = 2.84 % open.
        pytest.param("cluster-t", 0.05, clean(8), 0.0, 1 - 0.1 ** (1 / 80), id="cluster_without_error_has_a_floor"),
        pytest.param("cluster-t", 0.05, clean(8, 5), None, None, id="cluster_40_cells_are_too_few"),
        # r = (.1, 0 x 7): mean .0125, sd .1 / sqrt(8), t(7, .9) = 1.4149: bound .0125 + 1.4149 x .0125 = .0302.
        pytest.param("cluster-t", 0.05, [[0.5] + [NEVER] * 9, *clean(7)], 0.0, 0.0125 * (1 + 1.4149239),
                     id="cluster_one_error"),
        # A second error of the same donor doubles it, .0604; of another donor: .025 + 1.4149 x .0463 / sqrt(8) = .0482.
        pytest.param("cluster-t", 0.05, [[0.5, 0.3] + [NEVER] * 8, *clean(7)], above(0.3), 0.0125 * (1 + 1.4149239),
                     id="cluster_two_errors_of_one_donor"),
        pytest.param("cluster-t", 0.05, [[0.5] + [NEVER] * 9, [0.3] + [NEVER] * 9, *clean(6)], 0.0, 0.0481571,
                     id="cluster_two_errors_of_two_donors"),
    ],
)  # fmt: skip
def test_threshold(tier: Any, alpha: float, donors: list[list[float]], expected: float | None, bound: float) -> None:
    critical, donor = held(*donors)
    found = find_threshold(critical, donor, alpha=alpha, tier=tier)
    if expected is None:
        assert found is None
        return
    assert found is not None
    assert found.value == expected
    assert found.bound == pytest.approx(bound, abs=1e-6)
    assert (found.tier, found.alpha, found.n_donors, found.n_cells) == (tier, alpha, len(donors), len(critical))


def test_threshold_describes_its_donors() -> None:
    critical, donor = held([0.2, 0.4] + [NEVER] * 8, [0.6] + [NEVER] * 9, *clean(7))
    found = find_threshold(critical, donor, alpha=0.12, tier="exact-donor")
    assert found is not None
    assert found.mean_risk == pytest.approx(0.2 / 9)
    assert found.max_risk == pytest.approx(0.1)
    assert found.sd_risk == pytest.approx(np.std([0.1, 0.1] + [0] * 7, ddof=1))
    assert (found.scope, found.why) == ("all", "")


def test_cluster_threshold_that_passes_again_below_a_hump_is_not_taken() -> None:
    """Seven of eight donors err in 1 of 40 cells above .3, all eight at 0.

    Bounds: .021875 + 1.4149 x .0088388 / sqrt(8) = .0263 above .3, but .025 and no spread at 0.
    """
    critical, donor = held([0.3] + [NEVER] * 39, *[[0.5] + [NEVER] * 39] * 7)
    below = find_threshold(critical, donor, alpha=0.0255, tier="cluster-t")
    assert value(below) == above(0.5)
    beyond = find_threshold(critical, donor, alpha=0.0264, tier="cluster-t")
    assert beyond is not None
    assert (beyond.value, beyond.bound) == (0.0, pytest.approx(0.025))


@pytest.mark.parametrize(
    ("tier", "alpha", "n"),
    [
        pytest.param("exact-donor", 0.05, 19, id="exact_5_percent"),
        pytest.param("exact-donor", 0.1, 9, id="exact_10_percent"),
        pytest.param("exact-donor", 0.01, 99, id="exact_1_percent"),
        pytest.param("exact-donor", 0.03, 33, id="exact_3_percent"),
        pytest.param("cluster-t", 0.01, 8, id="cluster_any_alpha"),
        pytest.param("cell", 0.05, 19, id="cells"),
        pytest.param("none", 0.05, 0, id="none_needs_nothing"),
    ],
)
def test_needed(tier: Any, alpha: float, n: int) -> None:
    assert needed(tier, alpha) == n


@pytest.mark.parametrize("chunk", [1, 100, 1000])
@pytest.mark.parametrize("tier", TIERS)
def test_chunks_change_nothing(tier: Any, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    donor = rng.integers(0, 25, 2000)
    critical = np.where(rng.random(2000) < 0.2, rng.integers(0, 50, 2000) / 50, -inf)
    whole = find_threshold(critical, donor, alpha=0.06, tier=tier)
    assert whole is not None
    monkeypatch.setattr("celljury.calibrate.CHUNK_BYTES", chunk)
    assert find_threshold(critical, donor, alpha=0.06, tier=tier) == whole


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"alpha": 0.0}, "alpha: expected a share between 0 and 1, got 0.0", id="alpha_0"),
        pytest.param({"alpha": 1.0}, "alpha", id="alpha_1"),
        pytest.param({"critical": np.array([0.1, np.nan])}, "critical: .* no NaN", id="nan"),
        pytest.param({"donor": np.array([0, -1])}, "donor: expected a code not below 0", id="missing_donor"),
        pytest.param({"donor": np.array([0])}, "donor: .* for each of 2 cells", id="too_few_donors"),
    ],
)
def test_what_is_no_calibration_is_refused(changes: dict[str, Any], message: str) -> None:
    given = {"critical": np.array([0.1, 0.2]), "donor": np.array([0, 1]), "alpha": 0.05} | changes
    with pytest.raises(ValueError, match=message):
        find_threshold(**given, tier="cell")


# The best tier ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n_donors", "wanted", "tier", "why"),
    [
        pytest.param(20, "exact-donor", "exact-donor", "", id="as_asked"),
        pytest.param(20, "auto", "cluster-t", "", id="auto_is_cluster"),
        pytest.param(18, "exact-donor", "cluster-t",
                     "tier exact-donor needs at least 19 held-out donors at 5 % and has 18", id="exact_falls_one"),
        pytest.param(3, "exact-donor", "cell", "tier exact-donor needs at least 19 held-out donors at 5 % and has 3; "
                     "tier cluster-t needs at least 8 held-out donors at 5 % and has 3", id="exact_falls_two"),
        pytest.param(3, "auto", "cell", "tier cluster-t needs at least 8 held-out donors at 5 % and has 3",
                     id="auto_falls_to_cell"),
        pytest.param(20, "cell", "cell", "", id="cell_as_asked"),
        pytest.param(20, "none", "none", "", id="none_as_asked"),
        pytest.param(1, "cell", "none", "tier cell needs at least 19 held-out cells at 5 % and has 10", id="ten_cells"),
        pytest.param(0, "auto", "none", "tier cluster-t needs at least 8 held-out donors at 5 % and has 0; "
                     "tier cell needs at least 19 held-out cells at 5 % and has 0", id="no_cells"),
    ],
)  # fmt: skip
def test_best_tier(n_donors: int, wanted: Any, tier: str, why: str) -> None:
    critical, donor = held(*([0.5] + [NEVER] * 9 for _ in range(n_donors))) if n_donors else (np.zeros(0), np.zeros(0))
    found = best_threshold(critical, donor.astype(int), alpha=0.05, wanted=wanted, default=0.9)
    assert (found.tier, found.why) == (tier, why)
    if tier == "none":
        assert found.value == 0.9
        assert found.bound is None
        assert found.mean_risk == (0.0 if n_donors else None)
    else:
        assert found.value == above(0.5)


def test_without_donors_only_cells_count() -> None:
    critical = np.array([0.5] + [NEVER] * 199)
    found = best_threshold(critical, None, alpha=0.05, wanted="auto", default=0.9)
    assert (found.tier, found.n_donors, found.sd_risk, found.max_risk) == ("cell", 0, None, None)
    assert found.mean_risk == pytest.approx(1 / 200)
    assert found.why == "tier cluster-t needs cells whose donors are known"


def test_too_many_errors_are_said_with_their_number() -> None:
    critical, donor = held(*[[inf] + [NEVER] * 9] * 9)
    found = best_threshold(critical, donor, alpha=0.05, wanted="auto", default=0.9)
    assert found.why == (
        "tier cluster-t allows for 10.0 % even at its strictest threshold, more than 5 %; "
        "tier cell allows for 11.0 % even at its strictest threshold, more than 5 %"
    )
    assert found.mean_risk == pytest.approx(0.1)


def test_downgraded_threshold_keeps_its_value_and_promises_nothing() -> None:
    found = best_threshold(*held(*clean(9)), alpha=0.05, wanted="auto", default=0.9)
    less = found.downgraded("batch b is unlike the donors")
    assert (less.value, less.tier, less.bound, less.why) == (found.value, "none", None, "batch b is unlike the donors")


# Strata ----------------------------------------------------------------------------------------------------------------


def strata(*sizes: tuple[int, int, float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return critical, donor, stratum from (donors, cells in each, critical value of half of the cells) per stratum."""
    parts = [
        (np.tile([c, NEVER], n * k // 2), np.repeat(np.arange(n), k), np.full(n * k, i))
        for i, (n, k, c) in enumerate(sizes)
    ]
    critical, donor, stratum = (np.concatenate(column) for column in zip(*parts, strict=True))
    return critical, donor, stratum


def split(sizes: list[tuple[int, int, float]], wanted: Any = "auto", n_strata: int | None = None) -> Any:
    critical, donor, stratum = strata(*sizes)
    return stratified_thresholds(
        critical, donor, stratum, alpha=0.05, wanted=wanted, default=0.9, n_strata=n_strata or len(sizes)
    )


def test_stratum_gets_its_own_threshold() -> None:
    easy, hard = split([(10, 20, 0.2), (10, 40, 0.7)])
    assert (easy.value, easy.scope, easy.tier, easy.n_cells) == (above(0.2), "stratum", "cluster-t", 200)
    assert (hard.value, hard.scope, hard.tier, hard.n_cells) == (above(0.7), "stratum", "cluster-t", 400)


def test_small_strata_share_one_threshold() -> None:
    large, first, second, empty = split([(10, 40, 0.2), (10, 10, 0.5), (10, 10, 0.7)], n_strata=4)
    assert (large.scope, large.value) == ("stratum", above(0.2))
    assert first == second == empty
    assert (first.scope, first.n_donors, first.n_cells, first.value) == ("rest", 10, 200, above(0.7))
    assert first.why == (
        "too few donors with at least 20 cells of this compartment, or too many errors in it, for tier cluster-t: pooled"
        " with the other compartments like it"
    )


def test_small_strata_that_cannot_share_have_the_threshold_of_all_cells() -> None:
    """Of the rest seven donors have 40 + 18 cells and three 18, below 20: seven donors are too few for cluster-t."""
    large, few_donors, few_cells = split([(10, 40, 0.2), (7, 40, 0.5), (10, 18, 0.7)])
    assert (large.scope, large.value) == ("stratum", above(0.2))
    assert few_donors == few_cells
    assert (few_cells.scope, few_cells.n_donors, few_cells.n_cells) == ("all", 10, 860)
    assert few_cells.value == above(0.7)
    assert few_cells.why.endswith("the threshold of all cells stands in, and its condition holds over all cells only")


def test_donors_with_few_cells_of_a_stratum_do_not_count_in_it() -> None:
    critical, donor, stratum = strata((10, 40, 0.2))
    critical = np.append(critical, [0.9] * 19)
    donor = np.append(donor, [10] * 19)
    found = stratified_thresholds(critical, donor, np.append(stratum, [0] * 19), alpha=0.05, wanted="auto", default=0.9,
                                  n_strata=1)[0]  # fmt: skip
    assert (found.n_donors, found.n_cells, found.value) == (10, 400, above(0.2))
    assert value(find_threshold(critical, donor, alpha=0.05, tier="cluster-t")) == above(0.9)


def test_strata_of_cells_need_cells_only() -> None:
    own, shared = split([(2, 10, 0.2), (1, 18, 0.6)], wanted="cell")
    assert (own.value, own.scope, own.tier) == (above(0.2), "stratum", "cell")
    # 18 cells are below 20, and there are no others to pool with: all 38 cells, of which one may be wrong.
    assert (shared.scope, shared.value) == ("all", above(0.6))


def test_strata_without_a_tier_have_the_default() -> None:
    found = split([(2, 4, 0.2), (1, 4, 0.6)])
    assert {(one.tier, one.value, one.scope) for one in found} == {("none", 0.9, "all")}


def test_strata_say_why_the_tier_is_not_the_wanted_one() -> None:
    own, shared = split([(10, 40, 0.2), (3, 40, 0.6)], wanted="exact-donor")
    assert own.why == "tier exact-donor needs at least 19 held-out donors at 5 % and has 10"
    assert shared.why.endswith(own.why)
    assert shared.why.startswith("too few donors")


@pytest.mark.parametrize("bad", [[0, 2], [-2, 0], [0]])
def test_stratum_out_of_range_is_refused(bad: list[int]) -> None:
    with pytest.raises(ValueError, match="stratum: expected a code from -1 to 1 for each of 2 cells"):
        stratified_thresholds(np.zeros(2), None, np.array(bad, int), alpha=0.05, wanted="cell", default=1.0, n_strata=2)


# Laws ------------------------------------------------------------------------------------------------------------------


@st.composite
def samples(draw: st.DrawFn, *, equal: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Draw 8 to 30 donors of 6 to 20 cells, some wrong at tied critical values, a few always."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n_donors = draw(st.integers(8, 30))
    size = np.full(n_donors, draw(st.integers(6, 20))) if equal else rng.integers(6, 21, n_donors)
    donor = np.repeat(np.arange(n_donors), size)
    hard = rng.beta(0.6, draw(st.sampled_from([1.0, 3.0, 10.0])), n_donors)
    wrong = np.where(rng.random(len(donor)) < 0.01, inf, rng.integers(0, 20, len(donor)) / 20)
    return np.where(rng.random(len(donor)) < hard[donor], wrong, -inf), donor


@LAWS
@given(samples(), st.sampled_from(TIERS), st.lists(st.floats(0.01, 0.9), min_size=2, max_size=6))
def test_threshold_only_rises_as_alpha_falls(
    drawn: tuple[np.ndarray, np.ndarray], tier: Any, alphas: list[float]
) -> None:
    values = [value(find_threshold(*drawn, alpha=alpha, tier=tier)) for alpha in sorted(alphas)]
    assert all(stricter >= laxer for stricter, laxer in pairwise(values))


@LAWS
@given(samples(), st.sampled_from(TIERS), st.sampled_from([0.05, 0.1, 0.2, 0.4]), st.randoms(use_true_random=False))
def test_order_of_cells_and_names_of_donors_change_nothing(
    drawn: tuple[np.ndarray, np.ndarray], tier: Any, alpha: float, random: Any
) -> None:
    critical, donor = drawn
    rows = np.array(random.sample(range(len(donor)), len(donor)))
    names = np.array(random.sample(range(1000), len(set(donor))))
    before = find_threshold(critical, donor, alpha=alpha, tier=tier)
    assert find_threshold(critical[rows], names[donor][rows], alpha=alpha, tier=tier) == before


@LAWS
@given(samples(), st.sampled_from(["exact-donor", "cluster-t"]), st.sampled_from([0.05, 0.1, 0.2, 0.4]))
def test_duplicated_cells_are_no_evidence_where_donors_count(
    drawn: tuple[np.ndarray, np.ndarray], tier: Any, alpha: float
) -> None:
    critical, donor = drawn
    once = find_threshold(critical, donor, alpha=alpha, tier=tier)
    twice = find_threshold(np.tile(critical, 2), np.tile(donor, 2), alpha=alpha, tier=tier)
    assert value(twice) == value(once)


@LAWS
@given(samples(), st.sampled_from(TIERS), st.sampled_from([0.05, 0.1, 0.2, 0.4]))
def test_condition_holds_at_the_threshold_and_above_and_fails_next_below(
    drawn: tuple[np.ndarray, np.ndarray], tier: Any, alpha: float
) -> None:
    """Oracle: every candidate in plain Python, from the largest down."""
    critical, donor = drawn
    n = len(critical)

    def bound(at: float) -> float:
        wrong = critical >= at
        risk = np.array([wrong[donor == k].mean() for k in range(donor.max() + 1)])
        if tier == "cell":
            return (wrong.sum() + 1) / (n + 1)
        if tier == "exact-donor":
            return (risk.sum() + 1) / (len(risk) + 1)
        margin = student.ppf(0.9, len(risk) - 1) * risk.std(ddof=1) / len(risk) ** 0.5
        return max(risk.mean() + margin, 1 - 0.1 ** (1 / n))

    candidates = [above(c) for c in sorted(set(critical[np.isfinite(critical)]), reverse=True)] + [0.0]
    expected = inf
    for candidate in candidates:
        if bound(candidate) > alpha + 1e-9:
            break
        expected = candidate
    assert value(find_threshold(critical, donor, alpha=alpha, tier=tier)) == expected


@LAWS
@given(samples(equal=True), st.sampled_from([0.05, 0.1, 0.2]))
def test_donor_tiers_are_never_laxer_than_cells_where_donors_are_of_one_size(
    drawn: tuple[np.ndarray, np.ndarray], alpha: float
) -> None:
    cell = value(find_threshold(*drawn, alpha=alpha, tier="cell"))
    assert value(find_threshold(*drawn, alpha=alpha, tier="exact-donor")) >= cell


@LAWS
@given(samples(), st.sampled_from(["auto", "exact-donor", "cluster-t", "cell", "none"]), st.sampled_from([0.03, 0.1]))
def test_best_is_the_first_attained_in_order(drawn: tuple[np.ndarray, np.ndarray], wanted: Any, alpha: float) -> None:
    order = ["exact-donor", "cluster-t", "cell", "none"]
    found = best_threshold(*drawn, alpha=alpha, wanted=wanted, default=0.77)
    start = order.index("cluster-t" if wanted == "auto" else wanted)
    attained = {tier: find_threshold(*drawn, alpha=alpha, tier=tier) for tier in TIERS}
    passed = order[start : order.index(found.tier)]
    assert all(attained[tier] is None for tier in passed)
    assert len([part for part in found.why.split("; ") if part]) == len(passed)
    assert found.value == (0.77 if found.tier == "none" else value(attained[found.tier]))


# Exchangeable donors ---------------------------------------------------------------------------------------------------


def donors_of_one_law(n_donors: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw donors of 30 to 300 cells: worse donors have fewer cells, and are wrong with more support."""
    hard = rng.beta(0.6, 2.4, n_donors)
    size = np.clip(300 * (1 - hard) ** 3 * rng.uniform(0.5, 1.5, n_donors), 30, 300).astype(int)
    donor = np.repeat(np.arange(n_donors), size)
    wrong = rng.beta(2 + 6 * hard[donor], 3)
    return np.where(rng.random(len(donor)) < hard[donor], wrong, -inf), donor


def test_error_on_new_exchangeable_donors_stays_within_alpha_for_donors_but_not_for_cells() -> None:
    rng = np.random.default_rng(0)
    error: dict[str, list[float]] = {tier: [] for tier in TIERS}
    for _ in range(200):
        critical, donor = donors_of_one_law(24, rng)
        new, of = donors_of_one_law(50, rng)
        for tier, errors in error.items():
            found = best_threshold(critical, donor, alpha=0.05, wanted=tier, default=0.5)
            assert found.tier == tier
            errors.append(float(np.mean(np.bincount(of, new >= found.value) / np.bincount(of))))
    mean = {tier: np.mean(errors) for tier, errors in error.items()}
    noise = {tier: 3 * np.std(errors) / len(errors) ** 0.5 for tier, errors in error.items()}
    assert mean["exact-donor"] <= 0.05 + noise["exact-donor"]
    assert mean["cluster-t"] <= 0.05 + noise["cluster-t"]
    assert mean["cell"] > 0.08 + noise["cell"]


def test_exact_donor_uses_what_it_may_where_donors_are_many() -> None:
    """A bound that is never near alpha would be kept by calling nothing."""
    rng = np.random.default_rng(1)
    means = []
    for _ in range(40):
        found = find_threshold(*donors_of_one_law(200, rng), alpha=0.05, tier="exact-donor")
        assert found is not None
        new, of = donors_of_one_law(200, rng)
        means.append(np.mean(np.bincount(of, new >= found.value) / np.bincount(of)))
    assert 0.04 < np.mean(means) < 0.05


# Folds -----------------------------------------------------------------------------------------------------------------


def test_donor_folds_by_hand() -> None:
    """Largest first: 0 (six a) and 1 (six b) open the folds; 2 (four b) joins the a's, 3 (four a) the b's."""
    donor = np.repeat([0, 1, 2, 3], [6, 6, 4, 4])
    label = np.repeat([0, 1, 1, 0], [6, 6, 4, 4])
    fold = donor_folds(donor, label, n_folds=2, seed=0)
    by_donor = [int(fold[donor == k][0]) for k in range(4)]
    assert by_donor[0] == by_donor[2] != by_donor[1] == by_donor[3]
    assert fold.dtype == np.int32


@LAWS
@given(st.integers(1, 12), st.integers(2, 6), st.integers(0, 5), st.integers(0, 2**32))
def test_donor_folds_hold_whole_donors_whatever_the_order(n_donors: int, n_folds: int, n_types: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    donor = np.repeat(np.arange(n_donors), rng.integers(1, 30, n_donors))
    label = rng.integers(-1, n_types, len(donor))
    fold = donor_folds(donor, label, n_folds=n_folds, seed=seed)
    np.testing.assert_array_equal(donor_folds(donor * 7 + 3, label, n_folds=n_folds, seed=seed), fold)
    assert all(len(set(fold[donor == k])) == 1 for k in range(n_donors))
    assert set(fold.tolist()) == set(range(min(n_folds, n_donors)))
    rows = rng.permutation(len(donor))
    shuffled = donor_folds(donor[rows], label[rows], n_folds=n_folds, seed=seed)
    np.testing.assert_array_equal(shuffled, fold[rows])


def test_donor_folds_spread_types_better_than_chance() -> None:
    rng = np.random.default_rng(3)
    donor = np.repeat(np.arange(30), rng.integers(50, 500, 30))
    mixture = rng.dirichlet(np.full(8, 0.3), 30)
    label = np.array([rng.choice(8, p=mixture[k]) for k in donor])

    def spread(fold: np.ndarray) -> float:
        """Largest distance of a fold's share of a type from one fifth."""
        counts = np.array([[np.sum((fold == f) & (label == j)) for j in range(8)] for f in range(5)])
        return float(np.abs(counts / counts.sum(axis=0) - 0.2).max())

    chance = [spread((rng.permutation(30) % 5)[donor]) for _ in range(50)]
    assert spread(donor_folds(donor, label, n_folds=5, seed=0)) < min(chance)


def test_seed_places_equal_donors() -> None:
    donor = np.repeat(np.arange(12), 10)
    label = np.zeros(120, int)
    folds = {tuple(donor_folds(donor, label, n_folds=4, seed=seed)) for seed in range(5)}
    assert len(folds) > 1


@LAWS
@given(st.integers(2, 80), st.integers(2, 7), st.integers(1, 5), st.integers(0, 2**40))
def test_cell_folds_deal_every_type_evenly_whatever_the_order(
    n_cells: int, n_folds: int, n_types: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    label = rng.integers(0, n_types, n_cells)
    names = np.array([f"cell-{i}" for i in range(n_cells)])
    fold = cell_folds(label, n_folds=n_folds, seed=seed, names=names)
    assert fold.dtype == np.int32
    for cells in [np.ones(n_cells, bool), *(label == j for j in range(n_types))]:
        counts = np.bincount(fold[cells], minlength=n_folds)
        assert counts.max() - counts.min() <= 1
    rows = rng.permutation(n_cells)
    np.testing.assert_array_equal(cell_folds(label[rows], n_folds=n_folds, seed=seed, names=names[rows]), fold[rows])


def test_seed_deals_other_cells() -> None:
    names = np.array([f"cell-{i}" for i in range(100)])
    folds = {tuple(cell_folds(np.zeros(100, int), n_folds=5, seed=seed, names=names)) for seed in range(3)}
    assert len(folds) == 3


@pytest.mark.parametrize("n_folds", [0, 1])
def test_one_fold_holds_nothing_out(n_folds: int) -> None:
    some = np.arange(4)
    with pytest.raises(ValueError, match=f"n_folds: expected at least 2, got {n_folds}"):
        donor_folds(some, some, n_folds=n_folds, seed=0)
    with pytest.raises(ValueError, match="n_folds"):
        cell_folds(some, n_folds=n_folds, seed=0, names=some.astype(str))
