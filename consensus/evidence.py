"""The part of a jury that held-out donors made: kept with it when it is fitted, read and matched when it annotates."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from celljury.crossfit import (
    Plan,
    as_query_sees,
    cross_fit,
    gather,
    plan_folds,
    read_cells,
    vote_held_out,
)
from celljury.engine import Bench
from celljury.errors import UnreadableFileError
from celljury.heldout import HeldOut
from celljury.marker_ranges import MarkerRanges, marker_ranges
from celljury.members.arrays import load_arrays, save_arrays
from celljury.members.normalize import log1p_cp10k
from celljury.ontology.relations import load_relations
from celljury.provenance import write_json
from celljury.quality import ReferenceRange
from celljury.tree import Tree

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from celljury.config import Config
    from celljury.fitting import Prepared
    from celljury.members.base import Block
    from celljury.ontology.graph import CellOntology
    from celljury.progress import Progress
    from celljury.space import Space
    from celljury.votes import MemberRecord

log = logging.getLogger(__name__)

# Held-out cells are predicted again where the query measures less of the reference's counts, or is shallower, than this.
MATCH_SHARE, MATCH_DEPTH = 0.95, 0.5


@dataclass(frozen=True, slots=True)
class References:
    """What a jury knows of its reference beyond its members.

    Attributes
    ----------
    quality
        Range of depth and content of its cells.
    markers
        What its cells show of the markers in their terms' definitions.
    tree
        Its nodes, for the test where an unseen cell belongs.
    """

    quality: ReferenceRange
    markers: MarkerRanges
    tree: Tree

    @classmethod
    def fit(cls, prepared: Prepared, space: Space, ontology: CellOntology, config: Config) -> Self:
        """Take them from the reference's labelled cells."""
        reference = prepared.reference
        cells = reference.cells
        terms = ontology.indices(reference.terms)
        return cls(
            ReferenceRange.fit(
                prepared.measures, counts=cells.counts, label=reference.label, terms=reference.terms, batch=cells.batch,
                batches=cells.batches,
            ),
            marker_ranges(
                log1p_cp10k(cells.counts, share=1.0), reference.label, terms, genes=cells.genes,
                relations=load_relations(ontology),
            ),
            Tree.fit(space.project(cells), reference.label, terms, ontology, eps=config.calibration.eps),
        )  # fmt: skip

    def save(self, folder: Path, ontology: CellOntology) -> None:
        """Write ``quality.json``, ``markers.json`` and ``tree.npz``."""
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "quality.json", self.quality.to_dict())
        write_json(folder / "markers.json", self.markers.to_dict(ontology))
        save_arrays(folder / "tree.npz", **self.tree.arrays())

    @classmethod
    def load(cls, folder: Path, ontology: CellOntology) -> Self:
        """Read what `save` wrote; raises UnreadableFileError where it is not that."""
        try:
            plain = {
                name: json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
                for name in ("quality", "markers")
            }
            return cls(
                ReferenceRange.from_dict(plain["quality"]),
                MarkerRanges.from_dict(plain["markers"], ontology),
                Tree.from_arrays(load_arrays(folder / "tree.npz")),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            message = f"{folder} cannot be read: {error}. The jury is damaged; copy it again, or fit it again."
            raise UnreadableFileError(message) from error


def fit_evidence(
    prepared: Prepared,
    records: dict[str, MemberRecord],
    home: Path,
    bench: Bench,
    *,
    space: Space,
    ontology: CellOntology,
    config: Config,
    progress: Progress,
) -> HeldOut:
    """Hold donors out, let the others' members vote on them, and keep votes, fold members and cells in ``home``."""
    reference = prepared.reference
    plan = plan_folds(
        reference, prepared.cell_ids, donor=prepared.donor, donors=prepared.donors, config=config
    )  # fmt: skip
    cross_fit(reference, plan, records, home, bench, config, progress)
    votes = vote_held_out(
        home, read_cells(home), plan, records, bench, config, progress,
        cell_ids=prepared.cell_ids[plan.rows], ontology=ontology,
    )  # fmt: skip
    held = gather(votes, reference, plan, records, space=space, ontology=ontology)
    held.save(home, ontology)
    return held


def held_out_for(
    home: Path,
    sample: Block,
    records: dict[str, MemberRecord],
    scratch: Path,
    *,
    share: float,
    ontology: CellOntology,
    config: Config,
    progress: Progress,
) -> tuple[HeldOut, dict[str, Any]]:
    """Return the held-out votes for a query, predicted again on its genes and at its depth where that matters.

    Parameters
    ----------
    home
        The jury's folder of evidence.
    sample
        A sample of the query's cells, with its genes.
    records
        The jury's members as fitted.
    scratch
        Folder of the run where matched votes are kept for a resumed one.
    share
        Share of the reference's counts on the genes that the query has, 0-1.

    Returns
    -------
    The evidence, and what was done: ``matched``, ``share``, ``depth`` (query over reference, on shared genes),
    ``sentence``.
    """
    held = HeldOut.load(home, ontology)
    cells = read_cells(home)
    depth = _depth_ratio(cells, sample)
    keep = min(1.0, depth)
    wanted = config.calibration.match
    tags = _protein_share(cells, sample)
    differs = min(share, tags) < MATCH_SHARE or keep < MATCH_DEPTH
    told = {"share": round(share, 4), "depth": round(depth, 4)}
    how = f"the query measures {100 * share:.0f} % of the reference's counts at {100 * depth:.0f} % of its depth"
    if tags < 1:
        how += f", and {100 * tags:.0f} % of its protein counts"
    if wanted == "off" or (wanted == "auto" and not differs):
        said = f"Held-out cells were used as they are: {how}."
        if differs:
            said += " They are an easier task than this query (calibration.match = off)."
        return held, told | {"matched": False, "sentence": said}
    plan = Plan.load(home / "plan.npz")
    seen = as_query_sees(
        cells, present=sample.present, keep=keep, seed=config.seed,
        present_proteins=sample.proteins.present if sample.proteins else None,
    )  # fmt: skip
    kept = scratch / "matched"
    if not (kept / "heldout.json").is_file():
        shutil.rmtree(kept, ignore_errors=True)
        place = scratch / "matching"
        with Bench(config.engine, place, threads=config.threads, time_limit=config.time_limit) as bench:
            votes = vote_held_out(
                home, seen, plan, records, bench, config, progress, cell_ids=held.votes.cell_ids, ontology=ontology
            )
        counts = np.asarray(seen.counts.sum(axis=1)).ravel()
        held.with_votes(votes, np.log10(1 + counts).astype(np.float32)).save(kept, ontology)
    said = f"Held-out cells were predicted again on the query's genes and thinned to its depth: {how}."
    return HeldOut.load(kept, ontology), told | {"matched": True, "sentence": said}


def _protein_share(cells: Block, sample: Block) -> float:
    """Return the share of held-out cells' protein counts on the proteins that the query has; 1 where there are none."""
    if cells.proteins is None or sample.proteins is None:
        return 1.0
    counts = cells.proteins.counts.sum(axis=0, dtype=np.float64)
    return float(counts[sample.proteins.present].sum() / max(counts.sum(), 1.0))


def _depth_ratio(cells: Block, sample: Block) -> float:
    """Return the query's median counts over those of held-out cells, both on the shared genes."""
    present = sample.present.astype(np.float32)
    reference = np.asarray(cells.counts @ present).ravel()
    query = np.asarray(sample.counts.sum(axis=1)).ravel()
    usual = float(np.median(reference)) if len(reference) else 0.0
    return float(np.median(query)) / usual if usual > 0 and len(query) else 1.0


def expression_of(block: Block, genes: NDArray[np.int64], gene_share: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return log1p CP10k of some genes and, in a last column, each cell's smallest value; float32 (n_cells, n + 1).

    The smallest value is what one count of the cell is worth, which `celljury.marker_ranges.contradictions` needs.
    """
    normalized = log1p_cp10k(block.counts, share=float(gene_share[block.present].sum()))
    found = np.zeros((block.n_cells, len(genes) + 1), np.float32)
    found[:, :-1] = normalized[:, genes].toarray()
    filled = np.flatnonzero(np.diff(normalized.indptr))
    if len(filled):
        found[filled, -1] = np.minimum.reduceat(normalized.data, normalized.indptr[filled])
    return found
