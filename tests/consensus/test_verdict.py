"""From a fitted jury to calls that held-out donors decided: blocks, resuming, absent members, unseen cells, small queries."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_matrix

from celljury.config import Config
from celljury.errors import ConfigError
from celljury.jury import Jury
from celljury.members.logistic import Logistic
from celljury.members.singler import SingleR
from celljury.members.strangeness import KINDS
from celljury.ontology.general import too_general
from celljury.reject import Belonging
from celljury.run import Run, write_part
from celljury.signs import TIERS
from celljury.tell import unseen_note
from celljury.verdict import confidence, distinct_votes, strangest
from celljury.votes import Votes, votes_to_table

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from celljury.ontology.graph import CellOntology

# B cell, CD4 and CD8 alpha-beta T cell; the last, an enterocyte, is in no reference here.
TYPES = ("CL:0000236", "CL:0000624", "CL:0000625", "CL:0000584")
NEW = TYPES[3]
N_GENES, N_DONORS = 160, 10
LIGHT = Config(members=("logistic", "singler"), engine="local")


def cells(donors: Any, *, n: int, seed: int, types: int = 3, new: float = 0.0, depth: float = 1.0) -> ad.AnnData:
    """Return ``n`` cells of each donor; donors differ in a few genes, and a share ``new`` is of the type never seen."""
    rng = np.random.default_rng(seed)
    rate = np.full((4, N_GENES), 0.4)
    rate[0, :30] = 4
    rate[1:3, 30:60] = 4
    rate[1, 60:90] = 3
    rate[2, 90:120] = 3
    rate[3, 120:155] = 4
    parts, kinds = [], []
    for _ in donors:
        kind = rng.permutation(np.where(np.arange(n) < round(new * n), 3, np.arange(n) % types))
        parts.append(rng.poisson(depth * rate[kind] * np.exp(rng.normal(0, 0.15, N_GENES))))
        kinds.append(kind)
    obs = pd.DataFrame(
        {"cell_type": np.array(TYPES)[np.concatenate(kinds)], "donor": np.repeat([f"d{d}" for d in donors], n)},
        index=[f"s{seed}-{d}-{i}" for d in donors for i in range(n)],
    )
    var = pd.DataFrame(index=[f"G{j}" for j in range(N_GENES)])
    return ad.AnnData(csr_matrix(np.concatenate(parts), dtype=np.float32), obs=obs, var=var)


@pytest.fixture(scope="module")
def reference() -> ad.AnnData:
    return cells(range(N_DONORS), n=36, seed=0)


@pytest.fixture(scope="module")
def jury(reference: ad.AnnData, tmp_path_factory: pytest.TempPathFactory) -> Jury:
    folder = tmp_path_factory.mktemp("jury") / "jury"
    return Jury.fit(reference, labels="cell_type", batch="donor", donor="donor", out=folder, config=LIGHT)


@pytest.fixture(scope="module")
def query() -> ad.AnnData:
    """Three new donors, a sixth of whose cells is of a type that the reference lacks."""
    return cells(("x", "y", "z"), n=48, seed=1, new=1 / 6)


@pytest.fixture(scope="module")
def run(jury: Jury, query: ad.AnnData, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return jury.annotate(query, batch="donor", out=tmp_path_factory.mktemp("run") / "run")


def told(jury: Jury, query: ad.AnnData, **changes: Any) -> Run:
    """Annotate with some settings of the jury changed."""
    return jury.annotate(query, batch="donor", config=Config.read(base=jury.config, **changes))


def same(found: Run, expected: Run) -> None:
    """Hold that two runs have the same calls to the last bit."""
    pd.testing.assert_frame_equal(found.calls, expected.calls, check_exact=True, check_categorical=False)


# The verdict ----------------------------------------------------------------------------------------------------------


def test_seen_cells_are_called_and_new_ones_are_unseen(run: Run, query: ad.AnnData) -> None:
    calls = run.calls
    new = (query.obs["cell_type"] == NEW).to_numpy()
    unseen = (calls["status"] == "unseen").to_numpy()
    assert unseen[new].mean() > 0.9
    assert unseen[~new].mean() <= 0.1
    assert (calls["p_seen"][unseen] <= 0.05).all()
    assert (calls["p_seen"][~unseen] > 0.05).all()
    assert calls.loc[unseen, "needs_review"].all()
    assert calls.loc[unseen, "reasons"].map(lambda codes: "unseen" in codes).all()
    seen = calls[~new & ~unseen]
    truth = query.obs.loc[seen.index, "cell_type"]
    assert (seen["term"].astype(str) == truth).mean() > 0.9


def test_record_says_what_the_calls_rest_on(run: Run, query: ad.AnnData) -> None:
    record = run.record
    assert (record["rule"], record["tier"], record["alpha"]) == ("calibrated", "cluster-t", 0.05)
    assert set(run.calls["tier"]) == {"cluster-t"}
    found = record["calibration"]
    assert (found["unit"], len(found["donors"])) == ("donor", N_DONORS)
    assert (found["n_cells"], found["n_unknown_type"]) == (36 * N_DONORS, 0)
    assert not found["matching"]["matched"]
    assert set(found["reliability"]) == {"logistic", "singler"}
    assert all(0.5 < share <= 1 for share in found["reliability"].values())
    assert found["exchangeable"]["checked"]
    assert found["exchangeable"]["unlike"] == []
    assert "in a new donor, at most 5 %" in record["promise"]
    assert json.loads(json.dumps(record)) == record


@pytest.mark.parametrize("block_size", [7, 50, 143, 1000])
def test_blocks_change_no_bit(jury: Jury, query: ad.AnnData, run: Run, block_size: int) -> None:
    found = told(jury, query, block_size=block_size)
    same(found, run)
    assert found.record["calibration"] == run.record["calibration"]
    table, whole = (pq.read_table(each.calls_path).combine_chunks() for each in (found, run))
    assert table.schema.names == whole.schema.names
    assert table.num_rows == whole.num_rows == query.n_obs


def test_order_of_cells_changes_nothing(jury: Jury, query: ad.AnnData, run: Run) -> None:
    order = np.random.default_rng(3).permutation(query.n_obs)
    found = jury.annotate(query[order].copy(), batch="donor").calls
    pd.testing.assert_frame_equal(found.loc[run.calls.index], run.calls, check_categorical=False, rtol=1e-4)


class Stop(Exception):
    """Raised by a test in the middle of a run."""


@pytest.mark.parametrize(
    ("step", "at"),
    [
        pytest.param("vote", 2, id="while_voting"),
        pytest.param("judge the run", 0, id="before_the_verdict"),
        pytest.param("judge the run", 1, id="after_the_verdict"),
        pytest.param("reduce votes to calls", 2, id="while_calling"),
    ],
)
def test_resumed_run_is_the_same(jury: Jury, query: ad.AnnData, run: Run, tmp_path: Path, step: str, at: int) -> None:
    def stop(name: str, done: int, total: int) -> None:
        if (name, done) == (step, at):
            raise Stop

    config = Config.read(base=jury.config, block_size=40)
    with pytest.raises(Stop):
        jury.annotate(query, batch="donor", config=config, out=tmp_path / "run", progress=stop)
    assert not (tmp_path / "run" / "run.json").exists()
    found = jury.annotate(query, batch="donor", config=config, out=tmp_path / "run", resume=True)
    same(found, run)
    assert found.record["calibration"] == run.record["calibration"]
    assert not (tmp_path / "run" / "adapted").exists()


def test_interrupted_fit_goes_on_where_it_was(
    reference: ad.AnnData, query: ad.AnnData, jury: Jury, tmp_path: Path
) -> None:
    def stop(name: str, done: int, total: int) -> None:
        if (name, done) == ("hold donors out", 3):
            raise Stop

    options: dict[str, Any] = {"labels": "cell_type", "batch": "donor", "donor": "donor", "config": LIGHT}
    with pytest.raises(Stop):
        Jury.fit(reference, out=tmp_path / "jury", progress=stop, **options)
    trained = {path: path.stat().st_mtime_ns for path in (tmp_path / "jury").rglob("fitted.json")}
    assert len(trained) == 2 + 3 * 2
    found = Jury.fit(reference, out=tmp_path / "jury", resume=True, **options)
    assert {path: path.stat().st_mtime_ns for path in trained} == trained
    assert found.about["calibration"] == jury.about["calibration"]
    same(found.annotate(query, batch="donor"), jury.annotate(query, batch="donor"))


# Other rules ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plain(reference: ad.AnnData, tmp_path_factory: pytest.TempPathFactory) -> Jury:
    """A jury without a calibration."""
    config = Config.read(base=LIGHT, calibration__enabled=False)
    return Jury.fit(
        reference, labels="cell_type", batch="donor", out=tmp_path_factory.mktemp("p") / "jury", config=config
    )


def test_without_a_calibration_nothing_is_promised(plain: Jury, query: ad.AnnData) -> None:
    assert plain.evidence is None
    assert not (plain.folder / "calibration").exists()
    assert (plain.about["calibration"], json.loads((plain.folder / "card.json").read_text())["tier"]) == (None, "none")
    found = plain.annotate(query, batch="donor")
    assert (found.record["rule"], found.record["tier"]) == ("lca", "none")
    assert (found.record["alpha"], found.record["calibration"]) == (None, None)
    assert set(found.calls["tier"]) == {"none"}
    assert found.calls["p_seen"].isna().all()
    assert "unseen" not in set(found.calls["status"])
    assert found.calls["reasons"].map(lambda codes: "uncalibrated" in codes).all()


@pytest.mark.parametrize("rule", ["lca", "quorum"])
def test_other_rules_call_the_same_with_and_without_a_calibration(
    jury: Jury, plain: Jury, query: ad.AnnData, run: Run, rule: str
) -> None:
    """But that the test for unseen cells stands beside them."""
    found = told(jury, query, reduce__rule=rule)
    assert (found.record["rule"], found.record["tier"]) == (rule, "none")
    assert f"the rule {rule} was asked for" in found.record["promise"]
    assert set(found.calls["tier"]) == {"none"}
    assert_array_equal(found.calls["p_seen"], run.calls["p_seen"])
    seen = found.calls["status"] != "unseen"
    assert 0 < (~seen).sum() < len(seen)
    without = told(plain, query, reduce__rule=rule)
    columns = ["term", "status", "agreement", "conflict", "coarser", "n_votes"]
    pd.testing.assert_frame_equal(
        found.calls.loc[seen, columns].astype(str), without.calls.loc[seen, columns].astype(str)
    )


def test_calibrated_rule_without_a_calibration_is_refused(plain: Jury, query: ad.AnnData) -> None:
    with pytest.raises(
        ConfigError, match=r'reduce.rule = "calibrated" needs a jury with a calibration, and this one has'
    ):
        told(plain, query, reduce__rule="calibrated")


@pytest.mark.parametrize("setting", ["enabled", "folds", "heavy_folds", "max_cells"])
def test_settings_of_the_fit_are_refused_in_a_run(jury: Jury, query: ad.AnnData, setting: str) -> None:
    value = {"enabled": False}.get(setting, 51)
    with pytest.raises(ConfigError, match=f"calibration.{setting}: set when a jury is fitted"):
        told(jury, query, **{f"calibration__{setting}": value})


def test_unseen_off_calls_no_cell_unseen(jury: Jury, query: ad.AnnData, run: Run) -> None:
    found = told(jury, query, calibration__unseen=False)
    assert "unseen" not in set(found.calls["status"])
    codes = set().union(*found.calls["reasons"])
    assert not codes & {"unseen", "borderline_unseen"}
    assert "was not tested" in found.record["promise"]
    seen = (run.calls["status"] != "unseen").to_numpy()
    assert_array_equal(found.calls["term"].astype(str)[seen], run.calls["term"].astype(str)[seen])


def test_stricter_alpha_never_calls_deeper(jury: Jury, query: ad.AnnData) -> None:
    """Cell by cell, at one tier: the candidates of a cell are nested."""
    strict, lax = (told(jury, query, calibration__alpha=alpha, calibration__tier="cell").calls for alpha in (0.03, 0.3))
    both = (strict["status"] != "unseen") & (lax["status"] != "unseen")
    ontology = jury.ontology
    for a, b in zip(strict.loc[both, "term"].astype(object), lax.loc[both, "term"].astype(object), strict=True):
        assert pd.isna(a) or (not pd.isna(b) and ontology.is_ancestor(*ontology.indices([a, b])))


# Members, batches and cells that are not as usual -----------------------------------------------------------------


def fail(*_: object) -> None:
    message = "no votes today"
    raise RuntimeError(message)


def test_member_absent_in_a_run(jury: Jury, query: ad.AnnData, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other's calibration decides; its votes are as they were."""
    monkeypatch.setattr(SingleR, "_predict", fail)
    found = jury.annotate(query, batch="donor")
    assert [member["name"] for member in found.record["members"] if member["absent"]] == ["singler"]
    assert found.calls["vote_singler"].isna().all()
    assert found.calls["reasons"].map(lambda codes: "member_absent" in codes).all()
    assert_array_equal(found.calls["vote_logistic"].astype(str), run.calls["vote_logistic"].astype(str))
    assert found.record["tier"] != ""
    assert (found.calls["n_votes"] == 1).all()
    assert (found.calls["status"] == "unseen").sum() > 10, "the signals are logistic's"


def test_member_whose_signals_are_gone_leaves_cells_untested(
    jury: Jury, query: ad.AnnData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Logistic, "_predict", fail)
    found = jury.annotate(query, batch="donor")
    assert found.calls["p_seen"].isna().all()
    assert "unseen" not in set(found.calls["status"])
    assert found.calls["term"].notna().mean() > 0.5
    assert "was not tested" in found.record["promise"]


@pytest.mark.parametrize("kind", [0, 1, 3])
def test_query_of_one_cell(jury: Jury, query: ad.AnnData, kind: int) -> None:
    row = int(np.flatnonzero(query.obs["cell_type"] == TYPES[kind])[0])
    calls = jury.annotate(query[[row]].copy(), batch="donor").calls
    assert len(calls) == 1
    assert 0 <= calls["p_seen"].iloc[0] <= 1
    if kind < 3:
        assert calls["vote_logistic"].iloc[0] == TYPES[kind]
    else:
        assert calls["status"].iloc[0] == "unseen"


def test_empty_droplets_are_neither_called_nor_unseen(jury: Jury, query: ad.AnnData, run: Run) -> None:
    with_empty = query.copy()
    counts = with_empty.X.tolil()
    counts[0] = 0
    with_empty.X = csr_matrix(counts)
    found = jury.annotate(with_empty, batch="donor").calls
    assert found["status"].iloc[0] == "unresolved"
    assert np.isnan(found["p_seen"].iloc[0])
    assert pd.isna(found["term"].iloc[0])
    rest = found.index[1:]
    assert (found.loc[rest, "status"].astype(str) == run.calls.loc[rest, "status"].astype(str)).mean() > 0.97


def test_batch_unlike_the_donors_is_promised_nothing(jury: Jury) -> None:
    mixed = ad.concat([cells(("x", "y"), n=40, seed=5), cells(("thin",), n=40, seed=6, depth=0.2)])
    found = jury.annotate(mixed, batch="donor")
    assert found.record["calibration"]["exchangeable"]["unlike"] == ["dthin"]
    assert found.record["tier"] == "cluster-t"  # of the batches that are like the donors
    assert "Batch 'dthin' is unlike the held-out donors" in found.record["promise"]
    thin = (mixed.obs["donor"] == "dthin").to_numpy()
    assert set(found.calls["tier"][thin]) == {"none"}
    assert set(found.calls["tier"][~thin]) == {"cluster-t"}
    # Alone it is what held-out cells are thinned to, and like them.
    alone = jury.annotate(mixed[thin].copy(), batch="donor")
    assert alone.record["calibration"]["matching"]["matched"]
    assert alone.record["tier"] == "cluster-t"


def test_run_of_unlike_batches_only_has_no_tier(jury: Jury) -> None:
    fixed = Config.read(base=jury.config, calibration__match="off")
    found = jury.annotate(cells(("thin",), n=40, seed=6, depth=0.2), batch="donor", config=fixed)
    assert found.record["tier"] == "none"
    assert set(found.calls["tier"]) == {"none"}


def test_node_of_an_unseen_cell_is_above_its_likeliest_term_and_a_label(jury: Jury, run: Run) -> None:
    calls = run.calls[(run.calls["status"] == "unseen") & run.calls["term"].notna()]
    assert len(calls) > 0  # most of this made population lies far from everything: plain unseen
    node, top = (jury.ontology.indices(calls[name].astype(str).tolist()) for name in ("term", "top_term"))
    assert jury.ontology.is_ancestor(node, top).all()
    assert (node != top).all()
    general = too_general(jury.ontology, **jury.config.too_general.model_dump())
    assert not general[node].any()
    # All votes of a cell whose members are of one mind lie below that node.
    assert (calls["agreement"] == 1).mean() > 0.8
    assert_allclose(calls["support"], 1, atol=0.05)


def test_much_unseen_is_said() -> None:
    assert unseen_note(20, 100) is None
    assert unseen_note(0, 0) is None
    said = unseen_note(21, 100)
    assert said is not None
    assert said.startswith("21 of 100 cells do not belong to the reference.")


# Calibration on the query's own genes and depth -------------------------------------------------------------------


@pytest.fixture(scope="module")
def narrow(query: ad.AnnData) -> ad.AnnData:
    """The query without a third of the genes, every type's markers among them."""
    return query[:, np.arange(N_GENES) % 3 > 0].copy()


def test_held_out_cells_are_predicted_again_on_the_genes_of_a_narrow_query(jury: Jury, narrow: ad.AnnData) -> None:
    found = jury.annotate(narrow, batch="donor")
    matching = found.record["calibration"]["matching"]
    assert matching["matched"]
    assert matching["share"] == pytest.approx(2 / 3, abs=0.05)
    assert matching["sentence"] in found.record["calibration"]["notes"]
    assert matching["sentence"].startswith("Held-out cells were predicted again on the query's genes")
    off = told(jury, narrow, calibration__match="off")
    assert not off.record["calibration"]["matching"]["matched"]
    assert "easier task" in off.record["calibration"]["matching"]["sentence"]

    def accuracy(run: Run) -> NDArray[np.float64]:
        return np.array([row["accuracy"] for row in run.record["calibration"]["evidence"]["members"]])

    assert (accuracy(found) <= accuracy(off) + 0.01).all()
    assert found.record["calibration"]["evidence"] != off.record["calibration"]["evidence"]


def test_matching_to_a_query_like_the_reference_changes_little(jury: Jury, query: ad.AnnData, run: Run) -> None:
    found = told(jury, query, calibration__match="always")
    assert found.record["calibration"]["matching"]["matched"]
    # Thinned by a few per cent at most, and otherwise the same cells by the same members.
    before, after = (each.record["calibration"]["evidence"]["members"] for each in (run, found))
    assert_allclose([row["accuracy"] for row in after], [row["accuracy"] for row in before], atol=0.02)
    assert (found.calls["term"].astype(str) == run.calls["term"].astype(str)).mean() > 0.95


@pytest.mark.parametrize(
    ("step", "at"),
    [
        pytest.param("vote on held-out cells", 2, id="while_matching"),
        pytest.param("reduce votes to calls", 1, id="after_matching"),
    ],
)
def test_matched_run_can_be_resumed(jury: Jury, narrow: ad.AnnData, tmp_path: Path, step: str, at: int) -> None:
    def stop(name: str, done: int, total: int) -> None:
        if (name, done) == (step, at):
            raise Stop

    matched = 0

    def count(name: str, done: int, total: int) -> None:
        nonlocal matched
        matched += name == "vote on held-out cells"

    config = Config.read(base=jury.config, block_size=60)
    with pytest.raises(Stop):
        jury.annotate(narrow, batch="donor", config=config, out=tmp_path / "run", progress=stop)
    found = jury.annotate(narrow, batch="donor", config=config, out=tmp_path / "run", resume=True, progress=count)
    assert (matched > 0) == (step == "vote on held-out cells"), "what was matched is kept"
    same(found, jury.annotate(narrow, batch="donor", config=config))


# Fewer donors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n_donors", "column", "tier", "unit"),
    [
        pytest.param(10, None, "cell", None, id="one_batch_holds_cells_out"),
        pytest.param(3, "donor", "cell", "batch", id="three_batches_are_too_few_for_their_tier"),
    ],
)
def test_tier_falls_to_what_is_there(
    reference: ad.AnnData, query: ad.AnnData, n_donors: int, column: str | None, tier: str, unit: str | None
) -> None:
    some = reference[reference.obs["donor"].isin([f"d{i}" for i in range(n_donors)])].copy()
    config = Config(members=("logistic",), engine="local")
    made = Jury.fit(some, labels="cell_type", batch=column, config=config)
    found = made.annotate(query, batch="donor")
    assert (found.record["tier"], found.record["calibration"]["unit"]) == (tier, unit)
    assert (found.record["calibration"]["exchangeable"]["checked"]) == (unit is not None)
    assert (found.calls["status"] == "unseen").sum() > 10


def test_reference_of_sorted_populations_is_fitted_without_a_promise(reference: ad.AnnData, query: ad.AnnData) -> None:
    """Every batch is one type: who is held out cannot be known by any member that was trained without it."""
    some = reference[:180].copy()
    made = Jury.fit(some, labels="cell_type", batch="cell_type", config=Config(members=("logistic",), engine="local"))
    assert json.loads((made.folder / "card.json").read_text())["tier"] == "none"
    found = made.annotate(query, batch="donor")
    assert found.record["tier"] == "none"
    assert found.calls["term"].notna().any()


# Parts of the verdict -------------------------------------------------------------------------------------------------


@pytest.fixture
def votes(cl: CellOntology) -> Votes:
    """Four cells: a classifier, a member that is none, and one that is not installed."""
    names = ("logistic", "singler", "gone")
    b, t = cl.indices(TYPES[:2])
    terms = np.array([[b, t, -1], [t, t, b], [-1, t, b], [b, t, -1]], np.int32)
    mass = []
    for j in range(3):
        dense = np.zeros((4, len(cl)), np.float32)
        cast = terms[:, j] >= 0
        dense[cast, terms[cast, j]] = 0.7
        dense[cast, cl.index(TYPES[2])] = 0.3
        mass.append(csr_matrix(dense))
    return Votes(np.array(list("abcd")), names, terms, tuple(mass), np.full((4, 3), np.nan, np.float32))


def test_confidence_is_the_classifiers_alone(votes: Votes, monkeypatch: pytest.MonkeyPatch) -> None:
    from celljury.errors import MemberUnavailableError
    from celljury.verdict import member_class

    def found(name: str) -> Any:
        if name == "gone":
            raise MemberUnavailableError(name)
        return member_class(name)

    monkeypatch.setattr("celljury.verdict.member_class", found)
    classifiers = [name for name in ("logistic", "singler") if member_class(name).classifier]
    assert "logistic" in classifiers
    expected = [0.7, 0.7, np.nan if classifiers == ["logistic"] else 0.7, 0.7]
    assert_allclose(confidence(votes), np.array(expected, np.float32))
    assert np.isnan(confidence(votes.without(("logistic", "singler")))).all()


def test_distinct_votes_of_all_parts(votes: Votes, cl: CellOntology, tmp_path: Path) -> None:
    b, t = cl.indices(TYPES[:2])
    for cuts in ([0, 4], [0, 1, 4], [0, 1, 2, 3, 4]):
        folder = tmp_path / str(len(cuts))
        for i, (start, stop) in enumerate(pairwise(cuts)):
            write_part(votes_to_table(votes.rows(slice(start, stop)), cl), folder / "votes" / f"part-{i:05d}.parquet")
        patterns, n_cells, members = distinct_votes(Run(folder), cl, ())
        assert dict(zip(map(tuple, patterns.tolist()), n_cells.tolist(), strict=True)) == {
            (b, t, -1): 2, (t, t, b): 1, (-1, t, b): 1,
        }  # fmt: skip
        assert patterns.tolist() == sorted(patterns.tolist()), "in an order that parts do not decide"
        assert members == votes.members
        patterns, n_cells, _ = distinct_votes(Run(folder), cl, ("logistic",))
        assert dict(zip(map(tuple, patterns.tolist()), n_cells.tolist(), strict=True)) == {
            (-1, t, -1): 2,
            (-1, t, b): 2,
        }


def test_strangest_kind() -> None:
    signals = (("mahalanobis", "a"), ("residual", "a"), ("mahalanobis", "b"))
    made = Belonging(signals, np.zeros((3, 1)), np.ones((3, 1)), np.zeros(3), np.array([0.0, 1.0, 0.0]), (np.zeros(1),),
                     np.zeros(1, np.int32))  # fmt: skip
    units = np.array([[5.0, 4.0, 3.0], [1.0, 3.5, 3.0], [np.nan, 1.0, np.nan], [np.nan] * 3])
    expected = ["mahalanobis", "residual", "residual", None]  # 4 and 3; 2 and 2.5 after the shift
    assert strangest(made, units).tolist() == [KINDS.index(kind) if kind else -1 for kind in expected]


def test_tiers_are_ordered_from_the_weakest() -> None:
    assert TIERS == ("none", "cell", "cluster-t", "exact-donor")


def test_rule_without_a_calibration_is_refused_before_any_work(tmp_path: Path) -> None:
    config = Config(members=("logistic",), engine="local", calibration={"enabled": False})
    bare = Jury.fit(cells(("a", "b"), n=30, seed=1), labels="cell_type", donor="donor", config=config)
    asked = Config.read(base=bare.config, reduce__rule="calibrated")
    with pytest.raises(ConfigError, match="needs a jury with a calibration"):
        bare.annotate(cells(("c",), n=20, seed=2), out=tmp_path / "run", config=asked)
    assert not (tmp_path / "run").exists()
