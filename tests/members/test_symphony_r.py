"""`symphony_r` on a stand-in for R's package, which neither Debian nor the Python index has.

``symphony_stand_in`` is an R package of that name, written for these tests from the papers' equations and the manual's list
of arguments and slots, and installed into a library of its own. It shows that the member speaks to R as the manual says and
that its votes follow from what R answers. It cannot show that the real package answers like that: the member itself
compares both on every sample and gives up where they differ.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from environments_for_tests import needs_environment
from numpy.testing import assert_allclose
from on_p1 import end_to_end

from celljury.errors import MemberError, MemberUnavailableError
from celljury.members import r_packages, remote
from celljury.members.base import Block, Reference
from celljury.members.checks import Trial, member_checks, rows_of
from celljury.members.environments import python_of
from celljury.members.symphony_r import SymphonyR

if TYPE_CHECKING:
    from collections.abc import Iterator

needs_environment("r")

STAND_IN = Path(__file__).parent / "symphony_stand_in"


def forget_r() -> None:
    """End the R that runs, if one does, and what was found out about its packages."""
    if running := remote._running.pop(python_of("r"), None):
        running.close()
    r_packages.package_version.cache_clear()


@pytest.fixture(scope="module", autouse=True)
def stand_in(tmp_path_factory) -> Iterator[None]:
    """Make the stand-in the `symphony` that R finds."""
    library = tmp_path_factory.mktemp("library")
    command = ["R", "CMD", "INSTALL", "--no-docs", "--no-test-load", f"--library={library}", str(STAND_IN)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=library)
    assert done.returncode == 0, done.stderr[-2000:]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("R_LIBS", os.pathsep.join([str(library), os.environ.get("R_LIBS", "")]).rstrip(os.pathsep))
        forget_r()
        yield
    forget_r()


@pytest.fixture(scope="module")
def trial(stand_in) -> Trial:
    return Trial(SymphonyR)


@pytest.mark.parametrize("check", member_checks(), ids=lambda check: check.__name__.removeprefix("check_"))
def test_shared_check(check, trial) -> None:
    check(trial)


def test_saved_folder_holds_only_json_and_npz_without_objects(trial, tmp_path) -> None:
    trial.member.save(tmp_path)
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".npz"}
    for path in tmp_path.glob("*.npz"):
        with np.load(path, allow_pickle=False) as archive:
            assert all(not archive[name].dtype.hasobject for name in archive.files)


@pytest.mark.slow
def test_p1_end_to_end() -> None:
    found = end_to_end(SymphonyR)
    assert found.accuracy >= 0.92  # .949, as the member symphony with unit scaling
    assert found.macro_f1 >= 0.75  # .811


def test_one_batch_of_reference_and_query_is_served(trial) -> None:
    cells = trial.reference.cells
    alone = Block(cells.counts, cells.genes, cells.present, np.zeros_like(cells.batch), ("all",))
    query = rows_of(trial.query, np.flatnonzero(trial.query.batch == 1))
    member = SymphonyR().fit(Reference(alone, trial.reference.label, trial.reference.terms)).adapt(query)
    assert member.batches == ("query2",)
    right = member.predict(query).mass.argmax(axis=1) == trial.truth[trial.query.batch == 1]
    assert right.mean() > 0.9


def test_adapting_undoes_a_shift_of_a_query_batch(trial) -> None:
    plain = trial.member._coordinates(trial.query)
    moved = trial.member._moved(plain, trial.member._membership(plain), trial.query)
    embedding = trial.member.reference["Z_corr"].T
    centers = np.array([embedding[trial.member.label == term].mean(axis=0) for term in range(3)])
    before = np.linalg.norm(plain - centers[trial.truth], axis=1).mean()
    assert np.linalg.norm(moved - centers[trial.truth], axis=1).mean() < before


def test_r_that_maps_otherwise_is_not_believed(trial, tmp_path, monkeypatch) -> None:
    trial.member.save(tmp_path)
    member = SymphonyR.load(tmp_path)
    honest = member._ask

    def shifted(do, cells, **more):
        answer = honest(do, cells, **more)
        return {**answer, "corrected": answer["corrected"] + 0.5}

    monkeypatch.setattr(member, "_ask", shifted)
    with pytest.raises(MemberError, match=r"symphony 0\.0\.1 of R gives other corrected coordinates.*differ by 0\.5"):
        member.adapt(trial.query)


def test_slots_are_rs(trial) -> None:
    slots = trial.member.reference
    n_clusters, n_cells = slots["R"].shape
    assert slots["Z_corr"].shape == slots["Z_orig"].shape == (20, n_cells)
    assert slots["centroids"].shape == (20, n_clusters)
    assert_allclose(np.linalg.norm(slots["centroids"], axis=0), 1)
    assert_allclose(slots["Nr"].sum(), n_cells)


def test_without_the_package_it_says_how_to_get_it(monkeypatch, trial) -> None:
    monkeypatch.setattr(r_packages, "package_version", lambda package: None)
    assert SymphonyR.missing() == ("R package symphony",)
    with pytest.raises(MemberUnavailableError, match=r"no package symphony.*install\.packages"):
        SymphonyR().fit(trial.reference)
