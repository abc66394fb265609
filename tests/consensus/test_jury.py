"""The main job: fit once, annotate any number of queries, and what may not change the calls."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score

import celljury
from celljury.config import Config
from celljury.errors import ConfigError, GenesError, MissingColumnError, OutputError, UnreadableFileError
from celljury.jury import Jury
from celljury.provenance import sha256

TERMS = ("CL:0000236", "CL:0000624", "CL:0000625")
LIGHT = Config(members=("logistic", "singler"), engine="local")


def made_cells(n_cells: int, *, seed: int, noise: float = 0.0) -> ad.AnnData:
    """Three types, two of them T cells; ``noise`` is the share of cells whose profile lies between the two."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(3, size=n_cells)
    rate = np.full((3, 160), 0.4)
    rate[0, :30] = 4
    rate[1:, 30:60] = 4
    rate[1, 60:90] = 3
    rate[2, 90:120] = 3
    mixed = rng.random(n_cells) < noise
    profile = np.where((mixed & (kind > 0))[:, None], rate[1:].mean(axis=0), rate[kind])
    obs = pd.DataFrame(
        {
            "cell_type": np.array(TERMS)[kind],
            "mixed": mixed & (kind > 0),
            "sample": rng.choice(["one", "two", "three"], n_cells),
        },
        index=[f"c{seed}-{i}" for i in range(n_cells)],
    )
    return ad.AnnData(
        rng.poisson(profile).astype(np.float32), obs=obs, var=pd.DataFrame(index=[f"G{j}" for j in range(160)])
    )


@pytest.fixture(scope="module")
def jury(tmp_path_factory) -> Jury:
    folder = tmp_path_factory.mktemp("jury") / "jury"
    return Jury.fit(made_cells(240, seed=0), labels="cell_type", batch="sample", out=folder, config=LIGHT)


@pytest.fixture(scope="module")
def query() -> ad.AnnData:
    return made_cells(150, seed=1, noise=0.4)


@pytest.fixture(scope="module")
def calls(jury, query) -> pd.DataFrame:
    return jury.annotate(query, batch="sample").calls


def test_clear_cells_get_their_type_and_mixed_ones_are_new_kinds_of_t_cell(calls, query):
    mixed = query.obs["mixed"].to_numpy()
    clear = calls[~mixed]
    assert accuracy_score(query.obs.loc[clear.index, "cell_type"], clear["term"].astype(str)) > 0.95
    assert (calls.loc[mixed, "status"] == "unseen").mean() > 0.9
    # Alpha-beta T cell or lymphocyte: what the two that they lie between have in common.
    assert set(calls.loc[mixed & (calls["status"] == "unseen"), "term"]) <= {"CL:0000791", "CL:0000542"}
    assert calls.loc[mixed, "needs_review"].all()


def test_mixed_cells_back_off_where_unseen_ones_are_not_looked_for(jury, query):
    config = Config.read(base=jury.config, reduce__rule="lca", calibration__unseen=False)
    calls = jury.annotate(query, batch="sample", config=config).calls
    clear = calls[~query.obs["mixed"].to_numpy()]
    assert accuracy_score(query.obs.loc[clear.index, "cell_type"], clear["term"].astype(str)) > 0.95
    backed_off = calls[calls["status"] == "backed_off"]
    assert len(backed_off) > 0
    assert set(backed_off["term"]) == {"CL:0000791"}
    assert backed_off["needs_review"].all()
    assert query.obs.loc[backed_off.index, "mixed"].mean() > 0.5


def test_jury_is_not_changed_by_annotating(jury, query):
    before = sha256(jury.folder)
    jury.annotate(query)
    jury.annotate(made_cells(30, seed=2))
    assert sha256(jury.folder) == before


def test_query_object_is_not_changed(jury, query):
    before = query.copy()
    jury.annotate(query, batch="sample")
    pd.testing.assert_frame_equal(query.obs, before.obs)
    assert np.array_equal(query.X, before.X)


@pytest.mark.parametrize("block_size", [7, 50, 149, 1000])
def test_block_size_changes_nothing(jury, query, calls, block_size):
    config = Config.read(base=jury.config, block_size=block_size)
    other = jury.annotate(query, batch="sample", config=config).calls
    pd.testing.assert_frame_equal(other, calls, check_categorical=False, rtol=1e-4)


def test_order_of_cells_changes_nothing(jury, query, calls):
    order = np.random.default_rng(3).permutation(query.n_obs)
    other = jury.annotate(query[order].copy(), batch="sample").calls
    pd.testing.assert_frame_equal(other.loc[calls.index], calls, check_categorical=False, rtol=1e-4)


def test_order_of_members_changes_no_call(query, calls):
    swapped = Config(members=("singler", "logistic"), engine="local")
    other = Jury.fit(made_cells(240, seed=0), labels="cell_type", batch="sample", config=swapped)
    found = other.annotate(query, batch="sample").calls
    columns = ["term", "status", "agreement", "conflict", "depth", "reasons", "vote_logistic", "vote_singler"]
    pd.testing.assert_frame_equal(found[columns], calls[columns], check_categorical=False)


def test_further_genes_and_their_order_change_nothing(jury, query, calls):
    rng = np.random.default_rng(4)
    more = ad.AnnData(rng.poisson(3, (query.n_obs, 40)).astype(np.float32), obs=query.obs)
    more.var_names = [f"OTHER{j}" for j in range(40)]
    wide = ad.concat([more, query], axis=1, merge="first")
    wide = wide[:, rng.permutation(wide.n_vars)].copy()
    wide.obs = query.obs.copy()
    pd.testing.assert_frame_equal(jury.annotate(wide, batch="sample").calls, calls, rtol=1e-4)


def test_hash_seed_changes_nothing(tmp_path, query):
    made_cells(200, seed=0).write_h5ad(tmp_path / "reference.h5ad")
    query.write_h5ad(tmp_path / "query.h5ad")
    code = (
        "import sys\nfrom celljury.config import Config\nfrom celljury.jury import Jury\n"
        "config = Config(members=('logistic', 'singler'), engine='local')\n"
        "jury = Jury.fit('reference.h5ad', labels='cell_type', batch='sample', config=config)\n"
        "jury.annotate('query.h5ad', batch='sample').calls.to_csv(sys.argv[1])\n"
    )
    texts = []
    for seed in ("0", "4711"):
        env = os.environ | {"PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, "-c", code, f"{seed}.csv"], cwd=tmp_path, env=env, check=True)
        texts.append((tmp_path / f"{seed}.csv").read_text())
    assert texts[0] == texts[1]


def test_saved_jury_says_the_same_elsewhere(jury, query, calls, tmp_path):
    copy = Jury.load(jury.save(tmp_path / "copy").folder)
    pd.testing.assert_frame_equal(copy.annotate(query, batch="sample").calls, calls)


class Stop(Exception):
    """Raised by a test in the middle of a run."""


def test_interrupted_run_goes_on_at_the_first_missing_part(jury, query, tmp_path):
    config = Config.read(base=jury.config, block_size=40)
    whole = jury.annotate(query, batch="sample", config=config).calls

    def stop_at_third_block(step: str, done: int, total: int) -> None:
        if step == "vote" and done == 2:
            raise Stop

    out = tmp_path / "run"
    with pytest.raises(Stop):
        jury.annotate(query, batch="sample", config=config, out=out, progress=stop_at_third_block)
    assert not (out / "run.json").exists()
    done = sorted((out / "votes").iterdir())
    assert len(done) == 2
    before = [path.stat().st_mtime_ns for path in done]
    run = jury.annotate(query, batch="sample", config=config, out=out, resume=True)
    assert [path.stat().st_mtime_ns for path in done] == before
    pd.testing.assert_frame_equal(run.calls, whole)
    assert not (out / "unfinished.json").exists()
    assert not (out / "adapted").exists()


def test_without_resume_an_interrupted_run_starts_anew(jury, query, tmp_path):
    config = Config.read(base=jury.config, block_size=40)

    def stop(step: str, done: int, total: int) -> None:
        if step == "vote" and done == 1:
            raise Stop

    out = tmp_path / "run"
    with pytest.raises(Stop):
        jury.annotate(query, out=out, config=config, progress=stop)
    part = out / "votes" / "part-00000.parquet"
    before = part.stat().st_mtime_ns
    jury.annotate(query, out=out, config=config)
    assert part.stat().st_mtime_ns != before


def test_interrupted_fit_keeps_finished_members(tmp_path):
    cells, out = made_cells(150, seed=5), tmp_path / "jury"

    def stop(step: str, done: int, total: int) -> None:
        if step == "fit members" and done == 1:
            raise Stop

    with pytest.raises(Stop):
        Jury.fit(cells, labels="cell_type", out=out, config=LIGHT, progress=stop)
    with pytest.raises(UnreadableFileError, match="--resume"):
        Jury.load(out)
    (finished,) = (out / "members").glob("*/fitted.json")
    before = finished.stat().st_mtime_ns
    jury = Jury.fit(cells, labels="cell_type", out=out, config=LIGHT, resume=True)
    assert finished.stat().st_mtime_ns == before
    assert all(member.absent is None for member in jury.members.values())


def test_a_finished_jury_is_not_overwritten_unasked(jury):
    with pytest.raises(OutputError, match="--overwrite"):
        Jury.fit(made_cells(60, seed=0), labels="cell_type", out=jury.folder, config=LIGHT)


def test_a_bad_query_leaves_an_earlier_run_where_it_is(jury, query, tmp_path):
    run = jury.annotate(query, out=tmp_path / "run")
    before = sha256(run.folder)
    bad = query[:, :20].copy()
    with pytest.raises(GenesError):
        jury.annotate(bad, out=tmp_path / "run", overwrite=True)
    assert sha256(run.folder) == before


def test_resume_after_a_stop_between_calls_and_figures_makes_the_rest(jury, query, tmp_path):
    query.write_h5ad(tmp_path / "query.h5ad")
    out = tmp_path / "run"

    def stop(step: str, done: int, total: int) -> None:
        if step.startswith("write tables") and done == 1:
            raise Stop

    with pytest.raises(Stop):
        celljury.annotate(tmp_path / "query.h5ad", jury, out=out, progress=stop)
    assert not (out / "queue.tsv").exists()
    before = (out / "calls.parquet").stat().st_mtime_ns
    with pytest.raises(OutputError, match="--overwrite"):  # other batches give other votes: not the same run
        celljury.annotate(tmp_path / "query.h5ad", jury, out=out, batch="sample", resume=True)
    run = celljury.annotate(tmp_path / "query.h5ad", jury, out=out, resume=True, figures=False)
    assert (out / "queue.tsv").exists()
    assert (out / "query.celljury.h5ad").exists()
    assert (out / "calls.parquet").stat().st_mtime_ns == before
    assert run.record["total"]["cpu_seconds"] >= 0
    with pytest.raises(OutputError, match="--overwrite"):
        celljury.annotate(tmp_path / "query.h5ad", jury, out=out, resume=True)


def test_run_json_says_how_the_run_was_made(jury, query, tmp_path):
    query.write_h5ad(tmp_path / "query.h5ad")
    run = celljury.annotate(tmp_path / "query.h5ad", jury, out=tmp_path / "run", batch="sample", figures=False)
    record = json.loads((run.folder / "run.json").read_text())
    assert record["query"]["sha256"] == sha256(tmp_path / "query.h5ad")
    assert record["query"]["counts_in"] == "X"
    assert record["query"]["batches"] == ["one", "three", "two"]
    assert record["ontology"]["release"] == jury.ontology.source.release
    assert record["tier"] == "none"
    assert record["config"]["seed"] == 0
    assert record["genes"]["n_shared"] == 160
    assert {member["name"] for member in record["members"]} == {"logistic", "singler"}
    assert record["versions"]["celljury"] == celljury.__version__


def test_empty_droplets_abstain_and_are_unresolved(jury, query):
    cells = query.copy()
    cells.X[3] = 0
    found = jury.annotate(cells).calls.iloc[3]
    assert found["n_votes"] == 0
    assert found["status"] == "unresolved"
    assert "member_abstained" in found["reasons"]


def test_few_shared_genes_are_said_in_every_cell(jury, query):
    config = Config.read(base=jury.config, genes__min_shared=50)
    found = jury.annotate(query[:, :70].copy(), config=config).calls
    assert found["reasons"].str.contains("low_genes").all()


def test_rare_types_are_said(query):
    cells = made_cells(240, seed=0)
    rare = cells.obs["cell_type"] == "CL:0000625"
    kept = np.sort(np.concatenate([np.flatnonzero(~rare), np.flatnonzero(rare)[:5]]))
    jury = Jury.fit(cells[kept].copy(), labels="cell_type", config=LIGHT)
    found = jury.annotate(query).calls
    flagged = found["reasons"].str.contains("rare_in_reference")
    assert flagged.any()
    assert set(found.loc[flagged, "term"].dropna()) <= {"CL:0000625"}


@pytest.mark.slow
def test_p1_with_all_six_members(shared_data, tmp_path):
    cells = ad.read_h5ad(shared_data / "pbmc_symphony_3tech.h5ad")
    held = (cells.obs["batch"] == "5p").to_numpy()
    cells[~held].copy().write_h5ad(tmp_path / "reference.h5ad")
    cells[held].copy().write_h5ad(tmp_path / "query.h5ad")
    few = {"epochs": 40}
    config = Config(members="all-required", settings={"scvi_knn": few, "scanvi": few})
    truth = "cell_type_ontology_term_id"
    jury = Jury.fit(tmp_path / "reference.h5ad", labels=truth, batch="batch", out=tmp_path / "jury", config=config)
    run = celljury.annotate(tmp_path / "query.h5ad", jury, out=tmp_path / "run", batch="batch")
    true = cells.obs.loc[held, truth].astype(str)
    found = run.calls
    assert found.index.tolist() == true.index.tolist()
    assert (found["n_votes"] >= 4).all()
    members = [member["name"] for member in run.record["members"]]
    assert len(members) == 6
    for name in members:
        voted = found[f"vote_{name}"].notna()
        assert voted.mean() > 0.9, name
        assert accuracy_score(true[voted], found.loc[voted, f"vote_{name}"].astype(str)) > 0.85, name
    ontology = jury.ontology
    called = found["term"].notna()
    below = ontology.is_ancestor(ontology.indices(found.loc[called, "term"]), ontology.indices(true[called]))
    assert below.mean() > 0.97
    # The same jury, another rule: nothing is trained again, and more cells keep a deep term.
    quorum = jury.annotate(tmp_path / "query.h5ad", config=Config.read(base=jury.config, reduce__rule="quorum")).calls
    assert quorum["depth"].mean() >= found["depth"].mean()
    assert accuracy_score(true, quorum["term"].astype(str)) > 0.93


def test_another_object_cannot_take_over_an_interrupted_run(jury, query, tmp_path):
    config = Config.read(base=jury.config, block_size=40)

    def stop(step: str, done: int, total: int) -> None:
        if step == "vote" and done == 2:
            raise Stop

    out = tmp_path / "run"
    with pytest.raises(Stop):
        jury.annotate(query, out=out, config=config, progress=stop)
    turned = query[::-1].copy()
    run = celljury.annotate(turned, jury, out=out, config=config, resume=True, figures=False)
    assert run.calls.index.tolist() == turned.obs_names.tolist()
    whole = jury.annotate(query, config=config).calls
    assert run.calls["term"].astype(str).loc[whole.index].tolist() == whole["term"].astype(str).tolist()


def test_resume_with_other_counts_starts_anew(jury, query, tmp_path):
    both = query.copy()
    both.layers["other"] = np.roll(query.X, 1, axis=0)
    config = Config.read(base=jury.config, block_size=40, counts="X")

    def stop(step: str, done: int, total: int) -> None:
        if step == "vote" and done == 2:
            raise Stop

    out = tmp_path / "run"
    with pytest.raises(Stop):
        jury.annotate(both, out=out, config=config, progress=stop)
    other = Config.read(base=config, counts="layers/other")
    resumed = jury.annotate(both, out=out, config=other, resume=True).calls
    pd.testing.assert_frame_equal(resumed, jury.annotate(both, config=other).calls)


@pytest.mark.parametrize("turned", [False, True], ids=["as_written", "reversed"])
def test_a_term_is_flagged_if_any_label_behind_it_was_broad(tmp_path, turned):
    cells = made_cells(120, seed=0)
    b_cells = cells.obs["cell_type"] == "CL:0000236"
    second = np.arange(120) % 2 == 0
    cells.obs["author"] = np.where(b_cells, np.where(second, "Bx", "By"), cells.obs["cell_type"])
    (tmp_path / "map.sssom.tsv").write_text(
        "subject_label\tpredicate_id\tobject_id\nBx\tskos:exactMatch\tCL:0000236\nBy\tskos:broadMatch\tCL:0000236\n"
    )
    cells = cells[::-1].copy() if turned else cells
    jury = Jury.fit(cells, labels="author", label_map=tmp_path / "map.sssom.tsv", config=LIGHT)
    broad = {row["term"]: row["broad"] for row in jury.about["terms"]}
    assert broad == {"CL:0000236": True, "CL:0000624": False, "CL:0000625": False}


def test_settings_that_only_a_fit_can_use_are_refused(jury, query):
    config = Config.read(base=jury.config, members=("logistic",), genes__n_variable=200)
    with pytest.raises(ConfigError, match=r"members, genes\.n_variable: set when a jury is fitted"):
        jury.annotate(query, config=config)


def test_lca_on_mass_leaves_the_tails_out(jury, query, calls):
    config = Config.read(base=jury.config, reduce__on="mass")
    found = jury.annotate(query, batch="sample", config=config).calls
    called = found["term"].notna()
    assert called.mean() > 0.5
    assert (found.loc[called, "support"] >= 0.95 - 1e-4).all()


def test_missing_donor_column_is_named_before_any_training(tmp_path):
    with pytest.raises(MissingColumnError, match="--donor"):
        Jury.fit(made_cells(60, seed=0), labels="cell_type", donor="typo", out=tmp_path / "jury", config=LIGHT)
    assert not (tmp_path / "jury").exists()


def test_cells_without_a_label_need_no_batch():
    cells = made_cells(120, seed=0)
    cells.obs["cell_type"] = cells.obs["cell_type"].astype(object)
    cells.obs.loc[cells.obs_names[:20], ["cell_type", "sample"]] = None
    jury = Jury.fit(cells, labels="cell_type", batch="sample", config=LIGHT)
    assert jury.about["reference"]["n_cells"] == 100
    assert jury.about["reference"]["n_unlabelled"] == 20


@pytest.mark.parametrize("name", ["genes.npz", "space.npz", "ontology.npz", "members"])
def test_a_jury_that_lacks_a_part_is_refused(jury, tmp_path, name):
    copy = jury.save(tmp_path / "copy").folder
    (copy / name).rename(copy / "elsewhere")
    with pytest.raises(UnreadableFileError, match=name):
        Jury.load(copy)


def test_nothing_is_left_in_the_run_but_its_files(jury, query, tmp_path):
    run = celljury.annotate(query, jury, out=tmp_path / "run", figures=False)
    left = {path.name for path in run.folder.iterdir()}
    assert left == {
        "calls", "calls.parquet", "log.jsonl", "query.celljury.h5ad", "queue.tsv", "review", "run.json", "tables",
        "votes",
    }  # fmt: skip
