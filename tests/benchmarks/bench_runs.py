"""Juries and runs that benchmarks look at: made once in a work folder, measured while they are made, decided on anew.

Fitting is what costs, so a finished case is read back instead. What is asked of it afterwards (another pooling rule,
another tier, held-out cells as they are) needs its stored votes only.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import resource
import shutil
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
from pairs import TRUTH

import celljury
import celljury.members
import celljury.ontology
from celljury.cells import open_cells
from celljury.config import Config
from celljury.decide import learn_decision
from celljury.evaluation_calls import Cells
from celljury.evidence import held_out_for
from celljury.heldout import HeldOut
from celljury.intervals import Resampling
from celljury.jury import Jury
from celljury.ontology.general import too_general
from celljury.pool import as_terms
from celljury.progress import silent
from celljury.provenance import holds_json, write_json
from celljury.reduce import Status, reduce_mass
from celljury.run import Run
from celljury.votes import votes_from_table

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from pairs import Facts, Made

    from celljury.decide import Decision
    from celljury.ontology.graph import CellOntology
    from celljury.votes import Votes

    Doubles = NDArray[np.float64]
    Ints = NDArray[np.int32]

EVERY = 0.1  # seconds between two looks at memory


@dataclass(frozen=True)
class Case:
    """A reference with its jury and a query with its run.

    Attributes
    ----------
    folder
        Holds ``reference.h5ad``, ``query.h5ad``, ``jury/``, ``run/`` and what they cost.
    facts
        As in `pairs.Facts`.
    cost
        ``fit`` and ``annotate``: processor seconds and memory, see `measure`.
    """

    folder: Path
    facts: Facts
    cost: dict[str, Any]

    @cached_property
    def jury(self) -> Jury:
        return Jury.load(self.folder / "jury")

    @cached_property
    def run(self) -> Run:
        return Run.open(self.folder / "run")

    @property
    def ontology(self) -> CellOntology:
        return self.jury.ontology

    @cached_property
    def votes(self) -> Votes:
        (table,) = self.run.parts("votes")  # all these queries are smaller than a block
        return votes_from_table(table, self.ontology).without(self.absent)

    @property
    def absent(self) -> tuple[str, ...]:
        return tuple(member["name"] for member in self.run.record["members"] if member["absent"])

    @cached_property
    def terms(self) -> Ints:
        """Terms of the reference."""
        return self.ontology.indices([row["term"] for row in self.jury.about["terms"]])

    @cached_property
    def obs(self) -> Any:
        return ad.read_h5ad(self.folder / "query.h5ad", backed="r").obs

    @cached_property
    def truth(self) -> Ints:
        """True term of each query cell."""
        return self.ontology.indices(self.obs[TRUTH].astype(str).tolist())

    @cached_property
    def general(self) -> NDArray[np.bool_]:
        return too_general(self.ontology, **self.jury.config.too_general.model_dump())

    @cached_property
    def plain(self) -> HeldOut:
        """Held-out votes as the jury has them."""
        assert self.jury.evidence is not None
        return HeldOut.load(self.jury.evidence, self.ontology)

    @cached_property
    def held(self) -> HeldOut:
        """Held-out votes as the run used them: predicted again where the query has fewer genes or counts."""
        assert self.jury.evidence is not None
        config = self.jury.config
        cells = open_cells(self.folder / "query.h5ad", counts=config.counts)
        view = self.jury.view(cells, batch=self.facts["query_batch"], config=config)
        return held_out_for(
            self.jury.evidence, view.sample(per_batch=config.sample_per_batch), self.jury.members,
            self.folder / "evidence", share=view.alignment.report.share, ontology=self.ontology, config=config,
            progress=silent,
        )[0]  # fmt: skip

    def decide(self, held: HeldOut, **changes: Any) -> Decision:
        """Learn a decision with other settings from the stored votes; nothing is fitted again."""
        settings = self.jury.config.calibration.model_copy(update=changes)
        patterns, which = np.unique(self.votes.terms, axis=0, return_inverse=True)
        return learn_decision(
            held.restricted(self.votes.members, self.absent), self.ontology, settings, terms=self.terms,
            patterns=patterns, n_cells=np.bincount(which.ravel(), minlength=len(patterns)),
        )  # fmt: skip

    def judged(self, decision: Decision, resampling: Resampling, *, unseen: bool = True) -> Cells:
        """Return the calls of a decision beside the truth; unseen cells are named nowhere, and nothing is reviewed.

        ``unseen=False``: every cell is taken to belong.
        """
        found = decision.pool(self.votes)
        mass = as_terms(found.mass, decision.columns, n_terms=len(self.ontology))
        reduced = reduce_mass(
            mass, self.votes.terms, self.ontology, threshold=decision.threshold(found.top), too_general=self.general,
            climb=True,
        )  # fmt: skip
        p_seen = p_seen_of(decision, self.votes, found.top)
        strange = (p_seen <= decision.settings.eps) & unseen
        labelled = np.isin(reduced.status, (Status.RESOLVED, Status.BACKED_OFF)) & ~strange
        return Cells(
            ontology=self.ontology, truth=self.truth, term=np.where(strange, np.int32(-1), reduced.term),
            call=np.where(labelled, reduced.term, np.int32(-1)), said_unseen=strange,
            support=np.where(labelled, reduced.support, np.nan).astype(np.float64),
            agreement=reduced.agreement.astype(np.float64), p_seen=p_seen,
            needs_review=np.zeros(len(self.truth), bool), resampling=resampling,
        )  # fmt: skip

    def agrees(self, cells: Cells) -> bool:
        """Whether recomputed calls are those that the run wrote: the check that nothing here goes its own way."""
        calls = self.run.calls
        labelled = calls["status"].isin(["resolved", "backed_off"]).to_numpy()
        said = self.ontology.indices(calls["term"].astype(object)[labelled].tolist())
        same_unseen = (calls["status"] == "unseen").to_numpy() == cells.said_unseen
        same_labels = (labelled == (cells.call >= 0)).all() and (cells.call[labelled] == said).all()
        return bool(same_labels and same_unseen.all())


def p_seen_of(decision: Decision, votes: Votes, top: Ints) -> Doubles:
    """Return the p-values of belonging, float64 (n_cells,), NaN where nothing can be tested."""
    if decision.belonging is None:
        return np.full(votes.n_cells, np.nan)
    units = decision.belonging.units(votes, top)
    belonging = decision.belonging.for_query(units)
    return belonging.p_seen(belonging.score(units), top)


def over_cells(n_cells: int) -> Resampling:
    """Intervals over cells: every real query here is of one donor, or its donors are not known."""
    return Resampling.of(None, n_cells)


def ready(name: str, make: Callable[[], Made], work: Path, *, members: tuple[str, ...] | None, seed: int) -> Case:
    """Return a case, made now unless the work folder has it.

    A finished jury is kept; a run is made again where celljury's code has changed since, which takes seconds.
    """
    config = Config(members=members or "default", seed=seed)
    folder = work / (f"{name}_{'+'.join(members)}" if members else name)
    folder.mkdir(parents=True, exist_ok=True)
    facts_file = folder / "facts.json"
    if not facts_file.is_file():
        reference, query, facts = make()
        reference.write_h5ad(folder / "reference.h5ad")
        query.write_h5ad(folder / "query.h5ad")
        write_json(facts_file, facts)
    facts = json.loads(facts_file.read_text())
    if not (folder / "jury" / "jury.json").is_file():
        measure("fit", folder, config, facts)
    code = code_of_celljury()
    if not (holds_json(folder / "code.json", code) and (folder / "run" / "run.json").is_file()):
        shutil.rmtree(folder / "evidence", ignore_errors=True)
        measure("annotate", folder, config, facts)
        write_json(folder / "code.json", code)
    return Case(
        folder, facts, {step: json.loads((folder / f"{step}.json").read_text()) for step in ("fit", "annotate")}
    )


def code_of_celljury() -> str:
    """Return the sha256 of the package's modules."""
    digest = hashlib.sha256()
    for package in (celljury, celljury.members, celljury.ontology):
        for path in sorted(Path(package.__path__[0]).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def measure(step: str, folder: Path, config: Config, facts: Facts) -> None:
    """Carry out one step in a process of its own and write what it cost, ``fit.json`` or ``annotate.json``.

    ``cpu_seconds`` is what ``jury.json`` and ``run.json`` say, workers and their imports included. Without imports:
    ``cpu_members`` (the members' own steps) and ``cpu_main`` (the main process after it had imported everything).
    ``main_mb`` and ``largest_worker_mb`` are peaks of single processes, ``together_mb`` the largest sum over all processes
    at one moment, seen every tenth of a second (None where there is no /proc); pages that they share count in each.
    """
    job = _fit if step == "fit" else _annotate
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        pool.submit(os.getpid).result()
        watch = _Watch(next(iter(pool._processes)))  # the one process of this pool
        try:
            pool.submit(job, folder, config, facts).result()
        finally:
            together = watch.stop()
    path = folder / f"{step}.json"
    write_json(path, json.loads(path.read_text()) | {"together_mb": together})


def _fit(folder: Path, config: Config, facts: Facts) -> None:
    _import_all()
    main, wall = _own_seconds(), time.perf_counter()
    out = folder / "jury"
    jury = Jury.fit(
        folder / "reference.h5ad", labels=TRUTH, batch=facts["batch"], donor=facts["donor"], out=out, config=config,
        resume=True, overwrite=True,
    )  # fmt: skip
    write_json(folder / "fit.json", _costs(jury.about, main, wall))


def _annotate(folder: Path, config: Config, facts: Facts) -> None:
    _import_all()
    main, wall = _own_seconds(), time.perf_counter()
    run = Jury.load(folder / "jury").annotate(
        folder / "query.h5ad", batch=facts["query_batch"], out=folder / "run", overwrite=True
    )
    write_json(folder / "annotate.json", _costs(run.record, main, wall))


def _import_all() -> None:
    """Import what the main process imports late, so that it is not counted as work."""
    import pyarrow.parquet  # noqa: F401
    import scanpy  # noqa: F401


def _own_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _costs(record: dict[str, Any], main: float, wall: float) -> dict[str, Any]:
    members = {member["name"]: round(sum(member["cpu_seconds"].values()), 2) for member in record["members"]}
    return {
        "cpu_seconds": record["cpu_seconds"],
        "cpu_main": round(_own_seconds() - main, 2),
        "cpu_members": round(sum(members.values()), 2),
        "members": members,
        "wall_seconds": round(time.perf_counter() - wall, 1),
        "together_mb": None,  # the process that watches adds it
        "main_mb": record["peak_memory_mb"]["main"],
        "largest_worker_mb": record["peak_memory_mb"]["largest_worker"],
    }


class _Watch:
    """Looks at the memory of a process and all below it until it is stopped."""

    def __init__(self, pid: int) -> None:
        self.pid, self.most, self._ended = pid, 0.0, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._ended.wait(EVERY):
            self.most = max(self.most, sum(map(_resident_mb, _family(self.pid))))

    def stop(self) -> float | None:
        self._ended.set()
        self._thread.join()
        return round(self.most, 1) or None


def _family(pid: int) -> list[int]:
    found = [pid]
    for one in found:
        try:
            for task in Path(f"/proc/{one}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
        except OSError:  # it ended while we looked
            continue
    return found


def _resident_mb(pid: int) -> float:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize() / 1024**2
    except OSError:
        return 0.0
