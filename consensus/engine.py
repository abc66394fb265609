"""Members at work, here or in worker processes of their own kind; a crash, a hang or an error stays inside.

A worker is a Python process that is told what to do in JSON lines and exchanges arrays in files. A heavy import is
paid once a worker, and what a member does to its process (a segmentation fault, ``exit()``, prints) cannot reach the
run. The same host serves in this process for ``engine = "local"``.
"""

from __future__ import annotations

import json
import logging
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from celljury.errors import CelljuryError, ConfigError, MemberError, MemberUnavailableError
from celljury.members.arrays import load_arrays
from celljury.members.base import Block, Member, MemberVotes, Proteins, Reference
from celljury.members.cpu_clock import cpu_seconds

if TYPE_CHECKING:
    from collections.abc import Iterable

    from celljury.votes import MemberRecord

log = logging.getLogger(__name__)

GROUP = "celljury.members"


def member_class(name: str) -> type[Member]:
    """Return the class that is registered for a member under the entry point group ``celljury.members``.

    Raises
    ------
    ConfigError
        If no such member is registered.
    MemberUnavailableError
        If the package that registers it cannot be imported.
    """
    found = {point.name: point for point in entry_points(group=GROUP)}
    if name not in found:
        message = f"there is no member {name!r}. Registered: {', '.join(sorted(found))}."
        raise ConfigError(message)
    try:
        loaded: type[Member] = found[name].load()
    except (ImportError, AttributeError) as error:
        message = f"member {name!r} ({found[name].value}) cannot be imported: {error}"
        raise MemberUnavailableError(message) from error
    return loaded


# Blocks and references as files: plain arrays, memory-mapped where they are large -------------------------------------


def save_block(folder: Path, block: Block, *, label: Any = None, terms: Iterable[str] = ()) -> Path:
    """Write a block (or a reference, with labels) as npy files and JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {
        "values": block.counts.data, "indices": block.counts.indices, "indptr": block.counts.indptr,
        "present": block.present, "batch": block.batch,
    }  # fmt: skip
    if label is not None:
        arrays["label"] = label
    if block.proteins is not None:
        arrays |= {"proteins": block.proteins.counts, "present_proteins": block.proteins.present}
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array, allow_pickle=False)
    names = None if block.proteins is None else block.proteins.names
    text = {"genes": block.genes, "batches": block.batches, "terms": list(terms), "shape": block.counts.shape,
            "proteins": names}  # fmt: skip
    (folder / "block.json").write_text(json.dumps(text), encoding="utf-8")
    return folder


def read_block(folder: Path) -> Block:
    """Read what `save_block` wrote."""
    text = json.loads((folder / "block.json").read_text(encoding="utf-8"))
    array = {name: np.load(folder / f"{name}.npy") for name in ("values", "indices", "indptr", "present", "batch")}
    counts = csr_matrix((array["values"], array["indices"], array["indptr"]), shape=tuple(text["shape"]))
    proteins = None
    if text.get("proteins") is not None:
        tags, measured = (np.load(folder / f"{name}.npy") for name in ("proteins", "present_proteins"))
        proteins = Proteins(tags, tuple(text["proteins"]), measured)
    return Block(counts, tuple(text["genes"]), array["present"], array["batch"], tuple(text["batches"]), proteins)


def read_reference(folder: Path) -> Reference:
    """Read a reference that `save_block` wrote."""
    terms = json.loads((folder / "block.json").read_text(encoding="utf-8"))["terms"]
    return Reference(read_block(folder), np.load(folder / "label.npy"), tuple(terms))


# The host: what runs inside a worker ---------------------------------------------------------------------------------


class Host:
    """Holds members and does what it is told: ``fit``, ``load``, ``adapt``, ``predict``."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.members: dict[str, Member] = {}
        self._last: tuple[str, Any] = ("", None)

    def do(self, order: dict[str, Any]) -> dict[str, Any]:
        """Carry out one order and return the answer, with the time it took."""
        for module in member_class(order["member"]).modules:
            with suppress(ImportError):  # fit and load say it better
                import_module(module)  # what it costs is not the member's doing
        wall, cpu = time.perf_counter(), cpu_seconds()
        with threadpool_limits(self.threads):
            answer: dict[str, Any] = getattr(self, order["do"])(order) or {}
        return answer | {"seconds": time.perf_counter() - wall, "cpu_seconds": cpu_seconds() - cpu}

    def fit(self, order: dict[str, Any]) -> dict[str, Any]:
        """Fit one member on the reference in a folder and save it."""
        reference = self._read(order["reference"], read_reference)
        cls = member_class(order["member"])
        member = cls(seed=order["seed"], threads=order["threads"], **order["settings"]).fit(reference)
        member.save(Path(order["to"]))
        return {"version": member.version_used(), "settings": member.settings.model_dump(mode="json")}

    def load(self, order: dict[str, Any]) -> dict[str, Any]:
        """Load one member from its folder; it replaces one that was loaded under the name before."""
        member = member_class(order["member"]).load(Path(order["folder"]))
        self.members[order["member"]] = member
        return {"terms": list(member.terms)}

    def adapt(self, order: dict[str, Any]) -> None:
        """Adapt one loaded member to a sample of the query, and save it where a resumed run finds it."""
        member = self.members[order["member"]].adapt(self._read(order["sample"], read_block))
        member.save(Path(order["to"]))

    def predict(self, order: dict[str, Any]) -> None:
        """Let one loaded member vote on a block."""
        votes = self.members[order["member"]].predict(self._read(order["block"], read_block))
        with Path(order["to"]).open("wb") as file:
            signals = {f"signal_{kind}": values for kind, values in votes.signals.items()}
            np.savez(file, mass=votes.mass, strange=votes.strange, **signals)  # type: ignore[arg-type]

    def _read(self, folder: str, reader: Any) -> Any:
        # Members of one kind take the same block one after the other: read it once.
        # A folder may be written again: its description, which is written last, tells.
        key = f"{folder} {(Path(folder) / 'block.json').stat().st_mtime_ns}"
        if self._last[0] != key:
            self._last = (key, reader(Path(folder)))
        return self._last[1]


def _end_with(parent: int) -> None:
    """End this process soon after its parent, however that one ended: a worker must not train for nobody."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def serve() -> None:
    """Be a worker: read orders from standard input until it closes, answer on what was standard output."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is the main process's to answer
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints goes to the log, not among the answers
    host = Host(int(sys.argv[1]))
    for line in sys.stdin:
        try:
            answer = {"ok": True} | host.do(json.loads(line))
        except CelljuryError as error:
            answer = {"ok": False, "error": str(error)}
        except Exception as error:
            log.exception("member failed")
            answer = {"ok": False, "error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


# The bench: who sits where -------------------------------------------------------------------------------------------


@dataclass
class _Worker:
    """One process (or this one, where ``local``) and the members loaded in it."""

    kind: str
    local: Host | None
    log_path: Path
    threads: int
    process: subprocess.Popen[str] | None = None
    loaded: dict[str, dict[str, Any]] = field(default_factory=dict)
    _answer: dict[str, Any] | None = None

    def send(self, order: dict[str, Any]) -> None:
        if self.local is not None:
            try:
                self._answer = {"ok": True} | self.local.do(order)
            except CelljuryError as error:
                self._answer = {"ok": False, "error": str(error)}
            except Exception as error:
                log.exception("member failed")
                self._answer = {"ok": False, "error": f"{type(error).__name__}: {error}"}
            return
        self._answer = None
        if self.process is None:
            self._start()
        if self.process is None:
            self._answer = {"ok": False, "error": f"its worker process did not start again; see {self.log_path.name}"}
            return
        self._write(order)

    def receive(self, *, late: bool = False) -> dict[str, Any]:
        if self._answer is not None:
            return self._answer
        assert self.process is not None
        if late:
            self.stop()
            return {"ok": False, "error": "took longer than the time limit"}
        pipe: IO[str] = self.process.stdout  # type: ignore[assignment]
        line = pipe.readline()
        if not line:
            status = self.process.wait()
            self.stop()
            return {"ok": False, "error": f"its worker process ended with status {status}; see {self.log_path.name}"}
        answer: dict[str, Any] = json.loads(line)
        return answer

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None

    def _start(self) -> None:
        limits = dict.fromkeys(
            ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), str(self.threads)
        )
        with self.log_path.open("ab") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-c", "from celljury.engine import serve; serve()", str(self.threads)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True, encoding="utf-8",
                env=os.environ | limits | {"CELLJURY_WORKER_LOG": str(self.log_path)},
            )  # fmt: skip
        for name, order in list(self.loaded.items()):  # after a crash the survivors are loaded again
            if self.process is None:
                return
            self._write(order)
            if not self.receive()["ok"]:
                del self.loaded[name]

    def _write(self, order: dict[str, Any]) -> None:
        assert self.process is not None
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(order) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it is dead; receive() says so


class Bench:
    """The workers of one run. Use as a context manager: no process and no exchanged file outlives it.

    Parameters
    ----------
    engine
        ``processes`` or ``local``.
    folder
        Where blocks are exchanged; it is removed in the end, and what workers printed goes into the folder above.
    threads
        Threads a worker may use.
    time_limit
        Seconds a member may take for one step; None = no limit.
    """

    def __init__(self, engine: str, folder: Path, *, threads: int, time_limit: float | None = None) -> None:
        self.engine, self.folder, self.threads, self.time_limit = engine, folder, threads, time_limit
        self._workers: dict[str, _Worker] = {}
        shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed: what it wrote may be half
        folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers.values():
            worker.stop()
        # Also after an error: what workers printed is kept beside, the exchanged arrays are not.
        for path in self.folder.glob("worker-*.log"):
            if path.stat().st_size:
                path.replace(self.folder.parent / path.name)
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, orders: dict[str, dict[str, Any]]) -> Iterable[tuple[str, dict[str, Any]]]:
        """Carry out one order a member, workers side by side, and yield (member, answer) as each is done.

        An answer has ``ok``; where it is False, ``error`` says why.
        """
        queues: dict[str, list[str]] = {}
        for name in orders:
            try:
                queues.setdefault(member_class(name).kind, []).append(name)
            except MemberUnavailableError as error:
                yield name, {"ok": False, "error": str(error)}
        running: dict[str, tuple[str, float]] = {}
        while queues or running:
            for kind in [kind for kind in queues if kind not in running]:
                name = queues[kind].pop(0)
                if not queues[kind]:
                    del queues[kind]
                self._worker(kind).send({"member": name} | orders[name])
                running[kind] = (name, time.monotonic())
            kind, late = self._next_done({kind: since for kind, (_, since) in running.items()})
            worker, name = self._workers[kind], running.pop(kind)[0]
            answer = worker.receive(late=late)
            if answer["ok"] and orders[name]["do"] == "load":
                worker.loaded[name] = {"member": name} | orders[name]
            elif answer["ok"] and orders[name]["do"] == "adapt":
                worker.loaded[name] = {"do": "load", "member": name, "folder": orders[name]["to"]}
            elif not answer["ok"]:
                worker.loaded.pop(name, None)
            yield name, answer

    def _worker(self, kind: str) -> _Worker:
        if kind not in self._workers:
            local = Host(self.threads) if self.engine == "local" else None
            self._workers[kind] = _Worker(kind, local, self.folder / f"worker-{kind}.log", self.threads)
        return self._workers[kind]

    def _next_done(self, since: dict[str, float]) -> tuple[str, bool]:
        """Wait for a worker's answer; return its kind, and whether it is out of time instead."""
        pipes: dict[IO[str], str] = {}
        for kind in since:
            process = self._workers[kind].process
            if process is None:
                return kind, False
            assert process.stdout is not None
            pipes[process.stdout] = kind
        first = min(since, key=lambda kind: since[kind])
        left = None if self.time_limit is None else max(0.0, since[first] + self.time_limit - time.monotonic())
        ready, _, _ = select.select(list(pipes), [], [], left)
        return (pipes[ready[0]], False) if ready else (first, True)


def read_votes(path: Path) -> MemberVotes:
    """Read the votes that a worker wrote for one block."""
    arrays = load_arrays(path)
    signals = {
        name.removeprefix("signal_"): values.astype(np.float32)
        for name, values in arrays.items()
        if name.startswith("signal_")
    }
    return MemberVotes(arrays["mass"].astype(np.float32), arrays["strange"].astype(np.float32), signals)


def _absent_or_stop(name: str, reason: str, *, required: bool) -> str:
    """Return the reason of an absence, or raise MemberError where all members are required."""
    if required:
        message = f'member {name!r} failed and members = "all-required" stops the run: {reason}'
        raise MemberError(message)
    log.warning("member %s is absent: %s", name, reason)
    return reason


def record_answer(
    name: str, answer: dict[str, Any], step: str, before: MemberRecord, *, required: bool
) -> MemberRecord:
    """Return a member's record with the outcome of one step; raises MemberError where it failed and is required."""
    if not answer["ok"]:
        return replace(before, absent=_absent_or_stop(name, f"{step}: {answer['error']}", required=required))
    return replace(
        before,
        version=answer.get("version", before.version),
        settings=answer.get("settings", before.settings),
        seconds=before.seconds | {step: round(before.seconds.get(step, 0) + answer["seconds"], 3)},
        cpu_seconds=before.cpu_seconds | {step: round(before.cpu_seconds.get(step, 0) + answer["cpu_seconds"], 3)},
    )
