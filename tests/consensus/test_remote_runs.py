"""A run whose member lives in another interpreter and comes to grief there: the others go on, and it is told everywhere."""

from __future__ import annotations

import json
import os
import signal
import textwrap
import threading
import time
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import typer.testing

from celljury.cli import app
from celljury.config import Config
from celljury.jury import Jury
from celljury.members import remote

if TYPE_CHECKING:
    from pathlib import Path

TERMS = ("CL:0000236", "CL:0000624", "CL:0000625")

MEMBER = textwrap.dedent(
    """
    import os, sys
    from celljury.members.remote import RemoteMember, RemoteSettings

    class FarSettings(RemoteSettings):
        python: str | None = sys.executable
        mischief: str = ""

    class Far(RemoteMember):
        name = "far"
        environment = "nowhere"
        worker = os.path.join(os.path.dirname(os.path.abspath(__file__)), "far_away.py")
        Settings = FarSettings
    """
)
WORKER = textwrap.dedent(
    """
    import os, time
    import numpy as np

    def versions():
        return {"far": "1.0"}

    def fit(cells, options):
        return {"n_terms": len(cells["terms"])}

    def predict(state, cells, options):
        mass = np.zeros((cells["counts"].shape[0], state["n_terms"]))
        mass[:, 0] = 1
        calls = os.environ["FAR_CALLS"]
        with open(calls, "a") as file:
            print(os.getpid(), file=file)
        if len(open(calls).readlines()) > 1:
            mischief = options["settings"]["mischief"]
            if mischief == "raise":
                raise RuntimeError("the second block is too much")
            if mischief == "quit":
                raise SystemExit(3)
            if mischief in ("wait", "sleep"):
                time.sleep(60)
        return {"mass": mass}
    """
)


@pytest.fixture
def far(tmp_path, monkeypatch) -> Path:
    """Put the member where this process and its workers find it; return the file that its worker notes calls in."""
    site = tmp_path / "site"
    info = site / "far_member-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "far_member.py").write_text(MEMBER)
    (site / "far_away.py").write_text(WORKER)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: far-member\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[celljury.members]\nfar = far_member:Far\n")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("FAR_CALLS", str(tmp_path / "calls"))
    for interpreter in remote._running.values():  # one of another test's has that test's environment
        interpreter.close()
    return tmp_path / "calls"


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


def kill_at_second_call(calls: Path) -> threading.Thread:
    """Kill the worker from outside once it is at its second block."""

    def watch() -> None:
        until = time.monotonic() + 60
        while not calls.is_file() or len(lines := calls.read_text().split()) < 2:
            time.sleep(0.02)
            if time.monotonic() > until:  # it never voted twice: what the test expects of the kill is not there
                return
        os.kill(int(lines[-1]), signal.SIGKILL)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize(
    ("mischief", "engine", "settings", "said"),
    [
        pytest.param("wait", "processes", {}, "ended with status -9 during predict", id="killed_from_outside"),
        pytest.param("wait", "local", {}, "ended with status -9 during predict", id="killed_beside_a_local_run"),
        pytest.param("raise", "processes", {}, "RuntimeError: the second block is too much", id="raises"),
        pytest.param("quit", "processes", {}, "ended with status 3", id="quits"),
        pytest.param(
            "sleep", "processes", {"time_limit": 1.0}, "took longer than its time_limit", id="over_its_own_time"
        ),
    ],
)
def test_absence_stands_in_run_calls_and_report(far, tmp_path, mischief, engine, settings, said) -> None:
    config = Config(
        members=("logistic", "far"), engine=engine, settings={"far": {"mischief": mischief, **settings}},
        calibration={"enabled": False},
    )  # fmt: skip
    jury = Jury.fit(made_cells(), labels="cell_type", batch="batch", config=config, out=tmp_path / "jury")
    assert jury.members["far"].version == "far 1.0"
    assert jury.members["far"].absent is None
    far.unlink(missing_ok=True)
    killer = kill_at_second_call(far) if mischief == "wait" else None
    run = jury.annotate(made_cells(seed=1), config=Config.read(base=jury.config, block_size=40), out=tmp_path / "run")
    if killer:
        killer.join()
    record = {
        member["name"]: member["absent"] for member in json.loads((run.folder / "run.json").read_text())["members"]
    }
    assert said in record["far"]
    assert record["logistic"] is None
    calls = pd.read_parquet(run.folder / "calls.parquet")
    assert len(calls) == 90
    assert set(calls["n_votes"]) == {1}  # also of the first block, on which it had voted
    assert calls["vote_far"].isna().all()
    assert calls["reasons"].str.contains("member_absent").all()
    done = typer.testing.CliRunner().invoke(app, ["report", str(run.folder), "--no-figures", "--format", "tsv"])
    assert done.exit_code == 0, done.output
    page = (run.folder / "report.html").read_text()
    assert said in page
    assert (run.folder / "worker-remote.log").is_file() is (engine == "processes" and mischief == "raise")


def test_over_the_runs_time_it_is_ended_with_its_interpreter(far, tmp_path) -> None:
    import psutil

    config = Config(
        members=("logistic", "far"), time_limit=3.0, settings={"far": {"mischief": "sleep"}},
        calibration={"enabled": False},
    )  # fmt: skip
    jury = Jury.fit(made_cells(), labels="cell_type", batch="batch", config=config)
    far.unlink(missing_ok=True)
    run = jury.annotate(made_cells(seed=1), config=Config.read(base=jury.config, block_size=40))
    absent = {member["name"]: member["absent"] for member in run.record["members"]}
    assert "longer than the time limit" in absent["far"]
    assert set(run.calls["n_votes"]) == {1}
    worker = int(far.read_text().split()[-1])
    until = time.monotonic() + 10
    while psutil.pid_exists(worker) and psutil.Process(worker).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < until, "the interpreter of an ended worker goes on"
        time.sleep(0.05)
