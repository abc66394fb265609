"""Counts to log1p counts per 10,000, and arrays without pickles."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_matrix

from celljury.errors import UnreadableFileError
from celljury.members.arrays import load_arrays, save_arrays
from celljury.members.normalize import gene_shares, log1p_cp10k

COUNTS = arrays(np.float32, (5, 6), elements=st.integers(0, 200).map(float))


def test_normalised_values_worked_by_hand() -> None:
    counts = csr_matrix(np.array([[1, 0, 3], [0, 0, 5]], np.float32))
    assert_allclose(
        log1p_cp10k(counts, share=1.0).toarray(),
        np.log1p([[2_500, 0, 7_500], [0, 0, 10_000]]),
        rtol=1e-6,
    )


def test_share_keeps_genes_at_the_height_they_have_beside_all_genes() -> None:
    # A cell with 2, 2, 6 counts; the query lacks the third gene, which takes 60 % of the reference's counts.
    whole = log1p_cp10k(csr_matrix(np.array([[2, 2, 6]], np.float32)), share=1.0).toarray()
    part = log1p_cp10k(csr_matrix(np.array([[2, 2, 0]], np.float32)), share=0.4).toarray()
    assert_allclose(part[0, :2], whole[0, :2], rtol=1e-6)


def test_gene_shares_weigh_cells_the_same_whatever_their_depth() -> None:
    counts = csr_matrix(np.array([[1, 1], [0, 100], [0, 0]], np.float32))
    assert_allclose(gene_shares(counts), [0.25, 0.75])


@pytest.mark.parametrize(
    "counts",
    [
        pytest.param(np.zeros((2, 3), np.float32), id="cells_without_counts"),
        pytest.param(np.zeros((0, 3), np.float32), id="no_cells"),
    ],
)
def test_nothing_counted_gives_zeros(counts) -> None:
    found = log1p_cp10k(csr_matrix(counts), share=1.0)
    assert found.shape == counts.shape
    assert found.nnz == 0
    assert_array_equal(gene_shares(csr_matrix(counts)), np.zeros(3))


@given(COUNTS)
def test_every_counted_cell_sums_to_ten_thousand(counts) -> None:
    found = np.expm1(log1p_cp10k(csr_matrix(counts), share=1.0).toarray().astype(np.float64)).sum(axis=1)
    assert_allclose(found, np.where(counts.any(axis=1), 1e4, 0), rtol=1e-4)


@given(COUNTS, st.integers(2, 50))
def test_depth_cancels(counts, times) -> None:
    deeper = log1p_cp10k(csr_matrix(counts * np.float32(times)), share=1.0).toarray()
    assert_allclose(deeper, log1p_cp10k(csr_matrix(counts), share=1.0).toarray(), rtol=1e-5)


@given(COUNTS)
def test_gene_shares_sum_to_one_where_anything_was_counted(counts) -> None:
    assert_allclose(gene_shares(csr_matrix(counts)).sum(), float(counts.any()), atol=1e-9)


def test_input_stays_untouched() -> None:
    counts = csr_matrix(np.array([[1, 0, 3]], np.float32))
    log1p_cp10k(counts, share=0.5).data[:] = -1
    gene_shares(counts)
    assert_array_equal(counts.toarray(), [[1, 0, 3]])


def test_writing_into_the_result_leaves_the_counts_whole() -> None:
    counts = csr_matrix(np.array([[1, 0, 3]], np.float32))
    found = log1p_cp10k(counts, share=1.0)
    found.data[:] = 0
    found.eliminate_zeros()
    assert_array_equal(counts.toarray(), [[1, 0, 3]])


def test_arrays_come_back_as_they_were(tmp_path) -> None:
    written = {
        "numbers": np.arange(6, dtype=np.float32).reshape(2, 3),
        "names": np.array(["a", "bc"]),
        "none": np.zeros(0),
    }
    save_arrays(tmp_path / "x.npz", **written)
    for name, array in load_arrays(tmp_path / "x.npz").items():
        assert_array_equal(array, written[name])
        assert array.dtype == written[name].dtype


def test_objects_are_neither_written_nor_read(tmp_path) -> None:
    with pytest.raises(TypeError, match=r"'bad' for x\.npz holds Python objects"):
        save_arrays(tmp_path / "x.npz", bad=np.array([{}], dtype=object))
    np.savez(tmp_path / "y.npz", bad=np.array([{}], dtype=object))
    with pytest.raises(UnreadableFileError, match="allow_pickle"):
        load_arrays(tmp_path / "y.npz")
