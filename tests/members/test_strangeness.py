"""How far cells lie from the reference: distances by hand, and what may not change them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from celljury.members.arrays import load_arrays, save_arrays
from celljury.members.neighbors import NeighborIndex
from celljury.members.strangeness import KINDS, RIDGE, TINY, ClassGaussians, crowding, own_spacing

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

AROUND = np.array([[1, 0], [-1, 0], [0, 1], [0, -1]], np.float32)
# Two terms of four cells around (0, 0) and (4, 0); the second of three terms has none.
POINTS = np.concatenate([AROUND, AROUND + np.float32([4, 0])])
LABEL = np.repeat([0, 2], 4).astype(np.int32)
VARIANCE = 0.5 * (1 + RIDGE)  # within terms, both ways; the ridge is a share of the mean variance


@pytest.fixture(scope="module")
def gaussians() -> ClassGaussians:
    return ClassGaussians.fit(POINTS, LABEL, n_terms=3)


def cloud(n: int, n_dims: int = 5, *, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 1, (n, n_dims)).astype(np.float32)


# Gaussians of the terms -----------------------------------------------------------------------------------------------


def test_fit_by_hand(gaussians: ClassGaussians) -> None:
    assert_allclose(gaussians.means, [[0, 0], [np.nan, np.nan], [4, 0]])
    assert_allclose(gaussians.within, np.eye(2) / VARIANCE)
    assert_allclose(gaussians.center, [2, 0])
    # Of all eight cells: (8 x .5 + 8 x 4) / 7 along x, 8 x .5 / 7 along y.
    ridge = RIDGE * 0.5
    assert_allclose(gaussians.whole, np.diag([1 / (36 / 7 + ridge), 1 / (4 / 7 + ridge)]))


@pytest.mark.parametrize(
    ("point", "nearest", "square"),
    [
        pytest.param((1, 1), 0, 2, id="one_and_one_from_the_first"),
        pytest.param((4, 3), 2, 9, id="three_from_the_last"),
        pytest.param((2, 0), 0, 4, id="of_two_as_near_the_first"),
        pytest.param((0, 0), 0, 0, id="on_a_mean"),
    ],
)
def test_distances_by_hand(gaussians: ClassGaussians, point: tuple[int, int], nearest: int, square: float) -> None:
    own, term, whole = gaussians.distances(np.array([point], np.float32))
    assert term.tolist() == [nearest]
    assert_allclose(own, [square / VARIANCE], atol=1e-12)
    ridge = RIDGE * 0.5
    assert_allclose(whole, [(point[0] - 2) ** 2 / (36 / 7 + ridge) + point[1] ** 2 / (4 / 7 + ridge)])


def test_signals_are_the_log_distance_and_the_lead_over_the_whole(gaussians: ClassGaussians) -> None:
    points = cloud(20, 2) * 3
    own, _, whole = gaussians.distances(points)
    found = gaussians.signals(points)
    assert set(found) == {"mahalanobis", "relative"} <= set(KINDS)
    assert_allclose(found["mahalanobis"], np.log(own + TINY), rtol=1e-6)
    assert_allclose(found["relative"], own - whole, rtol=1e-5)
    assert {values.dtype for values in found.values()} == {np.dtype(np.float32)}


def test_signals_stay_finite_on_a_mean_and_far_away(gaussians: ClassGaussians) -> None:
    found = gaussians.signals(np.array([[0, 0], [1e6, -1e6]], np.float32))
    for values in found.values():
        assert np.isfinite(values).all()
        assert values[1] > values[0]


def test_relative_is_free_of_what_is_far_from_everything_alike() -> None:
    """A direction that varies as much between terms as within: far along it is far from the whole as well."""
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1], 500).astype(np.int32)
    points = rng.normal(0, 1, (1000, 2)).astype(np.float32)
    points[:, 0] += 20 * label
    made = ClassGaussians.fit(points, label, n_terms=2)
    aside, between = np.array([[0, 6]], np.float32), np.array([[6, 0]], np.float32)
    far, near = made.signals(aside), made.signals(between)
    assert_allclose(far["mahalanobis"], near["mahalanobis"], atol=0.2)
    assert near["relative"] > far["relative"] + 20


@pytest.mark.parametrize(
    ("n", "n_dims"), [pytest.param(4, 30, id="fewer_cells_than_dimensions"), pytest.param(2, 3, id="one_cell_a_term")]
)
def test_few_cells_have_an_inverse(n: int, n_dims: int) -> None:
    made = ClassGaussians.fit(cloud(n, n_dims), (np.arange(n) % 2).astype(np.int32), n_terms=2)
    for values in made.signals(cloud(10, n_dims, seed=1)).values():
        assert np.isfinite(values).all()


def test_blocks_and_order_change_no_bit() -> None:
    made = ClassGaussians.fit(cloud(300), (np.arange(300) % 3).astype(np.int32), n_terms=3)
    points = cloud(500, seed=1) * 2
    whole = made.signals(points)
    for rows in (slice(0, 1), slice(1, 300), np.random.default_rng(2).permutation(500)):
        for kind, values in made.signals(points[rows]).items():
            assert_array_equal(values, whole[kind][rows], err_msg=kind)


def test_numbers_of_terms_are_only_names() -> None:
    points, label = cloud(300), (np.arange(300) % 3).astype(np.int32)
    name = np.array([3, 0, 2], np.int32)
    made = ClassGaussians.fit(points, label, n_terms=3)
    renamed = ClassGaussians.fit(points, name[label], n_terms=5)
    query = cloud(50, seed=1)
    assert_allclose(renamed.distances(query)[0], made.distances(query)[0])
    assert_array_equal(renamed.distances(query)[1], name[made.distances(query)[1]])


def test_saved_gaussians_are_the_same(gaussians: ClassGaussians, tmp_path: Path) -> None:
    save_arrays(tmp_path / "g.npz", **gaussians.arrays())
    again = ClassGaussians.from_arrays(load_arrays(tmp_path / "g.npz"))
    for name in gaussians.__slots__:
        assert_array_equal(getattr(again, name), getattr(gaussians, name))


# Neighbours -----------------------------------------------------------------------------------------------------------


def index_of(points: NDArray[np.float32], k: int) -> NeighborIndex:
    return NeighborIndex(points, np.zeros(len(points), int), n_terms=1, k=k)


def test_spacing_leaves_the_cell_itself_out() -> None:
    """On a line at 0, 1, 3, 7: the two nearest others lie (1, 3), (1, 2), (2, 3) and (4, 6) away."""
    points = np.array([[0], [1], [3], [7]], np.float32)
    assert_allclose(own_spacing(index_of(points, 3), points), [2, 1.5, 2.5, 5])


def test_spacing_with_a_single_neighbour_is_not_undefined() -> None:
    points = np.array([[0], [1], [3]], np.float32)
    assert own_spacing(index_of(points, 1), points).tolist() == [0, 0, 0]


def test_crowding_by_hand() -> None:
    """Mean distance 3 over neighbours' own spacings of 2 and 4; 3 over 1 and 1."""
    distance = np.array([[2.0, 4.0], [2.0, 4.0]])
    found = crowding(distance, np.array([[0, 1], [2, 2]]), np.array([2.0, 4.0, 1.0]))
    assert_allclose(found, np.log([3 / 3, 3 / 1]), atol=1e-6)
    assert found.dtype == np.float32


def test_crowding_is_relative_to_the_region() -> None:
    """A dense and a sparse cloud: a cell 3 spreads from either is equally strange, whatever their distances."""
    rng = np.random.default_rng(0)
    dense, sparse = rng.normal(0, 0.1, (400, 2)), rng.normal(0, 10, (400, 2)) + np.array([1000, 0])
    points = np.concatenate([dense, sparse]).astype(np.float32)
    index = index_of(points, 10)
    spacing = own_spacing(index, points).astype(np.float32)

    def mean_crowding(query: NDArray[np.float64]) -> float:
        distance, neighbor = index.search(query)
        return float(crowding(distance, neighbor, spacing.astype(np.float64)).mean())

    turn = np.linspace(0, 2 * np.pi, 40)
    ring = 5 * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    beside_dense, beside_sparse = mean_crowding(0.1 * ring), mean_crowding(10 * ring + np.array([1000, 0]))
    assert beside_dense == pytest.approx(beside_sparse, abs=0.3)
    assert beside_dense > 1
    assert abs(mean_crowding(rng.normal(0, 0.1, (200, 2)))) < 0.3


def test_crowding_on_top_of_duplicates_is_finite() -> None:
    points = np.zeros((20, 2), np.float32)
    index = index_of(points, 5)
    distance, neighbor = index.search(np.array([[0, 0], [1, 0]], np.float32))
    found = crowding(distance, neighbor, own_spacing(index, points))
    assert np.isfinite(found).all()
    assert found[1] > found[0]
