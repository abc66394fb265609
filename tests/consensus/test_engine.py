"""Members at work: what a broken member may not do to a run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import anndata as ad
import numpy as np
import pandas as pd
import psutil
import pytest

from celljury.config import Config
from celljury.engine import Bench, member_class
from celljury.errors import ConfigError, MemberError
from celljury.jury import Jury

TERMS = ("CL:0000236", "CL:0000624", "CL:0000625")

# A third-party distribution with members that go wrong, each in its own way. "fine" always votes for the first term.
BROKEN = textwrap.dedent(
    """
    import os, time
    import numpy as np
    from celljury.members.base import Member, MemberVotes

    class Fine(Member):
        name = "fine"
        def _fit(self, reference): print("a library that prints to standard output")
        def _predict(self, block):
            mass = np.zeros((block.n_cells, len(self.terms)), np.float32)
            mass[:, 0] = 1
            return MemberVotes(mass, np.full(block.n_cells, np.nan, np.float32))
        def _save(self, folder): pass
        def _load(self, folder): pass

    class Raises(Fine):
        name = "raises"
        def _fit(self, reference): raise RuntimeError("the reference is not to my liking")

    class Crashes(Fine):
        name = "crashes"
        def _predict(self, block): os._exit(9)

    class Sleeps(Fine):
        name = "sleeps"
        def _fit(self, reference): time.sleep(60)

    class Lies(Fine):
        name = "lies"
        def _predict(self, block):
            votes = super()._predict(block)
            return MemberVotes(votes.mass * 0.7, votes.strange)

    class FailsLate(Fine):
        name = "fails_late"
        def _predict(self, block):
            if os.path.exists(os.environ["LATE"]):
                raise RuntimeError("the second block is too much")
            open(os.environ["LATE"], "w").close()
            return super()._predict(block)
    """
)


@pytest.fixture
def broken_members(tmp_path, monkeypatch):
    """Put the distribution where this process and its workers find it."""
    site = tmp_path / "site"
    info = site / "broken_members-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "broken_members.py").write_text(BROKEN)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-members\nVersion: 1.0\n")
    names = {"fine": "Fine", "raises": "Raises", "crashes": "Crashes", "sleeps": "Sleeps", "lies": "Lies"}
    names |= {"fails_late": "FailsLate", "gone": "NotThere"}
    points = "\n".join(f"{name} = broken_members:{cls}" for name, cls in names.items())
    (info / "entry_points.txt").write_text(f"[celljury.members]\n{points}\nunimportable = not_a_module:X\n")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("LATE", str(tmp_path / "late"))
    return site


def made_cells(n_cells: int = 90, *, seed: int = 0) -> ad.AnnData:
    """Three types that differ in thirty genes each, two batches, whole counts."""
    rng = np.random.default_rng(seed)
    kind = np.arange(n_cells) % 3
    rate = np.full((3, 150), 0.5)
    for i in range(3):
        rate[i, 30 * i : 30 * i + 30] = 4
    obs = pd.DataFrame(
        {"cell_type": np.array(TERMS)[kind], "batch": np.where(np.arange(n_cells) % 2, "one", "two")},
        index=[f"cell{seed}-{i}" for i in range(n_cells)],
    )
    var = pd.DataFrame(index=[f"GENE{j}" for j in range(150)])
    return ad.AnnData(rng.poisson(rate[kind]).astype(np.float32), obs=obs, var=var)


def fitted(members: tuple[str, ...], *, engine: str, **settings: object) -> Jury:
    config = Config(members=members, engine=engine, **settings)
    return Jury.fit(made_cells(), labels="cell_type", batch="batch", config=config)


@pytest.mark.parametrize("engine", ["local", "processes"])
def test_a_member_that_raises_is_a_recorded_absence(broken_members, engine):
    jury = fitted(("logistic", "raises"), engine=engine)
    record = jury.members["raises"]
    assert record.absent == "fit: RuntimeError: the reference is not to my liking"
    run = jury.annotate(made_cells(seed=1))
    assert set(run.calls["n_votes"]) == {1}
    assert set(run.calls["n_members"]) == {2}
    assert run.calls["reasons"].str.contains("member_absent").all()
    assert run.calls["vote_raises"].isna().all()
    absent = {member["name"]: member["absent"] for member in run.record["members"]}
    assert "not to my liking" in absent["raises"]


def test_a_crash_takes_its_worker_down_and_nobody_else(broken_members):
    jury = fitted(("logistic", "crashes", "fine"), engine="processes")
    run = jury.annotate(made_cells(seed=1), config=Config.read(base=jury.config, block_size=40))
    absent = {member["name"]: member["absent"] for member in run.record["members"]}
    assert "ended with status 9" in absent["crashes"]
    assert absent["logistic"] is None
    assert absent["fine"] is None
    assert set(run.calls["n_votes"]) == {2}


def test_a_member_past_its_time_is_ended(broken_members):
    jury = fitted(("fine", "sleeps"), engine="processes", time_limit=3.0)
    assert "time limit" in jury.members["sleeps"].absent
    assert jury.members["fine"].absent is None


@pytest.mark.parametrize("engine", ["local", "processes"])
def test_probabilities_that_do_not_sum_to_one_are_refused(broken_members, engine):
    jury = fitted(("fine", "lies"), engine=engine)
    run = jury.annotate(made_cells(seed=1))
    absent = {member["name"]: member["absent"] for member in run.record["members"]}
    assert "sum to 0.7" in absent["lies"]


def test_who_fails_on_one_block_votes_on_none(broken_members):
    jury = fitted(("logistic", "fails_late"), engine="local")
    run = jury.annotate(made_cells(seed=1), config=Config.read(base=jury.config, block_size=30))
    assert run.calls["vote_fails_late"].isna().all()
    assert set(run.calls["n_votes"]) == {1}


@pytest.mark.parametrize(
    ("name", "said"),
    [("unimportable", "No module named 'not_a_module'"), ("gone", "NotThere")],
    ids=["package_that_does_not_import", "class_that_is_not_there"],
)
def test_a_member_that_cannot_be_imported_is_a_recorded_absence(broken_members, name, said):
    jury = fitted(("logistic", name), engine="processes")
    assert said in jury.members[name].absent


def test_all_required_stops_before_any_training(broken_members, monkeypatch, tmp_path):
    monkeypatch.setattr("celljury.config.DEFAULT_MEMBERS", ("logistic", "unimportable"))
    config = Config(members="all-required", engine="local")
    with pytest.raises(ImportError, match="not_a_module"):
        Jury.fit(made_cells(), labels="cell_type", config=config, out=tmp_path / "jury")
    assert not (tmp_path / "jury").exists()


def test_all_required_stops_where_one_fails(broken_members, monkeypatch, tmp_path):
    monkeypatch.setattr("celljury.config.DEFAULT_MEMBERS", ("logistic", "raises"))
    config = Config(members="all-required", engine="local")
    with pytest.raises(MemberError, match="not to my liking") as caught:
        Jury.fit(made_cells(), labels="cell_type", config=config, out=tmp_path / "jury")
    assert caught.value.exit_status == 3
    assert not (tmp_path / "jury" / "jury.json").exists()


def test_no_member_left_is_an_error_that_names_all(broken_members):
    with pytest.raises(MemberError, match="no member could be fitted") as caught:
        fitted(("raises", "unimportable"), engine="local")
    assert "raises" in str(caught.value)
    assert "unimportable" in str(caught.value)


def test_unknown_member_names_the_known_ones():
    with pytest.raises(ConfigError, match="no member 'sanvi'") as caught:
        member_class("sanvi")
    assert "scanvi" in str(caught.value)


def test_what_a_member_prints_is_kept_in_the_worker_log(broken_members, tmp_path):
    config = Config(members=("fine", "logistic"), engine="processes")
    jury = Jury.fit(made_cells(), labels="cell_type", config=config, out=tmp_path / "jury")
    assert "prints to standard output" in (jury.folder / "worker-light.log").read_text()


def test_no_process_outlives_the_bench(broken_members, tmp_path):
    with Bench("processes", tmp_path / "scratch", threads=1) as bench:
        order = {"do": "load", "folder": str(tmp_path / "nowhere")}
        answers = dict(bench.run({"fine": order}))
        process = bench._workers["light"].process
        assert process is not None
        assert process.poll() is None
    assert not answers["fine"]["ok"]
    assert process.poll() is not None


def test_both_engines_give_the_same_calls(tmp_path):
    calls = {}
    for engine in ("local", "processes"):
        jury = fitted(("logistic", "singler"), engine=engine)
        calls[engine] = jury.annotate(made_cells(seed=1), batch="batch").calls
    pd.testing.assert_frame_equal(calls["local"], calls["processes"])


def test_records_are_plain_json(tmp_path):
    jury = fitted(("logistic",), engine="local")
    assert json.loads((jury.folder / "jury.json").read_text())["members"][0]["name"] == "logistic"


def test_after_nobody_could_vote_a_second_try_starts_afresh(broken_members, tmp_path):
    jury = fitted(("crashes",), engine="processes")
    for _ in range(2):
        with pytest.raises(MemberError, match="no member could vote"):
            jury.annotate(made_cells(seed=1), out=tmp_path / "run", resume=True)
        assert not (tmp_path / "run" / "votes").exists()
        assert not (tmp_path / "run" / "scratch").exists()


def test_survivors_that_crash_when_loaded_again_are_absences(broken_members, tmp_path, monkeypatch):
    with Bench("processes", tmp_path / "scratch", threads=1) as bench:
        worker = bench._worker("light")
        worker.loaded["fine"] = {"do": "load", "member": "fine", "folder": str(tmp_path / "nowhere")}
        order = {"do": "load", "folder": str(tmp_path / "nowhere")}
        answers = dict(bench.run({"logistic": order}))
        assert not answers["logistic"]["ok"]
        assert "fine" not in worker.loaded


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGKILL], ids=["ended_politely", "killed"])
def test_workers_end_with_the_process_that_started_them(broken_members, tmp_path, stop):
    made_cells().write_h5ad(tmp_path / "reference.h5ad")
    fit = ("fit", "reference.h5ad", "--labels", "cell_type", "--members", "sleeps", "--out", "jury")
    code = "from celljury.cli import main; main()"
    process = subprocess.Popen([sys.executable, "-c", code, *fit], cwd=tmp_path, stderr=subprocess.DEVNULL)
    parent, deadline = psutil.Process(process.pid), time.monotonic() + 60
    while not parent.children() and time.monotonic() < deadline:
        time.sleep(0.05)
    (worker,) = parent.children()
    time.sleep(1.0)
    process.send_signal(stop)
    process.wait(timeout=20)
    assert psutil.wait_procs([worker], timeout=20)[1] == []
