"""Cross-fitting: members trained without a fold of donors vote on that fold, on the same path as on any query.

Folds are whole donors (`celljury.calibrate.donor_folds`), cells at random only where there is one donor. Light members
are refitted for every fold. Heavy ones are trained for fewer, larger folds, each of which holds whole light folds: a
heavy member that saw half of the donors is a little worse than the one that is kept, so errors are over-, not
understated. Held-out cells are a query: members adapt to their batches before they vote. Gene selection alone has seen
them.
"""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_matrix

from celljury.calibrate import cell_folds, donor_folds
from celljury.engine import member_class, read_block, read_votes, save_block
from celljury.errors import MemberUnavailableError, UnreadableFileError
from celljury.heldout import HeldOut
from celljury.members.arrays import load_arrays, save_arrays
from celljury.members.base import Block, MemberVotes, Reference
from celljury.provenance import write_json
from celljury.query import sample_rows
from celljury.votes import on_ontology, votes_of_members

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from celljury.config import Config
    from celljury.engine import Bench
    from celljury.heldout import Unit
    from celljury.ontology.graph import CellOntology
    from celljury.progress import Progress
    from celljury.space import Space
    from celljury.votes import MemberRecord, Votes

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Plan:
    """Which cells are held out when.

    Attributes
    ----------
    rows
        Reference cells that are voted on, int64 (n_held,), ascending; all others of other folds are only trained on.
    fold, heavy_fold
        Of every reference cell, int32 (n_cells,).
    donor
        Index into ``donors``, int32 (n_cells,).
    donors, unit
        As in `HeldOut`.
    """

    rows: NDArray[np.int64]
    fold: NDArray[np.int32]
    heavy_fold: NDArray[np.int32]
    donor: NDArray[np.int32]
    donors: tuple[str, ...]
    unit: Unit | None

    def save(self, path: Path) -> None:
        """Write as npz."""
        arrays = {name: getattr(self, name) for name in ("rows", "fold", "heavy_fold", "donor")}
        save_arrays(path, **arrays, donors=np.array(self.donors, dtype=np.str_), unit=np.array(self.unit or ""))

    @classmethod
    def load(cls, path: Path) -> Plan:
        """Read what `save` wrote."""
        found = load_arrays(path)
        fold, heavy_fold, donor = (found[name].astype(np.int32) for name in ("fold", "heavy_fold", "donor"))
        unit: Any = str(found["unit"]) or None
        donors = tuple(str(name) for name in found["donors"])
        return cls(found["rows"].astype(np.int64), fold, heavy_fold, donor, donors, unit)


def plan_folds(
    reference: Reference,
    cell_ids: NDArray[np.str_],
    *,
    donor: NDArray[np.int32] | None,
    donors: tuple[str, ...],
    config: Config,
) -> Plan:
    """Decide who is held out when.

    Parameters
    ----------
    cell_ids
        Names of the reference's cells (n_cells,): nothing depends on their order.
    donor, donors
        Index of each cell's donor and their names; None = the batches stand for donors.
    """
    settings = config.calibration
    label = reference.label
    batches = reference.cells.batches
    unit: Unit | None = "donor" if donor is not None else "batch"
    code, names = (reference.cells.batch, batches) if donor is None else (donor, donors)
    if len(np.unique(code)) < 2:
        unit = None
        fold = cell_folds(label, n_folds=settings.folds, seed=config.seed, names=cell_ids)
    else:
        fold = donor_folds(code, label, n_folds=settings.folds, seed=config.seed)
    # Whole light folds go into a heavy one; with a single heavy fold the first of two halves is the training half.
    heavy = (fold % max(settings.heavy_folds, 2)).astype(np.int32)
    per_unit = max(1, settings.max_cells // max(len(np.unique(code)), 1))
    rows = np.sort(sample_rows(cell_ids, code, per_batch=per_unit))
    if settings.heavy_folds == 1:
        rows = rows[heavy[rows] == 1]
    return Plan(rows, fold, heavy, code.astype(np.int32), names, unit)


def members_of(fitted: dict[str, MemberRecord]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of the light and of the heavy members that are present."""
    light: list[str] = []
    heavy: list[str] = []
    for name, record in fitted.items():
        if record.absent:
            continue
        try:
            (heavy if member_class(name).heavy else light).append(name)
        except MemberUnavailableError:
            continue
    return tuple(light), tuple(heavy)


def cross_fit(
    reference: Reference,
    plan: Plan,
    fitted: dict[str, MemberRecord],
    home: Path,
    bench: Bench,
    config: Config,
    progress: Progress,
) -> None:
    """Train the members of every fold into ``home/folds/N/NAME`` and keep the held-out cells in ``home/cells``.

    What was finished before an interrupt is not trained again. A member that fails in a fold abstains on its cells.
    """
    light, heavy = members_of(fitted)
    scratch = bench.folder
    home.mkdir(parents=True, exist_ok=True)
    plan.save(home / "plan.npz")
    save_block(home / "cells", rows_of(reference.cells, plan.rows), label=reference.label[plan.rows],
               terms=reference.terms)  # fmt: skip
    tasks = fold_tasks(plan, light, heavy)
    progress("hold donors out", 0, len(tasks))
    for i, (orders, fold) in enumerate(tasks):
        todo = {}
        for name in orders:
            here = fold["heavy" if name in heavy else "light"]
            to = home / "folds" / str(here) / name
            if (to / "fitted.json").is_file():
                continue
            codes = plan.heavy_fold if name in heavy else plan.fold
            place = scratch / f"reference-{'heavy' if name in heavy else 'light'}-{here}"
            if not place.exists():
                part = training_part(reference, codes != here)
                if part is None:
                    continue
                save_block(place, part.cells, label=part.label, terms=part.terms)
            todo[name] = {
                "do": "fit", "reference": str(place), "to": str(to), "seed": config.seed, "threads": config.threads,
                "settings": config.settings.get(name, {}),
            }  # fmt: skip
        for name, answer in bench.run(todo):
            if answer["ok"]:
                seconds = {"seconds": answer["seconds"], "cpu_seconds": answer["cpu_seconds"]}
                write_json(home / "folds" / str(_fold_of(name, fold, heavy)) / name / "fitted.json", seconds)
            else:
                log.warning("member %s failed without fold %s: %s", name, fold, answer["error"])
        for place in scratch.glob("reference-*"):
            shutil.rmtree(place)
        progress("hold donors out", i + 1, len(tasks))


def fold_tasks(
    plan: Plan, light: tuple[str, ...], heavy: tuple[str, ...]
) -> list[tuple[tuple[str, ...], dict[str, int]]]:
    """Return rounds of work: each trains light members for one fold and heavy ones for another, side by side."""
    light_folds = np.unique(plan.fold[plan.rows]).tolist() if light else []
    heavy_folds = np.unique(plan.heavy_fold[plan.rows]).tolist() if heavy else []
    tasks = []
    for i in range(max(len(light_folds), len(heavy_folds))):
        names: tuple[str, ...] = ()
        fold = {}
        if i < len(light_folds):
            names, fold["light"] = light, light_folds[i]
        if i < len(heavy_folds):
            names, fold["heavy"] = (*names, *heavy), heavy_folds[i]
        tasks.append((names, fold))
    return tasks


def _fold_of(name: str, fold: dict[str, int], heavy: tuple[str, ...]) -> int:
    return fold["heavy" if name in heavy else "light"]


def vote_held_out(
    home: Path,
    cells: Block,
    plan: Plan,
    fitted: dict[str, MemberRecord],
    bench: Bench,
    config: Config,
    progress: Progress,
    *,
    cell_ids: NDArray[np.str_],
    ontology: CellOntology,
) -> Votes:
    """Let every fold's members vote on the held-out cells of that fold.

    Parameters
    ----------
    home
        Where `cross_fit` put them.
    cells
        The held-out cells in the order of ``plan.rows``, or the same cells with fewer genes and counts.
    bench
        Workers that are free.
    """
    scratch = bench.folder
    light, heavy = members_of(fitted)
    n = cells.n_cells
    said: dict[str, list[Said]] = {name: [] for name in (*light, *heavy)}
    tasks = fold_tasks(plan, light, heavy)
    for i, (names, fold) in enumerate(tasks):
        progress("vote on held-out cells", i, len(tasks))
        orders: dict[str, dict[str, Any]] = {}
        rows: dict[str, NDArray[np.int64]] = {}
        for name in names:
            here = _fold_of(name, fold, heavy)
            codes = (plan.heavy_fold if name in heavy else plan.fold)[plan.rows]
            rows[name] = np.flatnonzero(codes == here)
            model = home / "folds" / str(here) / name
            if (model / "fitted.json").is_file() and len(rows[name]):
                orders[name] = {"do": "load", "folder": str(model)}
        loaded = {name: answer for name, answer in bench.run(orders) if answer["ok"]}
        for kind in ("light", "heavy"):
            here_names = [name for name in loaded if (name in heavy) == (kind == "heavy")]
            if not here_names:
                continue
            block = rows_of(cells, rows[here_names[0]])
            sample = block_sample(block, cell_ids[rows[here_names[0]]], per_batch=config.sample_per_batch)
            save_block(scratch / f"{kind}-block", block)
            save_block(scratch / f"{kind}-sample", sample)
        adapt = {n_: {"do": "adapt", "sample": str(scratch / f"{_kind(n_, heavy)}-sample"),
                      "to": str(scratch / "adapted" / n_)} for n_ in loaded}  # fmt: skip
        ready = [name for name, answer in bench.run(adapt) if answer["ok"]]
        predict = {n_: {"do": "predict", "block": str(scratch / f"{_kind(n_, heavy)}-block"),
                        "to": str(scratch / f"{n_}.npz")} for n_ in ready}  # fmt: skip
        for name, answer in bench.run(predict):
            if not answer["ok"]:
                log.warning("member %s did not vote on held-out cells: %s", name, answer["error"])
                continue
            said[name].append(Said(rows[name], tuple(loaded[name]["terms"]), read_votes(scratch / f"{name}.npz")))
        for place in scratch.glob("*-block"):
            shutil.rmtree(place)
    progress("vote on held-out cells", len(tasks), len(tasks))
    reference = read_terms(home)
    found = {name: on_ontology(*joined(parts, reference, n_cells=n), ontology) for name, parts in said.items()}
    return votes_of_members(cell_ids, tuple(fitted), found, n_terms=len(ontology))


@dataclass(frozen=True, slots=True)
class Said:
    """What one fold's member said: of cells ``rows``, over its own ``terms``, which folds need not share."""

    rows: NDArray[np.int64]
    terms: tuple[str, ...]
    votes: MemberVotes


def joined(parts: Sequence[Said], reference: tuple[str, ...], *, n_cells: int) -> tuple[MemberVotes, tuple[str, ...]]:
    """Return the folds' votes as one member's, over the reference's terms and further ones that a fold voted on.

    Cells that no fold voted on have no mass, and NaN for every score.
    """
    terms = tuple(dict.fromkeys((*reference, *(term for part in parts for term in part.terms))))
    column = {term: i for i, term in enumerate(terms)}
    mass = np.zeros((n_cells, len(terms)), np.float32)
    strange = np.full(n_cells, np.nan, np.float32)
    signals: dict[str, NDArray[np.float32]] = {}
    for part in parts:
        mass[np.ix_(part.rows, np.array([column[term] for term in part.terms], np.int64))] = part.votes.mass
        strange[part.rows] = part.votes.strange
        for signal, values in part.votes.signals.items():
            signals.setdefault(signal, np.full(n_cells, np.nan, np.float32))[part.rows] = values
    return MemberVotes(mass, strange, signals), terms


def _kind(name: str, heavy: tuple[str, ...]) -> str:
    return "heavy" if name in heavy else "light"


def gather(
    votes: Votes,
    reference: Reference,
    plan: Plan,
    fitted: dict[str, MemberRecord],
    *,
    space: Space,
    ontology: CellOntology,
) -> HeldOut:
    """Put votes and what is known of the held-out cells together."""
    rows = plan.rows
    label = reference.label
    known = np.ones(len(rows), bool)
    light, heavy = members_of(fitted)
    for codes in ([plan.fold] if light else []) + ([plan.heavy_fold] if heavy else []):
        for f in np.unique(codes[rows]):
            trained = np.bincount(label[codes != f], minlength=len(reference.terms)) > 0
            here = codes[rows] == f
            known[here] &= trained[label[rows][here]]
    cells = rows_of(reference.cells, rows)
    used, donor = np.unique(plan.donor[rows], return_inverse=True)
    counts = np.asarray(cells.counts.sum(axis=1)).ravel()
    return HeldOut(
        votes=votes,
        truth=ontology.indices(reference.terms)[label[rows]],
        donor=donor.astype(np.int32),
        donors=tuple(plan.donors[i] for i in used),
        unit=plan.unit,
        fold=plan.fold[rows],
        heavy_fold=plan.heavy_fold[rows],
        heavy=heavy,
        known=known,
        points=space.project(cells),
        log_counts=np.log10(1 + counts).astype(np.float32),
    )


def read_terms(home: Path) -> tuple[str, ...]:
    """Return the terms of the reference whose folds stand in ``home``."""
    import json

    try:
        return tuple(json.loads((home / "cells" / "block.json").read_text(encoding="utf-8"))["terms"])
    except (OSError, ValueError, KeyError) as error:
        message = f"{home} cannot be read: {error}. The jury is damaged; fit it again."
        raise UnreadableFileError(message) from error


def read_cells(home: Path) -> Block:
    """Return the held-out cells that `cross_fit` kept."""
    return read_block(home / "cells")


def as_query_sees(
    cells: Block,
    *,
    present: NDArray[np.bool_],
    keep: float,
    seed: int,
    present_proteins: NDArray[np.bool_] | None = None,
) -> Block:
    """Return held-out cells as the query's experiment would have seen them: its genes only, thinned to its depth.

    Parameters
    ----------
    present
        Genes that the query has, bool (n_genes,).
    keep
        Share of counts that is kept, 0-1: each count is kept with this chance.
    present_proteins
        Proteins that the query has, bool (n_proteins,); None where the cells have none.
    """
    counts = csr_matrix(cells.counts.multiply(present.astype(np.float32)), dtype=np.float32)
    if keep < 1:
        rng = np.random.default_rng(seed)
        counts.data = rng.binomial(counts.data.astype(np.int64), keep).astype(np.float32)
    counts.eliminate_zeros()
    proteins = cells.proteins
    if proteins is not None and present_proteins is not None:
        measured = present_proteins & proteins.present
        proteins = replace(proteins, counts=proteins.counts * measured.astype(np.float32), present=measured)
    return Block(counts, cells.genes, present & cells.present, cells.batch, cells.batches, proteins)


def training_part(reference: Reference, rows: NDArray[np.bool_]) -> Reference | None:
    """Return some cells of a reference as a reference, None where fewer than two types are left."""
    used, label = np.unique(reference.label[rows], return_inverse=True)
    if len(used) < 2:
        return None
    cells = rows_of(reference.cells, np.flatnonzero(rows))
    return Reference(cells, label.astype(np.int32), tuple(reference.terms[i] for i in used))


def rows_of(cells: Block, rows: NDArray[np.int64]) -> Block:
    """Return some cells of a block, with the batches that are left."""
    used, batch = np.unique(cells.batch[rows], return_inverse=True)
    names = tuple(cells.batches[i] for i in used)
    proteins = None if cells.proteins is None else cells.proteins.take(rows)
    return Block(csr_matrix(cells.counts[rows]), cells.genes, cells.present, batch.astype(np.int32), names, proteins)


def block_sample(cells: Block, cell_ids: NDArray[np.str_], *, per_batch: int) -> Block:
    """Return at most ``per_batch`` cells of each batch, chosen as of any query."""
    return rows_of(cells, sample_rows(cell_ids, cells.batch, per_batch=per_batch))
