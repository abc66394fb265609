"""Opening cells from every kind of source, and refusing what holds no counts."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csc_matrix, csr_matrix

from celljury.cells import ROWS_PROBED, open_cells, read_obs
from celljury.errors import (
    BatchError,
    CellsError,
    CountsError,
    GenesError,
    InputError,
    MissingColumnError,
    UnreadableFileError,
)

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def cells(toy_adata: Any) -> ad.AnnData:
    """60 toy cells x 40 genes, one's own copy."""
    return toy_adata(n_cells=60, n_genes=40)


def counts_of(adata: ad.AnnData) -> np.ndarray:
    return adata.X.toarray()


def normalized(adata: ad.AnnData) -> csr_matrix:
    found = adata.X.astype(np.float32).copy()
    found.data = np.log1p(found.data)
    return found


def write_h5ad(adata: ad.AnnData, folder: Path) -> Path:
    adata.write_h5ad(folder / "cells.h5ad")
    return folder / "cells.h5ad"


def write_zarr(adata: ad.AnnData, folder: Path, version: int) -> Path:
    with ad.settings.override(zarr_write_format=version), warnings.catch_warnings():
        # zarr 3 has no specification for text yet; anndata says that the old layout goes away.
        warnings.filterwarnings("ignore", message=".*(zarr|Zarr|V3).*")
        adata.write_zarr(folder / "cells.zarr")
    return folder / "cells.zarr"


def write_h5mu(adata: ad.AnnData, folder: Path) -> Path:
    # By hand: mudata is optional.
    with h5py.File(folder / "cells.h5mu", "w") as file:
        ad.io.write_elem(file, "mod/rna", adata)
        ad.io.write_elem(file, "mod/adt", adata[:, :3].copy())
        ad.io.write_elem(file, "obs", pd.DataFrame(index=adata.obs_names))
    return folder / "cells.h5mu"


def in_mudata(adata: ad.AnnData, folder: Path) -> Any:
    mudata = pytest.importorskip("mudata")
    other = ad.AnnData(np.ones((30, 2), np.float32), obs=pd.DataFrame(index=adata.obs_names[:30].copy()))
    other.var_names = ["CD3", "CD4"]
    with mudata.set_options(pull_on_update=False):
        return mudata.MuData({"adt": other, "rna": adata})


def written_mudata(adata: ad.AnnData, folder: Path) -> Path:
    mudata = pytest.importorskip("mudata")
    with mudata.set_options(pull_on_update=False):
        in_mudata(adata, folder).write_h5mu(folder / "written.h5mu")
    return folder / "written.h5mu"


SOURCES = [
    pytest.param(write_h5ad, id="h5ad"),
    pytest.param(lambda a, f: str(write_h5ad(a, f)), id="h5ad_named_by_text"),
    pytest.param(lambda a, f: write_zarr(a, f, 2), id="zarr_2"),
    pytest.param(lambda a, f: write_zarr(a, f, 3), id="zarr_3"),
    pytest.param(lambda a, f: a, id="anndata"),
    pytest.param(lambda a, f: ad.concat([a, a], index_unique="-")[: a.n_obs].copy()[: a.n_obs], id="anndata_view"),
    pytest.param(lambda a, f: ad.read_h5ad(write_h5ad(a, f), backed="r"), id="anndata_on_disk"),
    pytest.param(write_h5mu, id="h5mu"),
    pytest.param(written_mudata, id="h5mu_written_by_mudata"),
    pytest.param(in_mudata, id="mudata"),
]


@pytest.mark.parametrize("source_of", SOURCES)
def test_every_source_gives_the_same_rows(source_of: Callable[..., Any], cells: ad.AnnData, tmp_path: Path) -> None:
    opened = open_cells(source_of(cells, tmp_path))
    assert opened.n_cells == 60
    assert opened.counts_in == "X"
    assert opened.obs["sample"].tolist() == cells.obs["sample"].tolist()
    assert opened.var.index.tolist() == cells.var_names.tolist()
    rows = opened.rows(7, 31)
    assert rows.format == "csr"
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows.toarray(), counts_of(cells)[7:31])


@pytest.mark.parametrize(
    "layout",
    [
        pytest.param(csr_matrix, id="rows_first"),
        pytest.param(csc_matrix, id="columns_first"),
        pytest.param(lambda m: m.toarray(), id="dense"),
        pytest.param(lambda m: m.astype(np.int64), id="int64"),
        pytest.param(lambda m: m.toarray().astype(np.uint16), id="dense_uint16"),
        pytest.param(lambda m: m.astype(np.float64), id="float64"),
    ],
)
@pytest.mark.parametrize("on_disk", [pytest.param(True, id="file"), pytest.param(False, id="memory")])
def test_every_layout_of_a_matrix_gives_float32_rows(
    *, layout: Callable[[Any], Any], on_disk: bool, cells: ad.AnnData, tmp_path: Path
) -> None:
    expected = counts_of(cells)
    cells.X = layout(cells.X)
    opened = open_cells(write_h5ad(cells, tmp_path) if on_disk else cells)
    rows = opened.rows(0, 60)
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows.toarray(), expected)


def in_layer(adata: ad.AnnData) -> None:
    adata.layers["counts"] = adata.X
    adata.X = normalized(adata)


def in_raw(adata: ad.AnnData) -> None:
    adata.raw = adata.copy()
    adata.X = normalized(adata)


def in_layer_and_raw(adata: ad.AnnData) -> None:
    in_raw(adata)
    adata.layers["counts"] = adata.raw.X


@pytest.mark.parametrize(
    ("move", "expected"),
    [
        pytest.param(lambda a: None, "X", id="in_X"),
        pytest.param(in_layer, "layers['counts']", id="in_the_layer_counts"),
        pytest.param(in_raw, "raw.X", id="in_raw"),
        pytest.param(in_layer_and_raw, "layers['counts']", id="a_layer_comes_before_raw"),
    ],
)
@pytest.mark.parametrize("on_disk", [pytest.param(True, id="file"), pytest.param(False, id="memory")])
def test_counts_are_found_and_the_place_is_stated(
    *, move: Callable[[ad.AnnData], None], expected: str, on_disk: bool, cells: ad.AnnData, tmp_path: Path
) -> None:
    counts = counts_of(cells)
    move(cells)
    opened = open_cells(write_h5ad(cells, tmp_path) if on_disk else cells)
    assert opened.counts_in == expected
    np.testing.assert_array_equal(opened.rows(0, 60).toarray(), counts)


@pytest.mark.parametrize("on_disk", [pytest.param(True, id="file"), pytest.param(False, id="memory")])
def test_raw_brings_its_own_genes(*, on_disk: bool, cells: ad.AnnData, tmp_path: Path) -> None:
    in_raw(cells)
    few = cells[:, 5:15].copy()
    opened = open_cells(write_h5ad(few, tmp_path) if on_disk else few)
    assert opened.counts_in == "raw.X"
    assert opened.var.index.tolist() == cells.var_names.tolist()
    assert opened.rows(0, 3).shape == (3, 40)


def test_no_X_at_all_is_no_obstacle(cells: ad.AnnData, tmp_path: Path) -> None:
    cells.layers["counts"] = cells.X
    cells.X = None
    assert open_cells(cells).counts_in == "layers['counts']"
    assert open_cells(write_h5ad(cells, tmp_path)).counts_in == "layers['counts']"


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        pytest.param("layers/umi", "layers['umi']", id="layer"),
        pytest.param("X", "X", id="X"),
        pytest.param("raw.X", "raw.X", id="raw.X"),
        pytest.param("raw", "raw.X", id="raw"),
        pytest.param("auto", "X", id="auto_does_not_guess_other_layers"),
    ],
)
def test_a_named_place_is_taken(named: str, expected: str, cells: ad.AnnData) -> None:
    cells.layers["umi"] = cells.X * 2
    cells.raw = cells.copy()
    opened = open_cells(cells, counts=named)
    assert opened.counts_in == expected
    factor = 2 if named == "layers/umi" else 1
    np.testing.assert_array_equal(opened.rows(0, 60).toarray(), factor * counts_of(cells))


def test_a_named_place_that_is_not_there_names_the_others(cells: ad.AnnData) -> None:
    cells.layers["spliced"] = cells.X
    with pytest.raises(
        CountsError, match=r"layers\['umi'\]: not there(.|\n)*Also there: layers/spliced, X; .*--counts"
    ):
        open_cells(cells, counts="layers/umi")
    with pytest.raises(InputError, match=r"counts = 'umi': expected auto, X, raw\.X or layers/NAME"):
        open_cells(cells, counts="umi")


def changed(change: Callable[[np.ndarray], None]) -> Callable[[ad.AnnData], None]:
    def apply(adata: ad.AnnData) -> None:
        matrix = adata.X.toarray()
        change(matrix)
        adata.X = csr_matrix(matrix)

    return apply


def set_first(value: float) -> Callable[[ad.AnnData], None]:
    def change(matrix: np.ndarray) -> None:
        matrix[0, 0] = value

    return changed(change)


def set_names(adata: ad.AnnData, axis: str) -> None:
    names = getattr(adata, f"{axis}_names").tolist()
    setattr(adata, f"{axis}_names", ["another", *names[1:]])


def three_in_four_halved(matrix: np.ndarray) -> None:
    matrix[:] = 1
    matrix[:, 10:] = 0.25


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(
            changed(three_in_four_halved),
            r"X: 75 % of its values are not whole numbers \(e\.g\. 0\.25\)",
            id="normalised",
        ),
        pytest.param(set_first(-3), r"X: values below zero \(lowest -3\)", id="negative"),
        pytest.param(set_first(np.nan), r"X: some values are missing or infinite", id="missing"),
        pytest.param(set_first(np.inf), r"X: some values are missing or infinite", id="infinite"),
        pytest.param(changed(lambda m: m.fill(0)), r"X: all values are zero", id="all_zero"),
    ],
)
@pytest.mark.parametrize("dense", [pytest.param(True, id="dense"), pytest.param(False, id="sparse")])
def test_what_is_not_counts_is_refused_with_every_place_that_was_tried(
    *, change: Callable[[ad.AnnData], None], said: str, dense: bool, cells: ad.AnnData
) -> None:
    change(cells)
    if dense:
        cells.X = cells.X.toarray()
    with pytest.raises(CountsError, match=said) as caught:
        open_cells(cells)
    for place in ("layers['counts']: not there", "raw.X: not there", "Keep them in layers['counts']"):
        assert place in str(caught.value)


def test_other_layers_are_offered_where_nothing_holds_counts(cells: ad.AnnData) -> None:
    cells.layers["umi"] = cells.X
    cells.X = normalized(cells)
    with pytest.raises(CountsError, match=r"Also there: layers/umi; .*--counts"):
        open_cells(cells)
    assert open_cells(cells, counts="layers/umi").counts_in == "layers['umi']"


def test_rows_that_no_probe_saw_are_checked_when_they_are_read(toy_adata: Any) -> None:
    many = toy_adata(n_cells=4 * ROWS_PROBED, n_genes=5)
    spoiled = ROWS_PROBED // 4 + 10  # between the first and the second stretch that is probed
    matrix = many.X.toarray()
    matrix[spoiled] += 0.5
    many.X = csr_matrix(matrix)
    opened = open_cells(many)
    assert opened.rows(0, spoiled).shape == (spoiled, 5)
    with pytest.raises(CountsError, match=rf"rows {spoiled}-{spoiled} are not: 100 % of its values are not whole"):
        opened.rows(spoiled, spoiled + 1)


def test_counts_in_the_first_rows_only_are_refused_on_opening(toy_adata: Any) -> None:
    many = toy_adata(n_cells=2 * ROWS_PROBED, n_genes=5)
    matrix = many.X.toarray()
    matrix[ROWS_PROBED // 2 :] += 0.5
    many.X = csr_matrix(matrix)
    with pytest.raises(CountsError, match="not whole numbers"):
        open_cells(many)


def test_cells_must_have_names_of_their_own(cells: ad.AnnData, tmp_path: Path) -> None:
    cells.obs_names = ["x", "x", "y", "y", "y", *(f"c{i}" for i in range(55))]
    with pytest.raises(CellsError, match=r"3 cell names stand more than once \(e\.g\. x, y\).*obs_names_make_unique"):
        open_cells(write_h5ad(cells, tmp_path))


@pytest.mark.parametrize("on_disk", [pytest.param(True, id="file"), pytest.param(False, id="memory")])
def test_no_cells_and_no_genes_are_two_errors(*, on_disk: bool, cells: ad.AnnData, tmp_path: Path) -> None:
    for part, kind, said in ((cells[:0], CellsError, "has no cells"), (cells[:, :0], GenesError, "no genes")):
        source = write_h5ad(part.copy(), tmp_path) if on_disk else part.copy()
        with pytest.raises(kind, match=said):
            open_cells(source)


# Batches ------------------------------------------------------------------------------------------------------------


def test_batches_are_codes_into_sorted_names(cells: ad.AnnData) -> None:
    cells.obs["lane"] = [10, 9, 9] * 20
    codes, names = open_cells(cells).batches("lane")
    assert names == ("10", "9")
    assert codes.dtype == np.int32
    assert codes[:3].tolist() == [0, 1, 1]


def test_without_a_column_all_cells_are_one_batch(cells: ad.AnnData) -> None:
    codes, names = open_cells(cells).batches(None)
    assert names == ("all",)
    assert not codes.any()


def test_cells_that_are_left_out_need_no_batch(cells: ad.AnnData) -> None:
    cells.obs["lane"] = ["b", "a", None] * 20
    kept = np.arange(60) % 3 < 2
    codes, names = open_cells(cells).batches("lane", kept=kept)
    assert names == ("a", "b")
    assert codes.tolist() == [1, 0] * 20
    assert len(open_cells(cells).batches(None, kept=kept)[0]) == 40


@pytest.mark.parametrize(
    ("values", "n_missing"),
    [
        pytest.param([np.nan] * 60, 60, id="full_of_nan"),
        pytest.param(["s1"] * 58 + [None, None], 2, id="two_none"),
        pytest.param(pd.Categorical(["s1", None] * 30), 30, id="categorical"),
        pytest.param(["s1"] * 59 + ["  "], 1, id="an_empty_text_is_missing"),
    ],
)
def test_a_cell_without_a_batch_stops(values: Any, n_missing: int, cells: ad.AnnData, tmp_path: Path) -> None:
    cells.obs["lane"] = values
    opened = open_cells(cells)
    with pytest.raises(BatchError, match=rf"obs\['lane'\] is missing for {n_missing} of 60 cells.*--batch"):
        opened.batches("lane")


def test_a_missing_column_names_those_that_are_there(cells: ad.AnnData) -> None:
    with pytest.raises(MissingColumnError, match=r"no column 'lane'\. It has: cell_type, sample\. .*--batch"):
        open_cells(cells).batches("lane")


# Which table it is --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda a: set_names(a, "obs"), id="name_of_a_cell"),
        pytest.param(lambda a: set_names(a, "var"), id="name_of_a_gene"),
        pytest.param(set_first(7), id="a_count"),
    ],
)
@pytest.mark.parametrize("on_disk", [pytest.param(True, id="file"), pytest.param(False, id="memory")])
def test_a_fingerprint_tells_tables_apart(
    *, change: Callable[[ad.AnnData], None], on_disk: bool, cells: ad.AnnData, tmp_path: Path
) -> None:
    def fingerprint() -> str:
        return open_cells(write_h5ad(cells, tmp_path) if on_disk else cells.copy()).fingerprint()

    before = fingerprint()
    assert fingerprint() == before
    change(cells)
    assert fingerprint() != before


# Files that are none ------------------------------------------------------------------------------------------------


def truncated(folder: Path, cells: ad.AnnData) -> Path:
    path = write_h5ad(cells, folder)
    path.write_bytes(path.read_bytes()[:-2000])
    return path


def overwritten_chunk(folder: Path, cells: ad.AnnData) -> Path:
    path = folder / "cells.h5ad"
    cells.write_h5ad(path, compression="gzip")
    with h5py.File(path) as file:
        chunk = file["X/data"].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset : chunk.byte_offset + chunk.size] = bytes(chunk.size)
    path.write_bytes(content)
    return path


def fewer_rows_than_names(folder: Path, cells: ad.AnnData) -> Path:
    cells.X = cells.X.toarray()
    path = write_h5ad(cells, folder)
    with h5py.File(path, "r+") as file:
        rows = file["X"][:30]
        del file["X"]
        file["X"] = rows
    return path


def from_ten_x(folder: Path, cells: ad.AnnData) -> Path:
    with h5py.File(folder / "filtered.h5", "w") as file:
        file.create_group("matrix")["data"] = [1]
    return folder / "filtered.h5"


def before_anndata_07(folder: Path, cells: ad.AnnData) -> Path:
    with h5py.File(folder / "old.h5ad", "w") as file:
        for name, names in (("obs", cells.obs_names), ("var", cells.var_names)):
            file[name] = np.array([(item.encode(),) for item in names], dtype=[("index", "S10")])
        file["X"] = counts_of(cells)
    return folder / "old.h5ad"


def text(folder: Path, cells: ad.AnnData) -> Path:
    (folder / "counts.csv").write_text("cell,gene\n1,2\n", encoding="utf-8")
    return folder / "counts.csv"


def empty(folder: Path, cells: ad.AnnData) -> Path:
    (folder / "empty.h5ad").touch()
    return folder / "empty.h5ad"


def zarr_without_obs(folder: Path, cells: ad.AnnData) -> Path:
    path = write_zarr(cells, folder, 2)
    shutil.rmtree(path / "obs")
    (path / ".zmetadata").unlink(missing_ok=True)
    return path


def zarr_with_a_broken_chunk(folder: Path, cells: ad.AnnData) -> Path:
    path = write_zarr(cells, folder, 2)
    next(item for item in (path / "X" / "data").iterdir() if not item.name.startswith(".")).write_bytes(b"xx")
    return path


def mudata_without_rna(folder: Path, cells: ad.AnnData) -> Path:
    path = write_h5mu(cells, folder)
    with h5py.File(path, "r+") as file:
        file.move("mod/rna", "mod/gex")
    return path


@pytest.mark.parametrize(
    ("make", "said"),
    [
        pytest.param(lambda f, a: f / "nowhere.h5ad", r"does not exist. Check the path", id="missing_file"),
        pytest.param(lambda f, a: f, r"is a directory and no zarr store. Expected an \.h5ad", id="directory"),
        pytest.param(truncated, r"cannot be read as h5ad .*truncated", id="truncated"),
        pytest.param(overwritten_chunk, r"cannot be read.*filter returned failure", id="overwritten_in_the_middle"),
        pytest.param(
            fewer_rows_than_names, r"X holds 30 cells x 40 genes, but obs and var name 60 x 40", id="half_of_X"
        ),
        pytest.param(from_ten_x, r"no obs in it, only matrix.*read_10x_h5", id="ten_x_file"),
        pytest.param(before_anndata_07, r"before anndata 0\.7", id="written_before_anndata_0_7"),
        pytest.param(text, r"cannot be read as h5ad .*signature not found", id="text_file"),
        pytest.param(empty, r"cannot be read as h5ad \(0 bytes\)", id="empty_file"),
        pytest.param(zarr_without_obs, r"no obs in it", id="zarr_without_obs"),
        pytest.param(zarr_with_a_broken_chunk, r"cannot be read", id="zarr_with_a_broken_chunk"),
    ],
)
def test_what_cannot_be_read_is_one_error_with_the_path(
    make: Callable[[Path, ad.AnnData], Path], said: str, cells: ad.AnnData, tmp_path: Path
) -> None:
    path = make(tmp_path, cells)
    with pytest.raises(UnreadableFileError, match=said) as caught:
        open_cells(path)
    assert str(path) in str(caught.value)


def test_a_mudata_without_rna_names_its_modalities(cells: ad.AnnData, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"without a modality 'rna'\. It has: adt, gex"):
        open_cells(mudata_without_rna(tmp_path, cells))


@pytest.mark.parametrize("source", [pytest.param(None, id="none"), pytest.param(pd.DataFrame({"a": [1]}), id="frame")])
def test_other_objects_are_refused(source: Any) -> None:
    with pytest.raises(InputError, match=r"expected a path, an AnnData or a MuData, got (NoneType|DataFrame)"):
        open_cells(source)


def test_obs_is_read_without_any_counts(cells: ad.AnnData, tmp_path: Path) -> None:
    cells.X = normalized(cells)
    obs = read_obs(write_h5ad(cells, tmp_path))
    assert obs["cell_type"].tolist() == cells.obs["cell_type"].tolist()


# Pickles ------------------------------------------------------------------------------------------------------------


class _Trap:
    """Unpickling it leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def spoil_zarr_2(store: Path, text: str) -> None:
    metadata = store / "obs" / "_index" / ".zarray"
    array = json.loads(metadata.read_text(encoding="utf-8")) | {"filters": ["CODEC"]}
    metadata.write_text(json.dumps(array).replace('"CODEC"', text), encoding="utf-8")


def spoil_zarr_3(store: Path, text: str) -> None:
    metadata = store / "obs" / "_index" / "zarr.json"
    array = json.loads(metadata.read_text(encoding="utf-8")) | {"codecs": ["CODEC"]}
    metadata.write_text(json.dumps(array).replace('"CODEC"', text), encoding="utf-8")


@pytest.mark.parametrize(
    ("version", "codec"),
    [
        pytest.param(2, '{"id": "pickle", "protocol": 5}', id="zarr_2"),
        pytest.param(2, '{"id": "\\u0070ickle"}', id="zarr_2_with_an_escaped_name"),
        pytest.param(3, '{"name": "numcodecs.pickle"}', id="zarr_3"),
    ],
)
def test_a_pickle_codec_is_refused_before_anything_is_read(
    version: int, codec: str, cells: ad.AnnData, tmp_path: Path
) -> None:
    import pickle

    store = write_zarr(cells, tmp_path, version)
    {2: spoil_zarr_2, 3: spoil_zarr_3}[version](store, codec)
    sprung = tmp_path / "sprung"
    for chunk in (store / "obs" / "_index").rglob("*"):
        if chunk.is_file() and not chunk.name.startswith((".z", "zarr")):
            chunk.write_bytes(pickle.dumps(_Trap(sprung)))
    with pytest.raises(UnreadableFileError, match="asks for the pickle codec, which runs code"):
        open_cells(store)
    assert not sprung.exists()


def test_the_word_pickle_in_a_note_is_no_codec(cells: ad.AnnData, tmp_path: Path) -> None:
    store = write_zarr(cells, tmp_path, 2)
    notes = store / ".zattrs"
    notes.write_text(json.dumps(json.loads(notes.read_text(encoding="utf-8")) | {"name": "pickle"}), encoding="utf-8")
    assert open_cells(store).n_cells == 60
