"""A third party's package: installed, its member is listed, passes the checks, and sits in a jury like any other."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from celljury.demo import LABELS, demo_halves, demo_map

SOURCE = Path(__file__).parent / "example_package"


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """Build the package from a copy and install it where only PYTHONPATH finds it; no network."""
    folder = tmp_path_factory.mktemp("example")
    shutil.copytree(SOURCE, folder / "source", ignore=shutil.ignore_patterns("__pycache__"))
    target = folder / "site"
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation",
         "--disable-pip-version-check", "--target", str(target), str(folder / "source")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return target


def run(*arguments: str, installed: Path, folder: Path, program: str = "celljury") -> str:
    """Run a program that stands beside this interpreter, where only PYTHONPATH knows of the package."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name(program)), *arguments],
        capture_output=True, text=True, check=False, cwd=folder,
        env={**os.environ, "PYTHONPATH": str(installed), "COLUMNS": "200", "TERM": "dumb"},
    )  # fmt: skip
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return done.stdout


def test_its_own_tests_pass(installed, tmp_path) -> None:
    shutil.copy(SOURCE / "test_nearest_centroid.py", tmp_path)
    said = run("-q", "-p", "no:cacheprovider", str(tmp_path), installed=installed, folder=tmp_path, program="pytest")
    assert "passed" in said
    assert "skipped" not in said


def test_it_is_listed_and_described_where_it_is_installed(installed, tmp_path) -> None:
    listed = json.loads(run("members", "list", "--json", installed=installed, folder=tmp_path))
    entry = next(member for member in listed["members"] if member["name"] == "nearest_centroid")
    assert entry["version"] == "celljury-nearest-centroid 0.1.0"
    assert entry["why_not"] is None
    assert not entry["default"]


def test_it_sits_in_a_jury_and_its_votes_land_in_the_run(installed, tmp_path) -> None:
    reference, query = demo_halves()
    reference.write_h5ad(tmp_path / "reference.h5ad")
    query.write_h5ad(tmp_path / "query.h5ad")
    (tmp_path / "settings.toml").write_text("[settings.nearest_centroid]\ntemperature = 0.2\n", encoding="utf-8")
    run(
        "fit", "reference.h5ad", "--labels", LABELS, "--map", str(demo_map()), "--out", "jury",
        "--members", "logistic,nearest_centroid", "--config", "settings.toml", "--json",
        installed=installed, folder=tmp_path,
    )  # fmt: skip
    run(
        "annotate", "query.h5ad", "--jury", "jury", "--out", "run", "--no-h5ad", "--no-figures",
        "--json", installed=installed, folder=tmp_path,
    )  # fmt: skip
    told = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    member = next(member for member in told["members"] if member["name"] == "nearest_centroid")
    assert member["version"] == "celljury-nearest-centroid 0.1.0"
    assert member["settings"] == {"temperature": 0.2}
    assert member["absent"] is None
    votes = pd.concat([pd.read_parquet(part) for part in sorted((tmp_path / "run" / "votes").glob("part-*.parquet"))])
    assert len(votes) == query.n_obs
    assert np.isfinite(votes["strange_nearest_centroid"]).all()
    assert set(votes["vote_nearest_centroid"]) <= set(told["reference_terms"])
    assert 0.5 < (votes["vote_logistic"] == votes["vote_nearest_centroid"]).mean() < 1
