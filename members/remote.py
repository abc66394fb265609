"""Members that live in another interpreter: orders go out as files, and what goes wrong there stays there.

A child process a Python (`celljury.members.environments`) is kept for as long as this process lives. It serves
`celljury.members.workers.exchange`, ends with its parent, and is killed when an order takes too long or too much memory.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
import weakref
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from celljury.errors import MemberError, MemberUnavailableError, UnreadableFileError
from celljury.members.base import Block, Member, MemberSettings, MemberVotes, Reference
from celljury.members.cpu_clock import add_elsewhere
from celljury.members.environments import pinned_version, python_of, why_not_installed
from celljury.members.workers.exchange import read_entries, write_entries

if TYPE_CHECKING:
    from collections.abc import Mapping

WORKERS = Path(__file__).parent / "workers"
LOG_VARIABLE = "CELLJURY_WORKER_LOG"  # set by a run: the file that everything a child says goes to
LOOK_EVERY = 0.25  # seconds between looks at a child's memory
GB = 1024**3


class RemoteSettings(MemberSettings):
    """Settings of every member in another interpreter.

    Attributes
    ----------
    python
        An interpreter of your own that has the member's libraries, in place of the one that
        ``celljury members install`` makes.
    time_limit
        Seconds it may take for one step; None = as long as the run allows.
    memory_limit
        GB (1024**3 bytes) that its process and those it starts may hold; None = no limit.
    """

    python: str | None = None
    time_limit: float | None = Field(default=None, gt=0)
    memory_limit: float | None = Field(default=None, gt=0)


class RemoteMember(Member):
    """A member whose library runs in another interpreter.

    A subclass names its ``environment`` and its ``worker``: a module of `celljury.members.workers`, or the path of a file of
    your own, with these functions, which run there and know nothing of celljury::

        fit(cells, options) -> state
        adapt(state, cells, options) -> further entries of the state    # where the member adapts
        predict(state, cells, options) -> {"mass": ..., "strange": ..., "signal_KIND": ...}
        versions() -> {library: version}

    ``cells`` holds ``counts`` (CSR), ``genes``, ``present``, ``batch``, ``batches``, ``share``; for `fit` also ``label``
    and ``terms``. A state is a flat dictionary of arrays and JSON values: it is saved as it is, and no file of it can run
    code.
    """

    kind: ClassVar[Literal["light", "torch", "remote"]] = "remote"
    environment: ClassVar[str]
    worker: ClassVar[str]
    adapts: ClassVar[bool] = False  # whether the worker has an `adapt`
    Settings: ClassVar[type[MemberSettings]] = RemoteSettings

    def __init__(self, *, seed: int = 0, threads: int = 1, **settings: Any) -> None:
        super().__init__(seed=seed, threads=threads, **settings)
        self._fitted: _State | None = None
        self._adapted: _State | None = None
        self._versions: dict[str, str] = {}

    # What is installed ------------------------------------------------------------------------------------------

    @classmethod
    def missing(cls) -> tuple[str, ...]:
        """Return the environment's name where it is not installed."""
        return (cls.environment,) if why_not_installed(cls.environment) else ()

    @classmethod
    def require(cls) -> None:
        """Raise MemberUnavailableError where the environment is not installed."""
        if why := why_not_installed(cls.environment):
            message = f"member {cls.name!r}: {why}"
            raise MemberUnavailableError(message)

    @classmethod
    def library_version(cls) -> str:
        """Version that the environment pins, e.g. ``scArches 0.6.1``."""
        return f"{cls.distribution} {pinned_version(cls.environment, cls.distribution) or 'unknown'}"

    def version_used(self) -> str:
        """Versions that the worker named when it fitted, else those that are pinned."""
        return ", ".join(f"{name} {version}" for name, version in self._versions.items()) or self.library_version()

    def ready(self) -> None:
        """Raise MemberUnavailableError where the interpreter is missing."""
        if self.settings.python is None:
            self.require()
        elif not Path(self.settings.python).exists():
            message = (
                f"member {self.name!r}: there is no interpreter {self.settings.python} ([settings.{self.name}] python)"
            )
            raise MemberUnavailableError(message)

    # What a subclass may add ------------------------------------------------------------------------------------

    def options(self) -> dict[str, Any]:
        """Return what the worker is told beside settings, seed and threads, as JSON values."""
        return {}

    # The contract -----------------------------------------------------------------------------------------------

    def _fit(self, reference: Reference) -> None:
        labels = {"label": reference.label, "terms": list(reference.terms)}
        self._versions = {name: str(version) for name, version in self._ask("versions", None).items()}
        self._fitted = _State(self._ask("fit", reference.cells, **labels))
        self._adapted = None

    def _adapt(self, query: Block) -> None:
        if self.adapts:
            self._adapted = None
            self._adapted = _State(self._ask("adapt", query))

    def _predict(self, block: Block) -> MemberVotes:
        found = self._ask("predict", block)
        if "mass" not in found:
            message = f"member {self.name!r}: its answer lacks 'mass', it has {', '.join(found) or 'nothing'}"
            raise MemberError(message)
        signals = {name.removeprefix("signal_"): values for name, values in found.items() if name.startswith("signal_")}
        strange = found.get("strange", np.full(block.n_cells, np.nan, np.float32))
        return MemberVotes(found["mass"], strange, signals)

    def _save(self, folder: Path) -> None:
        (folder / "remote.json").write_text(json.dumps({"versions": self._versions}), encoding="utf-8")
        for name, state in (("fitted", self._fitted), ("adapted", self._adapted)):
            if state is not None:
                (folder / name).mkdir(exist_ok=True)
                write_entries(folder / name, "state", state.entries)

    def _load(self, folder: Path) -> None:
        try:
            self._versions = json.loads((folder / "remote.json").read_text(encoding="utf-8"))["versions"]
            self._fitted = _State(read_entries(folder / "fitted", "state"))
            adapted = (folder / "adapted" / "state.json").is_file()
            self._adapted = _State(read_entries(folder / "adapted", "state")) if adapted else None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            message = f"{folder} cannot be read: {error}. The jury is damaged; copy it again, or fit it again."
            raise UnreadableFileError(message) from error

    def _ask(self, do: str, cells: Block | None, **more: Any) -> dict[str, Any]:
        """Send one order and return the answer's entries; raises MemberError where none comes."""
        python = Path(self.settings.python) if self.settings.python else python_of(self.environment)
        with tempfile.TemporaryDirectory(prefix="celljury-") as name:
            folder = Path(name)
            if cells is not None:
                write_entries(folder, "cells", _entries_of(cells) | {"share": self.gene_share} | more)
            options = {"settings": self.settings.model_dump(mode="json"), "seed": self.seed, "threads": self.threads}
            order: dict[str, Any] = {
                "worker": self.worker,
                "do": do,
                "folder": name,
                "options": options | self.options(),
            }
            order["state"] = [state.place() for state in (self._fitted, self._adapted) if state is not None]
            limits = (self.settings.time_limit, self.settings.memory_limit)
            _interpreter(python, self.threads).ask(order, time_limit=limits[0], memory_limit=limits[1])
            return read_entries(folder, "answer")


def _entries_of(cells: Block) -> dict[str, Any]:
    counts = cells.counts
    return {
        "values": counts.data, "indices": counts.indices, "indptr": counts.indptr, "genes": list(cells.genes),
        "present": cells.present, "batch": cells.batch, "batches": list(cells.batches),
    }  # fmt: skip


class _State:
    """What a worker made, and a copy of it in a temporary folder that a child can read again after a crash."""

    def __init__(self, entries: Mapping[str, Any]) -> None:
        self.entries = dict(entries)
        self.token = uuid.uuid4().hex
        self._folder: Path | None = None

    def place(self) -> tuple[str, str]:
        """Return the folder and the token."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="celljury-state-"))
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
            write_entries(self._folder, "state", self.entries)
        return str(self._folder), self.token


# Child processes -----------------------------------------------------------------------------------------------------


class Interpreter:
    """One process of another Python, started at the first order and again after it died.

    Parameters
    ----------
    python
        The interpreter.
    threads
        Threads its libraries may use.
    """

    def __init__(self, python: Path, *, threads: int) -> None:
        self.python, self.threads = python, threads
        self._process: subprocess.Popen[str] | None = None
        self._log: Path | None = None

    @property
    def pid(self) -> int | None:
        """Process id, None where none runs."""
        return None if self._process is None or self._process.poll() is not None else self._process.pid

    def ask(self, order: dict[str, Any], *, time_limit: float | None, memory_limit: float | None) -> None:
        """Have one order carried out.

        Raises
        ------
        MemberError
            If the worker raised, its process ended, or it went over a limit and was killed.
        """
        if self.pid is None:
            self._start()
        assert self._process is not None
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it died just now; the answer says so
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
        try:
            answer = self._answer(order["do"], time_limit=time_limit, memory_limit=memory_limit)
        finally:
            said = self._pass_on()
        add_elsewhere(float(answer.get("cpu_seconds", 0.0)))
        if not answer["ok"]:
            message = answer["error"] + (f"; it said last: {said}" if answer.get("ended") and said else "")
            raise MemberError(message)

    def stop(self) -> None:
        """Kill the process and whatever it started."""
        if self._process is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.kill()
            self._process.communicate()
        self._process = None

    def close(self) -> None:
        """Stop, and leave no file behind."""
        self.stop()
        if self._log is not None:
            self._log.unlink(missing_ok=True)
            self._log = None

    def _answer(self, step: str, *, time_limit: float | None, memory_limit: float | None) -> dict[str, Any]:
        assert self._process is not None
        pipe = self._process.stdout
        assert pipe is not None
        since = time.monotonic()
        while not select.select([pipe], [], [], LOOK_EVERY)[0]:
            if time_limit is not None and time.monotonic() - since > time_limit:
                self.stop()
                return {"ok": False, "error": f"took longer than its time_limit of {time_limit:g} s and was ended"}
            if memory_limit is not None and (held := _memory_of(self._process.pid)) > memory_limit:
                self.stop()
                error = f"held {held:.2f} GB, more than its memory_limit of {memory_limit:g} GB, and was ended"
                return {"ok": False, "error": error}
        line = pipe.readline()
        if not line:
            status = self._process.wait()
            self.stop()
            error = f"its interpreter ended with status {status} during {step}"
            return {"ok": False, "ended": True, "error": error}
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _start(self) -> None:
        self.stop()
        if self._log is None:
            handle, name = tempfile.mkstemp(prefix="celljury-log-")
            os.close(handle)
            self._log = Path(name)
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
        # What points the interpreter that runs this at its own packages would point the other one at them, too.
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        kept.pop("VIRTUAL_ENV", None)
        try:
            with self._log.open("ab") as log:
                self._process = subprocess.Popen(
                    [str(self.python), "-u", str(WORKERS / "exchange.py")],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, encoding="utf-8",
                    env=kept | dict.fromkeys(names, str(self.threads)), start_new_session=True,
                )  # fmt: skip
        except OSError as error:
            message = f"its interpreter {self.python} cannot be started: {error.strerror}"
            raise MemberError(message) from error

    def _pass_on(self) -> str:
        """Move what the child said into the run's log, if there is one, and return its last line."""
        if self._log is None:
            return ""
        said = self._log.read_bytes()
        os.truncate(self._log, 0)
        if said and (log := os.environ.get(LOG_VARIABLE)):
            with Path(log).open("ab") as file:
                file.write(said)
        lines = [line for line in said.decode(errors="replace").splitlines() if line.strip()]
        return lines[-1].strip() if lines else ""


_running: dict[Path, Interpreter] = {}


def _interpreter(python: Path, threads: int) -> Interpreter:
    if python not in _running:
        _running[python] = Interpreter(python, threads=threads)
    return _running[python]


def _memory_of(pid: int) -> float:
    """Return GB of memory that a process and those it started hold."""
    import psutil

    held = 0
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for one in (process, *process.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                held += one.memory_info().rss
    return held / GB


@atexit.register
def _stop_all() -> None:
    for interpreter in _running.values():
        interpreter.close()
