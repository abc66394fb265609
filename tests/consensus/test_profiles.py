"""Profiles of the reference: a worked table, the file, a jury that has them and an older one that has not."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.sparse import csr_matrix

from celljury.errors import UnreadableFileError
from celljury.jury import Jury
from celljury.members.arrays import save_arrays
from celljury.members.base import Block, Reference
from celljury.members.normalize import log1p_cp10k
from celljury.profiles import Profiles, marker_columns, sums_by_group

if TYPE_CHECKING:
    from pathlib import Path

    from celljury.config import Config

COUNTS = [[1, 0, 1, 8], [3, 0, 0, 7], [0, 5, 5, 0], [0, 0, 0, 0]]
MARKERS = {"CL:1": ["A"], "CL:2": ["C", "B"]}


def reference(counts: list[list[int]] = COUNTS, label: tuple[int, ...] = (0, 0, 1, 1)) -> Reference:
    block = Block(
        csr_matrix(np.array(counts, np.float32)), ("A", "B", "C", "D"), np.ones(4, bool), np.zeros(len(counts), np.int32),
        ("all",),
    )  # fmt: skip
    return Reference(block, np.array(label, np.int32), ("CL:1", "CL:2"))


def test_shares_and_means_of_each_term() -> None:
    found = Profiles.fit(reference(), MARKERS)
    assert (found.terms, found.genes) == (("CL:1", "CL:2"), ("A", "B", "C"))
    assert found.n_cells.tolist() == [2, 2]
    np.testing.assert_array_equal(found.share, [[1, 0, 0.5], [0, 0.5, 0.5]])
    tenth, third, half = (np.log1p(10_000 * share) for share in (0.1, 0.3, 0.5))
    np.testing.assert_allclose(
        found.mean, [[(tenth + third) / 2, 0, tenth / 2], [0, half / 2, half / 2]], rtol=1e-6
    )  # fmt: skip
    assert {found.share.dtype, found.mean.dtype} == {np.dtype(np.float32)}


@given(
    arrays(np.int64, st.tuples(st.integers(1, 8), st.integers(1, 5)), elements=st.integers(0, 4)),
    st.data(),
)
def test_sums_by_group_are_those_of_a_loop(counts: np.ndarray, data: st.DataObject) -> None:
    n_groups = 3
    group = np.array(data.draw(st.lists(st.integers(0, n_groups - 1), min_size=len(counts), max_size=len(counts))))
    normalized = log1p_cp10k(csr_matrix(counts, dtype=np.float32), share=1.0)
    expressing, total = sums_by_group(normalized, group, n_groups=n_groups)
    for g in range(n_groups):
        np.testing.assert_array_equal(expressing[g], (counts[group == g] > 0).sum(axis=0))
        np.testing.assert_allclose(total[g], normalized.toarray()[group == g].sum(axis=0), rtol=1e-5, atol=1e-6)


def test_marker_columns_are_in_the_jurys_order() -> None:
    assert marker_columns(("A", "B", "C", "D"), {"x": ["D", "B"], "y": ["B"]}).tolist() == [1, 3]


def test_file_gives_back_what_was_saved(tmp_path: Path) -> None:
    profiles = Profiles.fit(reference(), MARKERS)
    profiles.save(tmp_path / "profiles.npz")
    again = Profiles.load(tmp_path / "profiles.npz")
    assert (again.terms, again.genes) == (profiles.terms, profiles.genes)
    for name in ("share", "mean", "n_cells"):
        np.testing.assert_array_equal(getattr(again, name), getattr(profiles, name))
        assert getattr(again, name).dtype == getattr(profiles, name).dtype


def test_file_that_is_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "profiles.npz"
    with pytest.raises(UnreadableFileError, match="cannot be read"):
        Profiles.load(path)
    save_arrays(path, terms=np.array(["CL:1"]), genes=np.array(["A"]), share=np.zeros((2, 1)), mean=np.zeros((2, 1)),
                n_cells=np.zeros(2))  # fmt: skip
    with pytest.raises(UnreadableFileError, match="expected 1 terms x 1 genes"):
        Profiles.load(path)


def test_jury_keeps_profiles_of_its_markers(toy_jury: Jury) -> None:
    found = toy_jury.profiles
    assert found.terms == tuple(row["term"] for row in toy_jury.about["terms"])
    assert set(found.genes) == {gene for genes in toy_jury.about["markers"].values() for gene in genes}
    assert found.n_cells.tolist() == [row["n_cells"] for row in toy_jury.about["terms"]]
    # G0 to G19 are high in B cells (the first term), the next 20 in CD4 T cells, the next 20 in CD8 T cells.
    own = np.array([int(gene[1:]) // 20 for gene in found.genes])
    assert (found.mean.argmax(axis=0) == own).all()
    assert ((found.share > 0) & (found.share <= 1)).all()


def test_jury_of_an_earlier_version_still_opens(
    toy_jury: Jury, toy_query: Path, toy_config: Config, tmp_path: Path
) -> None:
    shutil.copytree(toy_jury.folder, tmp_path / "older")
    (tmp_path / "older" / "profiles.npz").unlink()
    older = Jury.load(tmp_path / "older")
    found = older.profiles
    assert (found.terms, set(found.genes)) == (toy_jury.profiles.terms, set(toy_jury.profiles.genes))
    assert found.n_cells.tolist() == toy_jury.profiles.n_cells.tolist()
    assert np.isnan(found.mean).all()
    assert np.isnan(found.share).all()
    run = older.annotate(toy_query, out=tmp_path / "run", config=toy_config)
    assert len(run.calls) == 60
