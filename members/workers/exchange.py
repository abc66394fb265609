"""Serve orders in an interpreter that knows nothing of celljury: JSON lines in and out, arrays in files.

Started as ``python exchange.py THREADS``. It needs Python 3.9, numpy and scipy; what a worker module
beside this file offers (`fit`, `adapt`, `predict`, `versions`) is found by name.
"""

import ctypes
import importlib
import json
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

_PR_SET_PDEATHSIG = 1


def end_with(parent: int) -> None:
    """End this process when its parent has ended, however it ended and whatever compiled code runs here."""
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    except (AttributeError, OSError):  # Linux only; elsewhere the thread has to do
        pass

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def write_entries(folder: Path, name: str, entries: dict[str, Any]) -> None:
    """Write arrays as npz and everything else as JSON, both named ``name``."""
    arrays = {key: value for key, value in entries.items() if isinstance(value, (np.ndarray, np.generic))}
    for key, array in arrays.items():
        if np.asarray(array).dtype.hasobject:
            message = f"{key!r} holds Python objects; only numbers and fixed strings are exchanged"
            raise TypeError(message)
    plain = {key: value for key, value in entries.items() if key not in arrays}
    with (folder / (name + ".npz")).open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    (folder / (name + ".json")).write_text(json.dumps(plain), encoding="utf-8")


def read_entries(folder: Path, name: str) -> dict[str, Any]:
    """Read what `write_entries` wrote."""
    entries: dict[str, Any] = json.loads((folder / (name + ".json")).read_text(encoding="utf-8"))
    with np.load(folder / (name + ".npz"), allow_pickle=False) as archive:
        entries.update({key: archive[key] for key in archive.files})
    return entries


def read_cells(folder: Path) -> dict[str, Any]:
    """Read the cells of an order; ``counts`` becomes a CSR matrix."""
    cells = read_entries(folder, "cells")
    parts = (cells.pop("values"), cells.pop("indices"), cells.pop("indptr"))
    cells["counts"] = csr_matrix(parts, shape=(parts[2].size - 1, len(cells["genes"])))
    return cells


def find_worker(name: str) -> Any:
    """Return a module that lies beside this file, or the one in a file whose path ends with ``.py``."""
    path = Path(name)
    if path.suffix != ".py":
        return importlib.import_module(name)
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    return importlib.import_module(path.stem)


class Desk:
    """Carries out orders; remembers the last state it read, since a run's blocks share one."""

    def __init__(self) -> None:
        self._state: dict[str, Any] = {}

    def do(self, order: dict[str, Any]) -> None:
        """Carry out one order and write what came of it into its folder."""
        worker = find_worker(order["worker"])
        folder = Path(order["folder"])
        if order["do"] == "versions":
            write_entries(folder, "answer", worker.versions())
            return
        cells = read_cells(folder)
        if order["do"] == "fit":
            found = worker.fit(cells, order["options"])
        else:
            found = getattr(worker, order["do"])(self._read(order["state"]), cells, order["options"])
        write_entries(folder, "answer", found)

    def _read(self, places: Any) -> dict[str, Any]:
        token = "+".join(token for _, token in places)
        if self._state.get("token") != token:
            self._state = {}
            for folder, _ in places:
                self._state.update(read_entries(Path(folder), "state"))
            self._state["token"] = token
        return dict(self._state)


def main() -> None:
    """Answer orders from standard input until it closes."""
    end_with(os.getppid())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is the main process's to answer
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints goes to the log, not among the answers
    desk = Desk()
    for line in sys.stdin:
        cpu = time.process_time()
        try:
            desk.do(json.loads(line))
            answer: dict[str, Any] = {"ok": True}
        except Exception as error:  # noqa: BLE001 - it is told to the run, which goes on without the member
            traceback.print_exc()
            text = str(error).strip()
            answer = {"ok": False, "error": f"{type(error).__name__}: {text}" if text else type(error).__name__}
        sys.stderr.flush()
        answer["cpu_seconds"] = time.process_time() - cpu
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
