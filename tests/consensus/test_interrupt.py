"""A run that is stopped from outside, politely or not, loses nothing that was finished."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import anndata as ad
import numpy as np
import pandas as pd
import pytest

CLI = (sys.executable, "-c", "from celljury.cli import main; main()")
TERMS = ("CL:0000236", "CL:0000624", "CL:0000623")


def cells(n_cells: int, *, seed: int) -> ad.AnnData:
    rng = np.random.default_rng(seed)
    kind = rng.integers(3, size=n_cells)
    rate = np.full((3, 120), 0.5)
    for i in range(3):
        rate[i, 30 * i : 30 * i + 30] = 4
    obs = pd.DataFrame({"cell_type": np.array(TERMS)[kind]}, index=[f"c{i}" for i in range(n_cells)])
    var = pd.DataFrame(index=[f"G{j}" for j in range(120)])
    return ad.AnnData(rng.poisson(rate[kind]).astype(np.float32), obs=obs, var=var)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("interrupt")
    cells(120, seed=0).write_h5ad(made / "reference.h5ad")
    cells(400, seed=1).write_h5ad(made / "query.h5ad")
    fit = ("fit", "reference.h5ad", "--labels", "cell_type", "--members", "logistic,singler", "--out", "jury")
    subprocess.run([*CLI, *fit], cwd=made, check=True, capture_output=True)
    return made


def command(out: str, *more: str) -> list[str]:
    options = ("--jury", "jury", "--block-size", "4", "--no-figures", "--out", out)
    return [*CLI, "annotate", "query.h5ad", *options, *more]


@pytest.mark.parametrize(
    ("stop", "status"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)], ids=["interrupted", "killed"]
)
def test_a_stopped_run_goes_on_where_it_was(folder, stop, status):
    out = folder / f"run-{stop.name}"
    process = subprocess.Popen(
        command(out.name), cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        # Started in the background, this process ignores interrupts, and its children would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while len(list(out.glob("votes/part-*.parquet"))) < 3 and time.monotonic() < deadline:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    os.kill(process.pid, stop)
    _, said = process.communicate(timeout=60)
    assert process.returncode == status
    assert "Traceback" not in said
    if stop is signal.SIGINT:
        assert "--resume" in said
    finished = {path.name: path.stat().st_mtime_ns for path in out.glob("votes/part-*.parquet")}
    assert 3 <= len(finished) < 100
    assert not (out / "calls.parquet").exists()
    done = subprocess.run(command(out.name, "--resume"), cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all((out / "votes" / name).stat().st_mtime_ns == when for name, when in finished.items())
    whole = folder / "whole"
    if not whole.exists():
        subprocess.run(command(whole.name), cwd=folder, check=True, capture_output=True)
    pd.testing.assert_frame_equal(pd.read_parquet(out / "calls.parquet"), pd.read_parquet(whole / "calls.parquet"))
    assert not [path for path in out.rglob("*") if ".partial" in path.name]
