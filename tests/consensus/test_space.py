"""The small space of figures and review groups: cells alike lie together, and a cell's place is its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from celljury.errors import UnreadableFileError
from celljury.members.base import Block, Reference
from celljury.members.normalize import gene_shares
from celljury.space import CELLS_PER_CLUSTER, MAX_CLUSTERS, N_COMPONENTS, Space

if TYPE_CHECKING:
    from pathlib import Path


def block_of(counts: Any, *, present: Any = None) -> Block:
    counts = csr_matrix(counts, dtype=np.float32)
    n_cells, n_genes = counts.shape
    present = np.ones(n_genes, bool) if present is None else present
    return Block(counts, tuple(f"G{i}" for i in range(n_genes)), present, np.zeros(n_cells, np.int32), ("all",))


def fitted(counts: Any, *, seed: int = 0) -> Space:
    block = block_of(counts)
    reference = Reference(block, np.arange(block.n_cells, dtype=np.int32) % 2, ("CL:1", "CL:2"))
    return Space.fit(reference, share=gene_shares(block.counts), seed=seed)


@pytest.fixture(scope="module")
def counts(toy_adata: Any) -> np.ndarray:
    """300 cells x 100 genes; cell i is of type i mod 3."""
    return toy_adata(n_cells=300, n_genes=100).X.toarray()


def test_cells_of_one_type_share_a_cluster(counts: np.ndarray) -> None:
    space = fitted(counts)
    sample = block_of(counts)
    found = space.for_query(sample, seed=0)
    assert len(found.centers) == 300 // CELLS_PER_CLUSTER
    cluster = found.cluster(found.project(sample))
    assert cluster.dtype == np.int32
    types = [set(cluster[kind::3].tolist()) for kind in range(3)]
    assert not types[0] & types[1]
    assert not types[1] & types[2]
    assert not types[0] & types[2]


def test_a_cell_s_place_depends_on_that_cell_alone(counts: np.ndarray) -> None:
    space = fitted(counts)
    whole = space.project(block_of(counts))
    assert whole.dtype == np.float32
    assert whole.shape == (300, N_COMPONENTS)
    np.testing.assert_allclose(space.project(block_of(counts[40:43])), whole[40:43], rtol=1e-6, atol=1e-6)


def test_depth_of_sequencing_moves_no_cell(counts: np.ndarray) -> None:
    space = fitted(counts)
    np.testing.assert_allclose(
        space.project(block_of(3 * counts)), space.project(block_of(counts)), rtol=1e-4, atol=1e-4
    )


def test_a_gene_that_the_query_lacks_is_taken_for_its_mean(counts: np.ndarray) -> None:
    # Genes 60 to 99 mark no type: without them the cells lie nearer to where they were than to those of other types.
    space = fitted(counts)
    present = np.arange(100) < 60
    whole = space.project(block_of(counts))
    without = space.project(block_of(counts * present, present=present))
    centers = np.stack([whole[kind::3].mean(axis=0) for kind in range(3)])
    nearest = ((without[:, None, :] - centers[None]) ** 2).sum(axis=2).argmin(axis=1)
    assert nearest.tolist() == [i % 3 for i in range(300)]
    # Taking them for zero instead would shift all cells by that much.
    shift = np.linalg.norm(space.mean[~present] @ space.components[:, ~present].T)
    assert np.linalg.norm((without - whole).mean(axis=0)) < 0.2 * shift


@pytest.mark.parametrize(
    ("n_cells", "n_clusters"),
    [
        pytest.param(1, 1, id="one_cell"),
        pytest.param(99, 1, id="fewer_than_two_clusters"),
        pytest.param(100, 2, id="two_clusters"),
        pytest.param(5000, MAX_CLUSTERS, id="never_more_than_the_most"),
    ],
)
def test_clusters_follow_cells(n_cells: int, n_clusters: int, counts: np.ndarray) -> None:
    many = np.random.default_rng(0).poisson(counts[np.arange(n_cells) % 300] + 0.1)
    found = fitted(counts).for_query(block_of(many), seed=0)
    assert found.centers.shape == (n_clusters, N_COMPONENTS)


def test_cells_that_are_all_alike_are_one_cluster_without_a_warning(counts: np.ndarray) -> None:
    found = fitted(counts).for_query(block_of(np.tile(counts[:1], (500, 1))), seed=0)
    assert len(found.centers) == 1


def test_a_seed_gives_the_same_space(counts: np.ndarray) -> None:
    first, second = (fitted(counts, seed=3).for_query(block_of(counts), seed=3) for _ in range(2))
    np.testing.assert_array_equal(first.components, second.components)
    np.testing.assert_array_equal(first.centers, second.centers)


def test_a_reference_of_two_cells_has_a_space() -> None:
    space = fitted(np.array([[3, 0, 1], [0, 4, 1]]))
    assert space.components.shape == (1, 3)
    assert np.isfinite(space.project(block_of(np.array([[1, 1, 1]])))).all()


def test_no_cells_have_no_cluster(counts: np.ndarray) -> None:
    assert fitted(counts).cluster(np.zeros((0, N_COMPONENTS), np.float32)).shape == (0,)


def test_a_space_is_kept(counts: np.ndarray, tmp_path: Path) -> None:
    space = fitted(counts).for_query(block_of(counts), seed=0)
    space.save(tmp_path / "space.npz")
    loaded = Space.load(tmp_path / "space.npz")
    for name in ("components", "mean", "share", "centers"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(space, name))


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(None, id="missing"),
        pytest.param(b"no arrays", id="another_file"),
        pytest.param(b"", id="empty"),
        pytest.param({"components": np.zeros(1)}, id="half_of_it"),
    ],
)
def test_what_is_no_space_is_said(content: Any, tmp_path: Path) -> None:
    path = tmp_path / "space.npz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content:
        np.savez(path, **content)
    with pytest.raises(UnreadableFileError, match=r"space\.npz cannot be read: .*damaged"):
        Space.load(path)
