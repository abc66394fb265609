"""A query's votes judged as a whole: what its cells are compared with, before any of them is called.

Everything here is a sum, a quantile or a set over all cells of the run, so parts of any size give the same verdict.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from celljury.calls import Weighed
from celljury.decide import (
    DEPTH,
    STRANGENESS,
    SURENESS,
    TOLERANCE,
    Decision,
    by_group,
    compartments,
    learn_decision,
    unshifted,
)
from celljury.doublets import two_lineages
from celljury.engine import member_class
from celljury.errors import MemberUnavailableError
from celljury.marker_ranges import contradictions
from celljury.members.strangeness import KINDS
from celljury.ontology.patterns import distinct_rows
from celljury.pool import as_terms
from celljury.promise import Exchangeability, check_exchangeable, promise
from celljury.quality import CellMeasures, QualityFlags, flag_low_quality
from celljury.reject import Belonging, own_p_values
from celljury.run import Run
from celljury.signs import TIERS, LowQuality, Signs
from celljury.votes import votes_from_table
from celljury.walk import climb

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

    from celljury.config import Config
    from celljury.evidence import References
    from celljury.heldout import HeldOut
    from celljury.members.base import Block
    from celljury.ontology.graph import CellOntology
    from celljury.votes import Votes

    Doubles = NDArray[np.float64]

MEASURED = ("log_counts", "n_genes", "mito_share", "log_shared_counts", "n_shared_genes")
NEIGHBORS, HLCA_THRESHOLD = "scvi_knn", 0.2


@dataclass(frozen=True)
class Verdict:
    """What a run's cells are judged by.

    Attributes
    ----------
    decision
        How votes become calls.
    belonging
        The test for unseen cells, moved by the query's shift; None where it is not tested.
    references
        What the jury knows of its reference.
    quality
        Of all cells of the run, in order.
    doublet
        Whether a cell is a likely doublet, bool (n_cells,), and its score, float32 (n_cells,).
    exchangeable
        Whether the query's batches are like the held-out donors; None where nothing could be compared.
    batch
        Batch of each cell, int32 (n_cells,).
    own
        Per member the p-values of its own distance, float32 (n_cells,).
    neighbors
        What the rule of the Human Lung Cell Atlas says of the run, see `neighbor_rule`; None without ``scvi_knn``.
    compartment
        Of each ontology term, int32 (n_ontology_terms,).
    """

    decision: Decision
    belonging: Belonging | None
    references: References
    ontology: CellOntology
    quality: QualityFlags
    doublet: tuple[NDArray[np.bool_], NDArray[np.float32]]
    exchangeable: Exchangeability | None
    batch: NDArray[np.int32]
    own: dict[str, NDArray[np.float32]]
    neighbors: dict[str, float] | None
    compartment: NDArray[np.int32]
    marker_genes: tuple[str, ...]
    measured: NDArray[np.bool_]

    def weigh(self, votes: Votes, table: Any, rows: slice, *, general: NDArray[np.bool_]) -> Weighed:
        """Return what held-out donors add to one part's votes; unseen cells are walked down the tree from the root.

        ``rows`` are the part's cells among those of the run, ``general`` the terms that are no label.
        """
        decision, n = self.decision, votes.n_cells
        found = decision.pool(votes)
        mass = as_terms(found.mass, decision.columns, n_terms=len(self.ontology))
        top = np.where(found.top >= 0, decision.columns[np.maximum(found.top, 0)], -1)
        p_seen = np.full(n, np.nan)
        kind = np.full(n, -1, np.int8)
        if self.belonging is not None:
            units = self.belonging.units(votes, found.top)
            p_seen = self.belonging.p_seen(self.belonging.score(units), found.top)
            kind = strangest(self.belonging, units)
        tested = decision.settings.unseen
        unseen = (p_seen <= decision.settings.eps) & tested
        split, split_a, split_b = two_lineages(mass, self.compartment)
        marker, value = contradictions(
            _matrix(table["_markers"]), top.astype(np.int32), self.references.markers.statements,
            genes=(*self.marker_genes, ""), measured=np.append(self.measured, True),
        )  # fmt: skip
        unlike = np.zeros(n, bool) if self.exchangeable is None else self.exchangeable.unlike[self.batch[rows]]
        tier = np.array([TIERS.index(t.tier) for t in decision.thresholds], np.int8)[decision.place(found.top)]
        measures = self.quality.measures
        expected = self.quality.expected[rows]
        low = (
            LowQuality.FEW_COUNTS * self.quality.low_counts[rows]
            + LowQuality.FEW_GENES * self.quality.few_genes[rows]
            + LowQuality.HIGH_MITO * self.quality.high_mito[rows]
        )
        signs = Signs(
            p_seen=p_seen.astype(np.float32),
            confidence=confidence(votes),
            p_symphony=self.own.get("symphony", np.full(len(self.batch), np.nan, np.float32))[rows],
            p_scanvi=self.own.get("scanvi", np.full(len(self.batch), np.nan, np.float32))[rows],
            strange_kind=kind,
            low_quality=low.astype(np.uint8),
            counts=(10 ** measures.log_shared_counts[rows]).astype(np.float32),
            expected_counts=(10 ** expected[:, 0]).astype(np.float32),
            genes=measures.n_shared_genes[rows].astype(np.float32),
            expected_genes=(10 ** expected[:, 1]).astype(np.float32),
            mito=measures.mito_share[rows].astype(np.float32),
            expected_mito=expected[:, 2].astype(np.float32),
            doublet=self.doublet[0][rows],
            doublet_score=self.doublet[1][rows],
            split_a=np.where(split, split_a, -1).astype(np.int32),
            split_b=np.where(split, split_b, -1).astype(np.int32),
            marker=marker,
            marker_value=value,
            tier=np.where(unlike, TIERS.index("none"), tier).astype(np.int8),
            unlike_batch=unlike,
        )
        threshold = decision.threshold(found.top)
        node = np.full(n, -1, np.int32)
        if unseen.any():
            walked = climb(mass[unseen], self.ontology, threshold=threshold[unseen])
            points = table["_space"].combine_chunks().values.to_numpy().reshape(n, -1).astype(np.float32)
            node[unseen] = self.references.tree.name(
                points[unseen], walked.end, walked.top, self.ontology, general=general
            )
        return Weighed(mass, threshold, unseen, node, signs)

    @property
    def tier(self) -> str:
        """The weakest tier of the batches that are like the held-out donors; ``none`` where no batch is.

        Each cell has its own in the calls: of thirty batches like the donors one is found unlike in a quarter of runs,
        and that must not void what holds for the others.
        """
        if self.exchangeable is not None and self.exchangeable.unlike.all():
            return "none"
        return self.decision.weakest.tier

    def sentences(self, batches: tuple[str, ...], *, unit: Any) -> str:
        """Say what is promised of the run and what is not."""
        downgraded = () if self.exchangeable is None else self.exchangeable.sentences(batches)
        eps = self.decision.settings.eps if self.belonging is not None and self.decision.settings.unseen else None
        return promise(self.decision.weakest, unit=unit, downgraded=downgraded, eps=eps)


def reach_verdict(
    folder: Path,
    held: HeldOut,
    references: References,
    *,
    ontology: CellOntology,
    terms: NDArray[np.int32],
    absent: tuple[str, ...],
    batches: tuple[str, ...],
    sample: Block,
    doublet: tuple[NDArray[np.bool_], NDArray[np.float32]],
    config: Config,
) -> Verdict:
    """Judge a run's votes as a whole, in two passes over its parts.

    Parameters
    ----------
    folder
        Of the run, with ``votes/``.
    held
        Held-out votes of the jury, with all of its members.
    terms
        Ontology indices of the reference's terms.
    absent
        Members that do not take part in this run.
    batches
        Names of the query's batches.
    sample
        Some cells of the query: which genes it has.
    doublet
        As in `Verdict`.
    """
    run = Run(folder)
    patterns, n_cells, members = distinct_votes(run, ontology, absent)
    held = held.restricted(members, absent)
    decision = learn_decision(held, ontology, config.calibration, terms=terms, patterns=patterns, n_cells=n_cells)
    tops, sure, strange, units, batch, measured = [], [], [], [], [], []
    unsure: list[Doubles] = []
    scores: dict[str, list[NDArray[np.float32]]] = {name: [] for name in ("symphony", "scanvi") if name in members}
    for table in run.parts("votes"):
        votes = votes_from_table(table, ontology).without(absent)
        found = decision.pool(votes)
        tops.append(found.top)
        sure.append(found.mass.max(axis=1, initial=0))
        batch.append(table["_batch"].to_numpy())
        measured.append(_measures(table))
        for name, column in scores.items():
            column.append(votes.strange[:, members.index(name)])
        if NEIGHBORS in members:
            unsure.append(uncertainty(votes, members.index(NEIGHBORS)))
        if decision.belonging is not None:
            units.append(decision.belonging.units(votes, found.top))
            strange.append(unshifted(decision.belonging, votes, found.top))
    top, of_batch = np.concatenate(tops), np.concatenate(batch).astype(np.int32)
    quality = _quality(CellMeasures.join(measured), references, top, of_batch, decision, ontology, sample)
    belonging = None
    values = {DEPTH: quality.measures.log_shared_counts.astype(np.float64), SURENESS: np.concatenate(sure)}
    if decision.belonging is not None:
        belonging = decision.belonging.for_query(np.concatenate(units))
        values[STRANGENESS] = np.concatenate(strange)
    statistics = {name: by_group(each, of_batch, name) for name, each in values.items()}
    exchangeable = None
    if held.unit is not None and len(np.unique(of_batch)) == len(batches):
        exchangeable = check_exchangeable(decision.donor_statistics, statistics, tolerance=TOLERANCE)
    own = {
        name: own_p_values(
            np.concatenate(column), held.votes.strange[:, members.index(name)], held.fold_of(name)
        ).astype(np.float32)
        for name, column in scores.items()
        if name not in absent
    }
    neighbors = None
    if unsure and NEIGHBORS not in absent:
        known = uncertainty(held.votes, members.index(NEIGHBORS))
        neighbors = neighbor_rule(np.concatenate(unsure), known, eps=config.calibration.eps)
    genes = marker_columns(references, sample.genes)
    return Verdict(
        decision, belonging, references, ontology, quality, doublet, exchangeable, of_batch, own, neighbors,
        compartments(np.arange(len(ontology), dtype=np.int32), ontology),
        tuple(sample.genes[i] for i in genes), sample.present[genes],
    )  # fmt: skip


def marker_columns(references: References, genes: tuple[str, ...]) -> NDArray[np.int64]:
    """Return the positions of the genes that a statement of the jury's markers is about, int64, ascending."""
    wanted = {row.gene for row in references.markers.statements}
    return np.array([i for i, gene in enumerate(genes) if gene in wanted], np.int64)


def distinct_votes(
    run: Run, ontology: CellOntology, absent: tuple[str, ...]
) -> tuple[NDArray[np.int32], NDArray[np.int64], tuple[str, ...]]:
    """Return the distinct vote patterns of a run as ontology indices, cells with each, and the members' names."""
    rows, counts = [], []
    members: tuple[str, ...] = ()
    for table in run.parts("votes"):
        votes = votes_from_table(table, ontology).without(absent)
        members = votes.members
        first, inverse = distinct_rows(votes.terms)
        rows.append(votes.terms[first])
        counts.append(np.bincount(inverse, minlength=len(first)))
    every, n = np.concatenate(rows), np.concatenate(counts)
    found, inverse = np.unique(every, axis=0, return_inverse=True)
    total = np.bincount(inverse.ravel(), weights=n, minlength=len(found))
    return found.astype(np.int32), np.rint(total).astype(np.int64), members


def confidence(votes: Votes) -> NDArray[np.float32]:
    """Return the mean of the classifiers' largest probabilities, float32 (n_cells,), NaN = none voted."""
    found = []
    for j, name in enumerate(votes.members):
        try:
            classifier = member_class(name).classifier
        except MemberUnavailableError:
            continue
        if classifier and votes.mass is not None:
            largest = np.asarray(votes.mass[j].max(axis=1).todense()).ravel()
            found.append(np.where(votes.terms[:, j] >= 0, largest, np.nan))
    if not found:
        return np.full(votes.n_cells, np.nan, np.float32)
    table = np.stack(found, axis=1)
    known = np.isfinite(table)
    total = np.where(known, table, 0).sum(axis=1)
    n_known = known.sum(axis=1)
    return np.where(n_known > 0, total / np.maximum(n_known, 1), np.nan).astype(np.float32)


def uncertainty(votes: Votes, j: int) -> Doubles:
    """Return 1 - largest mass of one member, float64 (n_cells,), NaN where it did not vote."""
    assert votes.mass is not None
    largest = np.asarray(votes.mass[j].max(axis=1).todense(), np.float64).ravel()
    return np.where(votes.terms[:, j] >= 0, 1 - largest, np.nan)


def neighbor_rule(query: Doubles, held: Doubles, *, eps: float) -> dict[str, float]:
    """Return what the Human Lung Cell Atlas's rule finds: weighted-kNN uncertainty above 0.2 is unknown.

    Sikkema 2023 (doi:10.1038/s41591-023-02327-2). ``published`` is its threshold and ``above_published`` the share of
    the query above it; ``recalibrated`` that which a share ``eps`` of held-out cells exceeds, and the query's share
    above that. It stands beside our own test and decides nothing.
    """
    own, known = query[np.isfinite(query)], held[np.isfinite(held)]
    threshold = float(np.quantile(known, 1 - eps)) if len(known) else 1.0
    return {
        "published": HLCA_THRESHOLD,
        "above_published": float((own > HLCA_THRESHOLD).mean()) if len(own) else 0.0,
        "recalibrated": threshold,
        "above_recalibrated": float((own > threshold).mean()) if len(own) else 0.0,
    }


def strangest(belonging: Belonging, units: Doubles) -> NDArray[np.int8]:
    """Return the kind of signal that is largest, as an index into `KINDS`, int8 (n_cells,), -1 = none known."""
    by_kind = np.where(np.isnan(values := belonging.by_kind(units)), -np.inf, values)
    codes = np.array([KINDS.index(kind) for kind in belonging.kinds], np.int8)
    known = np.isfinite(by_kind).any(axis=1)
    return np.where(known, codes[by_kind.argmax(axis=1)], -1).astype(np.int8)


def measure_columns(measures: CellMeasures) -> dict[str, Any]:
    """Return a part's measures as columns for its votes, and what they share in ``_mito_genes`` and ``_n_measured``."""
    return {f"_{name}": getattr(measures, name) for name in MEASURED}


def _measures(table: Any) -> CellMeasures:
    found = {name: table[f"_{name}"].to_numpy().astype(np.float32) for name in MEASURED}
    meta = table.schema.metadata
    genes = tuple(json.loads(meta[b"celljury_mito_genes"]))
    return CellMeasures(**found, mito_genes=genes, n_measured=json.loads(meta[b"celljury_n_measured"]))


def _quality(
    measures: CellMeasures,
    references: References,
    top: NDArray[np.int32],
    batch: NDArray[np.int32],
    decision: Decision,
    ontology: CellOntology,
    sample: Block,
) -> QualityFlags:
    place = {term: i for i, term in enumerate(references.quality.terms)}
    of_column = np.array([place.get(ontology.ids[i], -1) for i in decision.columns.tolist()], np.int32)
    term = np.where(top >= 0, of_column[np.maximum(top, 0)], -1)
    return flag_low_quality(measures, references.quality, present=sample.present, batch=batch, term=term)


def _matrix(column: Any) -> csr_matrix:
    from scipy.sparse import csr_matrix

    chunk = column.combine_chunks()
    width = chunk.type.list_size
    return csr_matrix(chunk.values.to_numpy().reshape(len(chunk), width))
