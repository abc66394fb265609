"""Protein counts from every layout of obsm, in the jury's order, through every step to the members that read them."""

from __future__ import annotations

import json
import logging
import warnings
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from scipy.sparse import csc_matrix, csr_matrix

from celljury import evidence
from celljury.cells import open_cells
from celljury.config import Config
from celljury.crossfit import as_query_sees, rows_of, training_part
from celljury.engine import read_block, read_reference, save_block
from celljury.errors import ConfigError, CountsError, InputError, MissingColumnError
from celljury.fitting import fingerprint
from celljury.genes import GeneTable
from celljury.jury import Jury
from celljury.members.base import Block, Proteins, Reference
from celljury.proteins import ProteinTable, align_proteins
from celljury.query import Query

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NAMES = ("CD3", "CD4", "CD8", "CD19")
KEY = "protein_expression"


def tags_of(adata: ad.AnnData, *, seed: int = 0) -> np.ndarray:
    """Counts by type: CD19 is high in B cells, CD3 in T cells, CD4 and CD8 in their own."""
    kind = np.arange(adata.n_obs) % 3
    rate = np.array([[2, 2, 2, 60], [60, 60, 2, 2], [60, 2, 60, 2]], float)
    return np.random.default_rng(seed).poisson(rate[kind]).astype(np.float32)


@pytest.fixture
def cells(toy_adata: Any) -> ad.AnnData:
    return toy_adata(n_cells=60, n_genes=40)


def in_memory(adata: ad.AnnData, folder: Path) -> ad.AnnData:
    return adata


def as_h5ad(adata: ad.AnnData, folder: Path) -> Path:
    adata.write_h5ad(folder / "cells.h5ad")
    return folder / "cells.h5ad"


def as_zarr(adata: ad.AnnData, folder: Path) -> Path:
    with ad.settings.override(zarr_write_format=2), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*(zarr|Zarr|V3).*")
        adata.write_zarr(folder / "cells.zarr")
    return folder / "cells.zarr"


def framed(tags: np.ndarray, adata: ad.AnnData) -> pd.DataFrame:
    return pd.DataFrame(tags, index=adata.obs_names, columns=list(NAMES))


@pytest.mark.parametrize("source_of", [in_memory, as_h5ad, as_zarr], ids=lambda f: f.__name__)
@pytest.mark.parametrize(
    "layout",
    [
        pytest.param(lambda tags, _: tags, id="dense"),
        pytest.param(lambda tags, _: tags.astype(np.int32), id="int32"),
        pytest.param(lambda tags, _: csr_matrix(tags), id="rows_first"),
        pytest.param(lambda tags, _: csc_matrix(tags), id="columns_first"),
        pytest.param(framed, id="data_frame"),
    ],
)
def test_every_layout_gives_the_same_rows(
    cells: ad.AnnData, tmp_path: Path, source_of: Callable[..., Any], layout: Callable[..., Any]
) -> None:
    tags = tags_of(cells)
    cells.obsm[KEY] = layout(tags, cells)
    cells.uns["protein_names"] = np.array(NAMES)
    table = open_cells(source_of(cells, tmp_path), proteins=KEY).proteins
    assert table is not None
    assert table.names == NAMES
    found = table.rows(7, 31)
    assert found.dtype == np.float32
    assert_array_equal(found, tags[7:31])


@pytest.mark.parametrize(
    ("beside", "names"),
    [
        pytest.param({}, ("0", "1", "2", "3"), id="numbered_where_nobody_says"),
        pytest.param({"protein_names": np.array(NAMES)}, NAMES, id="protein_names"),
        pytest.param(
            {"protein_names": np.array(list("abcd")), f"{KEY}_names": np.array(NAMES)}, NAMES, id="the_keys_own_first"
        ),
    ],
)
def test_names_stand_beside_an_array(cells: ad.AnnData, beside: dict[str, Any], names: tuple[str, ...]) -> None:
    cells.obsm[KEY] = tags_of(cells)
    cells.uns.update(beside)
    table = open_cells(cells, proteins=KEY).proteins
    assert table is not None
    assert table.names == names


def test_none_are_read_unless_asked_for(cells: ad.AnnData) -> None:
    cells.obsm[KEY] = tags_of(cells)
    assert open_cells(cells).proteins is None


def test_missing_key_is_named_with_those_that_are_there(cells: ad.AnnData) -> None:
    cells.obsm["X_pca"] = np.zeros((60, 2))
    with pytest.raises(MissingColumnError, match=r"obsm\['adt'\]; obsm has: X_pca"):
        open_cells(cells, proteins="adt")


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        pytest.param(lambda tags: np.log1p(tags), "not whole numbers", id="normalized"),
        pytest.param(lambda tags: tags - 1, "below zero", id="negative"),
        pytest.param(lambda tags: np.where(tags > 50, np.nan, tags), "missing or infinite", id="missing"),
    ],
)
def test_what_is_no_count_is_refused(cells: ad.AnnData, spoil: Callable[..., Any], why: str) -> None:
    cells.obsm[KEY] = spoil(tags_of(cells))
    table = open_cells(cells, proteins=KEY).proteins
    assert table is not None
    with pytest.raises(CountsError, match=rf"(?s)obsm\['{KEY}'\].*{why}"):
        table.rows(0, 60)


def test_names_that_stand_twice_or_do_not_fit_are_refused(cells: ad.AnnData) -> None:
    cells.obsm[KEY] = tags_of(cells)
    for names in (["CD3", "CD3", "CD4", "CD8"], ["CD3"]):
        cells.uns["protein_names"] = np.array(names)
        with pytest.raises(InputError, match="Every column needs a name"):
            open_cells(cells, proteins=KEY)


# In the jury's order ------------------------------------------------------------------------------------------------


def table_of(names: tuple[str, ...], tags: np.ndarray | None = None) -> ProteinTable:
    return ProteinTable("q", KEY, names, np.zeros((1, len(names))) if tags is None else tags)


@pytest.mark.parametrize(
    ("query", "column"),
    [
        pytest.param(NAMES, [0, 1, 2, 3], id="same"),
        pytest.param(("CD19", "CD45", "CD4", "CD3"), [3, 2, -1, 0], id="other_order_and_other_proteins"),
        pytest.param(("cd3", "CD4", "Cd8", "x"), [0, 1, 2, -1], id="ignoring_case"),
        pytest.param(("cd3", "Cd3", "CD4", "x"), [-1, 1 + 1, -1, -1], id="not_where_two_fit"),
        pytest.param(("cd3", "CD3", "x", "y"), [1, -1, -1, -1], id="exact_wins"),
    ],
)
def test_proteins_are_found_by_name(query: tuple[str, ...], column: list[int]) -> None:
    assert align_proteins(table_of(query), NAMES).column.tolist() == column


def test_what_the_query_lacks_is_zero_and_not_present() -> None:
    tags = np.arange(6, dtype=np.float32).reshape(2, 3)
    aligned = align_proteins(table_of(("CD19", "CD45", "CD4"), tags), NAMES)
    found = aligned.apply(tags, 2)
    assert_array_equal(found.counts, [[0, 2, 0, 0], [0, 5, 0, 3]])
    assert_array_equal(found.present, [False, True, False, True])
    assert found.names == NAMES
    assert aligned.report() == {
        "n_shared": 2,
        "n_reference": 4,
        "missing": ["CD3", "CD8"],
        "sentence": "2 of the jury's 4 proteins are in the query; not there: CD3, CD8",
    }


def test_query_without_proteins_has_none_present() -> None:
    found = align_proteins(None, NAMES).apply(None, 3)
    assert_array_equal(found.counts, np.zeros((3, 4)))
    assert not found.present.any()


GENES = GeneTable(tuple(f"G{i}" for i in range(40)), ("",) * 40, np.full(40, 1 / 40))


def view_of(adata: ad.AnnData, *, block_size: int, key: str | None = KEY) -> Query:
    opened = open_cells(adata, proteins=key)
    return Query.of(opened, GENES, batch="sample", min_shared=10, block_size=block_size, proteins=NAMES)


def test_blocks_and_sample_of_a_query_carry_their_cells_proteins(cells: ad.AnnData) -> None:
    tags = tags_of(cells)
    cells.obsm[KEY] = framed(tags, cells).loc[:, ["CD8", "CD3", "CD19", "CD4"]]
    view = view_of(cells, block_size=7)
    blocks = [view.block(i).proteins for i in range(view.n_blocks)]
    assert_array_equal(np.concatenate([block.counts for block in blocks if block]), tags)
    sample = view.sample(per_batch=5)
    assert sample.proteins is not None
    # The first gene's counts tell which cells were chosen.
    place = {row.tobytes(): i for i, row in enumerate(cells.X.toarray())}
    chosen = [place[row.tobytes()] for row in sample.counts.toarray()]
    assert_array_equal(sample.proteins.counts, tags[chosen])
    without = view_of(cells, block_size=7, key=None).sample(per_batch=5)
    assert without.proteins is not None
    assert not without.proteins.present.any()


# Through the engine and the folds -----------------------------------------------------------------------------------


def block_with(tags: np.ndarray) -> Block:
    n = len(tags)
    counts = csr_matrix(np.arange(1, 2 * n + 1, dtype=np.float32).reshape(n, 2))
    proteins = Proteins(tags, NAMES, np.array([True, True, False, True]))
    return Block(counts, ("x", "y"), np.ones(2, bool), np.arange(n, dtype=np.int32) % 2, ("a", "b"), proteins)


def test_proteins_survive_the_way_to_a_worker(tmp_path: Path) -> None:
    block = block_with(np.arange(12, dtype=np.float32).reshape(3, 4))
    found = read_block(save_block(tmp_path / "b", block)).proteins
    assert found is not None
    assert block.proteins is not None
    assert_array_equal(found.counts, block.proteins.counts)
    assert_array_equal(found.present, block.proteins.present)
    assert found.names == NAMES
    # The same folder written again without proteins: those of before are gone.
    plain = Block(block.counts, block.genes, block.present, block.batch, block.batches)
    save_block(tmp_path / "b", plain, label=np.array([0, 1, 0]), terms=("A", "B"))
    assert read_reference(tmp_path / "b").cells.proteins is None


def test_folds_take_their_cells_proteins() -> None:
    block = block_with(np.arange(24, dtype=np.float32).reshape(6, 4))
    rows = np.array([4, 1])
    taken = rows_of(block, rows).proteins
    assert block.proteins is not None
    assert taken is not None
    assert_array_equal(taken.counts, block.proteins.counts[rows])
    part = training_part(Reference(block, np.array([0, 1, 0, 1, 0, 1], np.int32), ("A", "B")), np.arange(6) > 2)
    assert part is not None
    assert part.cells.proteins is not None
    assert_array_equal(part.cells.proteins.counts, block.proteins.counts[3:])


def test_held_out_cells_lose_the_proteins_that_the_query_lacks() -> None:
    block = block_with(np.full((3, 4), 5, np.float32))
    seen = as_query_sees(
        block, present=np.ones(2, bool), keep=1, seed=0, present_proteins=np.array([True, False, True, True])
    )
    assert seen.proteins is not None
    assert_array_equal(seen.proteins.present, [True, False, False, True])
    assert_array_equal(seen.proteins.counts, np.tile([5, 0, 0, 5], (3, 1)))
    assert block.proteins is not None
    assert (block.proteins.counts == 5).all(), "the cells themselves are left as they were"


def test_reference_with_other_proteins_is_another_one() -> None:
    label = np.array([0, 1, 0], np.int32)
    prints = {
        fingerprint(Reference(block_with(np.full((3, 4), value, np.float32)), label, ("A", "B"))) for value in (1, 2)
    }
    assert len(prints) == 2


# From end to end ----------------------------------------------------------------------------------------------------

TINY = {"latent": 4, "hidden": 8, "epochs": 2, "surgery_epochs": 1}


def tagged_adata(toy_adata: Any, *, n_cells: int, seed: int, prefix: str) -> ad.AnnData:
    adata = toy_adata(n_cells=n_cells, seed=seed, prefix=prefix)
    adata.obsm[KEY] = framed(tags_of(adata, seed=seed), adata)
    return adata


@pytest.fixture(scope="module")
def tagged_jury(toy_adata: Any, tmp_path_factory: pytest.TempPathFactory) -> Jury:
    pytest.importorskip("scvi", reason="needs scvi-tools", exc_type=ImportError)
    config = Config(
        members=("logistic", "totalvi_knn"), settings={"totalvi_knn": TINY}, engine="local", embedding="pca",
        proteins=KEY,
    )  # fmt: skip
    reference = tagged_adata(toy_adata, n_cells=90, seed=1, prefix="ref")
    reference.obsm[KEY]["isotype control"] = 0.0
    out = tmp_path_factory.mktemp("jury") / "tagged.jury"
    return Jury.fit(reference, labels="cell_type", batch="sample", out=out, config=config)


def test_jury_knows_its_proteins_and_leaves_out_those_without_counts(tagged_jury: Jury) -> None:
    assert tagged_jury.proteins == NAMES
    assert not tagged_jury.members["totalvi_knn"].absent


def told_by(run: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run.folder / "run.json").read_text())
    assert not [member["absent"] for member in found["members"] if member["absent"]]
    return found


def test_query_with_and_without_proteins(
    tagged_jury: Jury, toy_adata: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    matched = []
    real = as_query_sees
    monkeypatch.setattr(
        evidence, "as_query_sees", lambda *args, **kwargs: matched.append(real(*args, **kwargs)) or matched[-1]
    )
    query = tagged_adata(toy_adata, n_cells=45, seed=2, prefix="query")
    found = told_by(tagged_jury.annotate(query, batch="sample", out=tmp_path / "with"))
    assert found["proteins"]["n_shared"] == 4
    assert not matched
    del query.obsm[KEY]
    found = told_by(tagged_jury.annotate(query, batch="sample", out=tmp_path / "without"))
    assert found["proteins"]["n_shared"] == 0
    # Held-out cells of the reference have proteins: without them they are as hard as this query.
    assert not matched[0].proteins.present.any()
    assert "0 % of its protein counts" in json.dumps(found["calibration"])


def test_key_of_the_query_may_be_another_and_must_then_be_there(tagged_jury: Jury, toy_adata: Any) -> None:
    query = tagged_adata(toy_adata, n_cells=45, seed=2, prefix="query")
    query.obsm["adt"] = query.obsm.pop(KEY)
    config = tagged_jury.config.model_copy(update={"proteins": "adt"})
    assert tagged_jury._open(query, config).proteins is not None
    assert tagged_jury._open(query, tagged_jury.config).proteins is None
    with pytest.raises(MissingColumnError, match="obsm has: adt"):
        tagged_jury._open(query, config.model_copy(update={"proteins": "cite"}))


def test_jury_without_proteins_refuses_those_of_a_query(toy_jury: Jury, toy_query: Path) -> None:
    with pytest.raises(ConfigError, match=r"^proteins: set when a jury is fitted"):
        toy_jury.annotate(toy_query, config=toy_jury.config.model_copy(update={"proteins": KEY}))


def test_reference_without_proteins_leaves_totalvi_absent(
    toy_reference: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("scvi", reason="needs scvi-tools", exc_type=ImportError)
    config = Config(
        members=("logistic", "totalvi_knn"), settings={"totalvi_knn": TINY}, engine="local",
        calibration={"enabled": False},
    )  # fmt: skip
    with caplog.at_level(logging.ERROR):
        jury = Jury.fit(toy_reference, labels="cell_type", out=tmp_path / "plain.jury", config=config)
    absent = jury.members["totalvi_knn"].absent
    assert absent is not None
    assert "protein_expression" in absent
    assert "got none" in absent
    assert jury.proteins == ()


def test_reference_whose_proteins_are_empty_is_refused(toy_adata: Any, tmp_path: Path) -> None:
    reference = toy_adata(n_cells=60)
    reference.obsm[KEY] = np.zeros((60, 3), np.float32)
    with pytest.raises(CountsError, match="no labelled cell has a count"):
        Jury.fit(reference, labels="cell_type", out=tmp_path / "j", config=Config(members=("logistic",), proteins=KEY))
