"""From runs to packs: of annotate, of vote, of older runs, and of those whose jury or query is gone."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from celljury.api import annotate, vote
from celljury.cells import open_cells
from celljury.config import Config
from celljury.errors import InputError, UnreadableFileError
from celljury.jury import Jury
from celljury.members.normalize import log1p_cp10k
from celljury.review.pack import Pack, pack_folder
from celljury.review.packing import LABELS_ALONE, ensure_pack

if TYPE_CHECKING:
    from pathlib import Path

    from celljury.run import Run

TYPES = ("CL:0000236", "CL:0000624", "CL:0000625")
MIXED = 24  # cells of the query that lie between two types


def made(n_cells: int, *, seed: int, prefix: str, n_mixed: int = 0) -> ad.AnnData:
    """Toy cells of three types with 20 markers each; the last ``n_mixed`` have the markers of two T cells."""
    kind = np.arange(n_cells) % 3
    rate = np.full((3, 200), 0.6)
    for i in range(3):
        rate[i, 20 * i : 20 * i + 20] = 6
    rates = rate[kind]
    if n_mixed:
        rates[-n_mixed:] = (rate[1] + rate[2]) / 2
    obs = pd.DataFrame(
        {"cell_type": np.array(TYPES)[kind], "sample": np.array(["s1", "s2"])[np.arange(n_cells) % 2]},
        index=[f"{prefix}{i}" for i in range(n_cells)],
    )
    counts = np.random.default_rng(seed).poisson(rates)
    return ad.AnnData(
        csr_matrix(counts, dtype=np.float32), obs=obs, var=pd.DataFrame(index=[f"G{i}" for i in range(200)])
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``jury``, ``query.h5ad`` and ``run``. Read only: copy it before a change."""
    folder = tmp_path_factory.mktemp("home")
    config = Config(members=("logistic", "singler"), engine="local", embedding="pca")
    jury = Jury.fit(
        made(120, seed=1, prefix="ref"), labels="cell_type", batch="sample", out=folder / "jury", config=config
    )
    made(90, seed=2, prefix="q", n_mixed=MIXED).write_h5ad(folder / "query.h5ad")
    annotate(
        folder / "query.h5ad", jury, batch="sample", out=folder / "run",
        config=config.model_copy(update={"block_size": 40}), figures=False, h5ad=False,
    )  # fmt: skip
    return folder


@pytest.fixture
def moved(home: Path, tmp_path: Path) -> Path:
    """The same folder elsewhere; what its run wrote down names places that are not there."""
    shutil.copytree(home, tmp_path / "moved")
    path = tmp_path / "moved" / "run" / "run.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    record["jury"]["folder"], record["query"]["file"] = "gone/jury", "gone/query.h5ad"
    path.write_text(json.dumps(record), encoding="utf-8")
    return tmp_path / "moved"


def test_annotate_leaves_a_pack(home: Path) -> None:
    run = home / "run"
    pack = Pack.open(run)
    queue = pd.read_csv(run / "queue.tsv", sep="\t", keep_default_na=False)
    assert 0 < len(queue) == len(pack.items)
    pd.testing.assert_frame_equal(pack.items[queue.columns.tolist()], queue, check_dtype=False, rtol=1e-5)
    assert pack.about["members"] == ["logistic", "singler"]
    assert pack.about["samples"] == ["s1", "s2"]
    assert sum(pack.about["sample_cells"]) == 90
    assert (np.bincount(pack.batch, minlength=2) <= pack.about["sample_cells"]).all()
    assert pack.about["embedding"] == {"name": "PC", "n_drawn": 90}
    assert pack.about["no_genes"] == ""
    assert (pack.about["n_cells"], pack.about["n_review"]) == (90, len(pack.row))
    calls = pd.read_parquet(run / "calls.parquet")
    review = calls.iloc[pack.row]
    assert pack.batch.tolist() == [int(name[1:]) % 2 for name in review["cell_id"]]
    np.testing.assert_array_equal(pack.support, review[["support_logistic", "support_singler"]].to_numpy(np.float32))
    assert pack.drawn_term is not None
    terms = np.array([*pack.about["drawn_terms"], ""])
    assert terms[pack.drawn_term].tolist() == calls["term"].astype(object).fillna("").tolist()
    assert pack.ontology.source == Jury.load(home / "jury").ontology.source


def test_markers_of_items_are_those_of_their_cells(home: Path) -> None:
    """The jury knows all genes here, and the query has them."""
    pack, jury = Pack.open(home / "run"), Jury.load(home / "jury")
    assert pack.genes == jury.profiles.genes
    counts = open_cells(home / "query.h5ad").rows(0, 90)
    jury_counts = counts[:, [int(name[1:]) for name in jury.genes.names]]
    own = log1p_cp10k(csr_matrix(jury_counts), share=float(jury.genes.share.sum()))
    values = own[:, [jury.genes.names.index(gene) for gene in pack.genes]].toarray()
    for i, item_id in enumerate(pack.items["item_id"]):
        cells = pack.row[pack.rows_of(item_id)]
        np.testing.assert_allclose(pack.item_mean[i], values[cells].mean(axis=0), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(pack.item_share[i], (values[cells] > 0).mean(axis=0), rtol=1e-5)
    np.testing.assert_array_equal(pack.term_share, jury.profiles.share)
    assert {term: list(genes) for term, genes in pack.term_genes.items()} == jury.about["markers"]


def same_packs(one: Pack, other: Pack) -> None:
    pd.testing.assert_frame_equal(one.items, other.items)
    for name in ("row", "xy", "half", "support", "batch", "item_share", "item_mean", "term_share", "drawn_xy"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert one.about == other.about


def test_older_run_gets_the_same_pack(home: Path, moved: Path) -> None:
    before = Pack.open(home / "run")
    shutil.rmtree(moved / "run" / "review")
    steps: list[tuple[str, int, int]] = []
    found = ensure_pack(moved / "run", progress=lambda *step: steps.append(step))
    same_packs(found, before)
    assert steps[0] == ("prepare the review", 0, 1)
    assert steps[-1] == ("prepare the review", 1, 1)


def test_pack_that_is_there_is_not_made_again(moved: Path) -> None:
    path = pack_folder(moved / "run") / "pack.json"
    stamp = path.stat().st_mtime_ns
    ensure_pack(moved / "run")
    assert path.stat().st_mtime_ns == stamp


@pytest.mark.parametrize("spoilt", ["other_calls", "other_format", "damaged"])
def test_pack_that_does_not_fit_is_made_anew(home: Path, moved: Path, spoilt: str) -> None:
    path = pack_folder(moved / "run") / "pack.json"
    about = json.loads(path.read_text(encoding="utf-8"))
    text = {
        "other_calls": json.dumps(about | {"run": "0" * 64}), "other_format": json.dumps(about | {"format": 0}),
        "damaged": "{",
    }[spoilt]  # fmt: skip
    path.write_text(text, encoding="utf-8")
    same_packs(ensure_pack(moved / "run"), Pack.open(home / "run"))


def test_without_the_query_items_have_no_expression(moved: Path) -> None:
    shutil.rmtree(moved / "run" / "review")
    (moved / "query.h5ad").unlink()
    pack = ensure_pack(moved / "run")
    assert "gone/query.h5ad" in pack.about["no_genes"]
    assert np.isnan(pack.item_share).all()
    assert pack.item_share.shape == (len(pack.items), len(pack.genes))
    assert np.isfinite(pack.term_share).all()


def test_another_file_under_the_querys_name_is_not_read(moved: Path) -> None:
    shutil.rmtree(moved / "run" / "review")
    made(90, seed=5, prefix="q").write_h5ad(moved / "query.h5ad")
    assert "has changed since" in ensure_pack(moved / "run").about["no_genes"]


def test_without_the_jury_the_queue_keeps_its_texts(home: Path, moved: Path) -> None:
    shutil.rmtree(moved / "run" / "review")
    shutil.rmtree(moved / "jury")
    pack, before = ensure_pack(moved / "run"), Pack.open(home / "run")
    pd.testing.assert_frame_equal(pack.items, before.items)
    assert "gone/jury" in pack.about["no_genes"]
    assert pack.genes == pack.terms == ()
    assert pack.item_share.shape == (len(pack.items), 0)
    np.testing.assert_array_equal(pack.xy, before.xy)


def test_without_jury_and_ontology_the_error_names_both(moved: Path) -> None:
    shutil.rmtree(moved / "run" / "review")
    shutil.rmtree(moved / "jury")
    path = moved / "run" / "run.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    record["ontology"]["release"] = "1999-01-01"
    path.write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(InputError, match=r"CL 1999-01-01.*its jury \(gone/jury\) is not there"):
        ensure_pack(moved / "run")


def test_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFileError, match="holds no finished run"):
        ensure_pack(tmp_path)


# Labels alone ---------------------------------------------------------------------------------------------------


def voted(folder: Path, source: Any) -> Run:
    return vote(source, ["a", "b"], out=folder / "run")


@pytest.fixture
def labelled() -> ad.AnnData:
    obs = pd.DataFrame(
        {"a": ["CL:0000624"] * 4, "b": ["CL:0000624", "CL:0000625", "CL:0000625", "CL:0000236"]}, index=[*"wxyz"]
    )
    return ad.AnnData(obs=obs, obsm={"X_umap": np.arange(8.0).reshape(4, 2)})


def test_vote_leaves_a_pack_without_genes(labelled: ad.AnnData, tmp_path: Path) -> None:
    pack = Pack.open(voted(tmp_path, labelled.obs.reset_index(names="cell_id")).folder)
    assert (pack.about["no_genes"], pack.about["embedding"]) == (LABELS_ALONE, None)
    assert pack.xy is None
    assert pack.genes == pack.terms == ()
    assert pack.half.tolist() == [0, 0, 0]
    assert pack.about["samples"] == ["all"]
    assert sorted(pack.items["n_cells"]) == [1, 2]
    shutil.rmtree(tmp_path / "run" / "review")
    same = ensure_pack(tmp_path / "run")
    pd.testing.assert_frame_equal(same.items, pack.items)


def test_vote_on_an_h5ad_shows_its_own_umap(labelled: ad.AnnData, tmp_path: Path) -> None:
    labelled.write_h5ad(tmp_path / "labelled.h5ad")
    first = Pack.open(voted(tmp_path, tmp_path / "labelled.h5ad").folder)
    shutil.rmtree(tmp_path / "run" / "review")
    for pack in (first, ensure_pack(tmp_path / "run")):
        assert pack.about["embedding"] == {"name": "X_umap", "n_drawn": 4}
        assert pack.xy is not None
        np.testing.assert_array_equal(pack.xy, labelled.obsm["X_umap"][pack.row])


def test_run_without_anything_to_review_has_an_empty_pack(tmp_path: Path) -> None:
    table = pd.DataFrame({"cell_id": ["x", "y"], "a": ["CL:0000624"] * 2, "b": ["CL:0000624"] * 2})
    pack = Pack.open(voted(tmp_path, table).folder)
    assert (len(pack.items), len(pack.row), pack.support.shape) == (0, 0, (0, 2))


def test_column_that_no_part_could_name_is_refused_before_any_work(tmp_path: Path) -> None:
    table = pd.DataFrame({"cell_id": ["x"], "a~b": ["CL:0000624"]})
    with pytest.raises(InputError, match="'a~b'"):
        vote(table, ["a~b"], out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
