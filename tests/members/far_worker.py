"""A worker for the tests: nearest centroid, and every kind of mischief when it should vote."""

import os
import subprocess
import sys
import time

import numpy as np


def versions():
    return {"numpy": np.__version__}


def _profile(cells):
    counts = cells["counts"].toarray() * cells["present"]
    depth = counts.sum(axis=1, keepdims=True)
    share = float(cells["share"][cells["present"]].sum())
    return np.log1p(1e4 * share * counts / np.maximum(depth, 1))


def fit(cells, options):
    if options["settings"]["mischief"] == "work":
        end = time.process_time() + 0.4
        while time.process_time() < end:
            pass
    values = _profile(cells)
    n_terms = len(cells["terms"])
    centroids = np.array([values[cells["label"] == term].mean(axis=0) for term in range(n_terms)])
    print(f"learned {n_terms} centroids")
    return {"centroids": centroids, "n_terms": n_terms}


def adapt(state, cells, options):
    return {"n_sampled": cells["counts"].shape[0]}


def predict(state, cells, options):
    trouble(options["settings"]["mischief"])
    if options["settings"]["mischief"] == "quiet":
        return {}
    if options["settings"]["mischief"] == "objects":
        return {"mass": np.array([None])}
    values, present = _profile(cells)[:, cells["present"]], cells["present"]
    distance = np.sqrt(((values[:, None] - state["centroids"][None, :, present]) ** 2).sum(axis=2))
    mass = np.exp(-(distance - distance.min(axis=1, keepdims=True)))
    return {"mass": mass / mass.sum(axis=1, keepdims=True), "strange": distance.min(axis=1)}


def trouble(kind):
    if kind == "raise":
        raise ValueError("nothing to be done")  # noqa: EM101
    if kind == "exit":
        os._exit(7)
    if kind == "crash":
        print("about to crash", flush=True)
        os.kill(os.getpid(), 11)
    if kind == "sleep":
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", "celljury-far-sleep"])
        time.sleep(60)
    if kind == "memory":
        held = np.ones(int(0.8 * 1024**3 / 8))
        time.sleep(60)
        held.sum()
    if kind == "hold":
        import ctypes

        ctypes.PyDLL(None).sleep(60)  # a PyDLL call keeps the lock of the interpreter: no other thread of it runs
