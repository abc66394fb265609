"""Members in another interpreter: the exchange, and everything that can go wrong on the other side."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import psutil
import pytest
from numpy.testing import assert_array_equal

from celljury.errors import MemberError, MemberUnavailableError
from celljury.members import remote
from celljury.members.about import About
from celljury.members.checks import Trial, member_checks
from celljury.members.cpu_clock import cpu_seconds
from celljury.members.environments import FOLDER_VARIABLE
from celljury.members.remote import RemoteMember, RemoteSettings

if TYPE_CHECKING:
    from celljury.members.base import MemberSettings

HERE = Path(__file__).parent


class FarSettings(RemoteSettings):
    """What the far worker is told to do wrong."""

    python: str | None = sys.executable
    mischief: str = ""


class Far(RemoteMember):
    """Nearest centroid in another process: ``tests/members/far_worker.py``."""

    name = "far"
    environment: ClassVar[str] = "nowhere"
    worker: ClassVar[str] = str(HERE / "far_worker.py")
    adapts: ClassVar[bool] = True
    strangeness = "distance to the nearest centroid"
    distribution = "numpy"
    Settings: ClassVar[type[MemberSettings]] = FarSettings
    about = About("", "", "", "", "", ())


@pytest.fixture(scope="module")
def trial() -> Trial:
    return Trial(Far)


def fitted(**settings: Any) -> Far:
    return Far(**settings).fit(Trial(Far).reference)


# The contract -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("check", member_checks(), ids=lambda check: check.__name__.removeprefix("check_"))
def test_shared_check(check, trial) -> None:
    check(trial)


def test_saved_folder_holds_only_json_and_npz_without_objects(trial, tmp_path) -> None:
    trial.member.save(tmp_path)
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.suffix for path in written} == {".json", ".npz"}
    for path in written:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as archive:
                assert all(not archive[name].dtype.hasobject for name in archive.files)


def test_versions_are_those_of_the_other_interpreter(trial) -> None:
    assert trial.member.version_used() == f"numpy {np.__version__}"


def test_one_process_serves_all_orders_and_members(trial) -> None:
    _ = trial.votes
    first = remote._running[Path(sys.executable)].pid
    again = fitted()
    again.predict(trial.query)
    assert remote._running[Path(sys.executable)].pid == first


def test_cpu_time_of_the_other_process_is_counted(trial) -> None:
    before, own = cpu_seconds(), time.process_time()
    fitted(mischief="work")
    assert cpu_seconds() - before > time.process_time() - own + 0.2


# What goes wrong there --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mischief", "said"),
    [
        pytest.param("raise", "ValueError: nothing to be done", id="an_error_is_told"),
        pytest.param("exit", "ended with status 7 during predict", id="exit_is_told_with_its_status"),
        pytest.param(
            "crash", "ended with status -11 during predict; it said last: about to crash", id="a_crash_is_told"
        ),
        pytest.param("quiet", "its answer lacks 'mass'", id="an_answer_without_mass"),
        pytest.param("objects", "holds Python objects", id="objects_are_not_exchanged"),
    ],
)
def test_failure_is_a_member_error_and_the_next_order_is_served(trial, mischief, said) -> None:
    member = fitted(mischief=mischief)
    with pytest.raises(MemberError, match=said):
        member.predict(trial.query)
    trial.agree(trial.member.predict(trial.query), trial.votes, what=f"after {mischief}")


def test_killed_between_two_orders_it_starts_again(trial) -> None:
    _ = trial.votes
    process = psutil.Process(remote._running[Path(sys.executable)].pid)
    process.send_signal(signal.SIGKILL)
    while psutil.pid_exists(process.pid) and process.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    trial.agree(trial.member.predict(trial.query), trial.votes, what="after a kill")


def test_over_its_time_it_is_ended_with_all_that_it_started(trial, tmp_path) -> None:
    member = fitted(mischief="sleep", time_limit=0.5)
    with pytest.raises(MemberError, match=r"took longer than its time_limit of 0\.5 s"):
        member.predict(trial.query)
    assert remote._running[Path(sys.executable)].pid is None
    started = [p for p in psutil.process_iter(["cmdline"]) if "celljury-far-sleep" in (p.info["cmdline"] or ())]
    assert [p for p in started if p.status() != psutil.STATUS_ZOMBIE] == []


def test_over_its_memory_it_is_ended(trial) -> None:
    member = fitted(mischief="memory", memory_limit=0.5)
    with pytest.raises(MemberError, match=r"held 0\.\d+ GB, more than its memory_limit of 0\.5 GB"):
        member.predict(trial.query)


def test_what_it_prints_goes_to_the_log_and_nowhere_else(trial, tmp_path, monkeypatch, capfd, caplog) -> None:
    log = tmp_path / "worker.log"
    monkeypatch.setenv(remote.LOG_VARIABLE, str(log))
    with caplog.at_level(logging.INFO):
        trial.make().fit(trial.reference).adapt(trial.query).predict(trial.query)
    assert tuple(capfd.readouterr()) == ("", "")
    assert caplog.records == []
    assert log.read_text().splitlines() == ["learned 3 centroids"]


@pytest.mark.parametrize("hold_gil", [False, True], ids=["while_waiting", "deep_in_compiled_code"])
def test_it_ends_with_its_parent(tmp_path, hold_gil) -> None:
    """The parent is killed while its worker is at work: nothing is left that works for nobody."""
    program = (
        "import sys; sys.path[:0] = sys.argv[1:2]\n"
        "from celljury.members.checks import Trial\n"
        "from test_remote import Far\n"
        "from celljury.members import remote\n"
        "member = Far(mischief=sys.argv[2]).fit(Trial(Far).reference)\n"
        "print(next(iter(remote._running.values())).pid, flush=True)\n"
        "member.predict(Trial(Far).query)\n"
    )
    mischief = "hold" if hold_gil else "sleep"
    parent = subprocess.Popen(
        [sys.executable, "-c", program, str(HERE), mischief], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )  # fmt: skip
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.communicate()
    _, alive = psutil.wait_procs([child], timeout=10)
    assert alive == []
    for left in psutil.process_iter(["cmdline"]):  # what the worker had started
        if "celljury-far-sleep" in (left.info["cmdline"] or ()):
            left.kill()


# What is not there ------------------------------------------------------------------------------------------------


def test_environment_that_is_not_installed_is_named_with_the_command(trial, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    with pytest.raises(MemberUnavailableError, match="no interpreter /no/such/python"):
        Far(python="/no/such/python").fit(trial.reference)

    class Installed(Far):
        environment: ClassVar[str] = "scarches"

    with pytest.raises(MemberUnavailableError, match=r"'far'.*not installed: celljury members install scarches"):
        Installed(python=None).fit(trial.reference)


def test_interpreter_that_does_not_run_is_named(trial, tmp_path) -> None:
    broken = tmp_path / "python"
    broken.write_text("no program")
    with pytest.raises(MemberError, match=f"its interpreter {broken} cannot be started"):
        Far(python=str(broken)).fit(trial.reference)


def test_damaged_state_is_named(trial, tmp_path) -> None:
    from celljury.errors import UnreadableFileError

    trial.member.save(tmp_path)
    (tmp_path / "fitted" / "state.npz").write_bytes(b"")
    with pytest.raises(UnreadableFileError, match="jury is damaged"):
        Far.load(tmp_path)


def test_state_comes_back_as_it_was(trial, tmp_path) -> None:
    _ = trial.votes
    trial.member.save(tmp_path)
    again = Far.load(tmp_path)
    assert json.loads((tmp_path / "remote.json").read_text())["versions"] == {"numpy": np.__version__}
    assert_array_equal(again._fitted.entries["centroids"], trial.member._fitted.entries["centroids"])
    assert again._adapted.entries["n_sampled"] == trial.query.n_cells
