"""From an opened, labelled table to fitted members."""

from __future__ import annotations

import hashlib
import json
import shutil
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_matrix, vstack

from celljury.config import Config
from celljury.engine import member_class, record_answer, save_block
from celljury.errors import CellsError, CountsError, MemberError, MemberUnavailableError
from celljury.genes import GeneTable, gene_names, lead_over_others, select_genes, sum_duplicates
from celljury.labels import check_enough_types
from celljury.members.base import Block, Proteins, Reference
from celljury.members.normalize import gene_shares, log1p_cp10k
from celljury.provenance import write_json
from celljury.quality import CellMeasures, cell_measures
from celljury.votes import MemberRecord

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from celljury.cells import Cells
    from celljury.engine import Bench
    from celljury.labels import MappedColumn
    from celljury.ontology.graph import CellOntology
    from celljury.progress import Progress
    from celljury.proteins import ProteinTable


N_MARKERS = 10


def check_members(config: Config) -> None:
    """Refuse unknown members and settings before any work; under all-required also members that cannot be imported."""
    for name in {*config.member_names, *config.settings}:
        try:
            cls = member_class(name)
            member = cls(seed=config.seed, threads=config.threads, **config.settings.get(name, {}))
            if config.all_required:
                member.ready()
        except MemberUnavailableError:
            if config.all_required:
                raise


def trusting(config: Config) -> Config:
    """Return the settings with leave to load the models that they name, for every member that asks for it."""
    asking: dict[str, Any] = {}
    for name in {*config.member_names, *config.settings}:
        with suppress(MemberUnavailableError):
            if "trust_model" in member_class(name).Settings.model_fields:
                asking[f"settings__{name}__trust_model"] = True
    return Config.read(base=config, **asking)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A reference ready to be learned from.

    Attributes
    ----------
    reference
        Its labelled cells.
    genes
        The genes that members learn from.
    cell_ids
        Names of the labelled cells (n_cells,).
    donor, donors
        Index of each one's donor and their names; None and empty where no column names them.
    measures
        Depth and content of each cell.
    """

    reference: Reference
    genes: GeneTable
    cell_ids: NDArray[np.str_]
    donor: NDArray[np.int32] | None
    donors: tuple[str, ...]
    measures: CellMeasures


def prepare_reference(
    cells: Cells,
    mapped: MappedColumn,
    ontology: CellOntology,
    *,
    labels: str,
    batch: str | None,
    donor: str | None,
    config: Config,
) -> Prepared:
    """Read the labelled cells of a reference, sum duplicated genes and keep those that members learn from.

    Raises
    ------
    CellsError
        If no cell has a label, or all have one type.
    BatchError
        If a cell has no batch, or no donor.
    CountsError
        If proteins were asked for and are no counts.
    """
    kept = mapped.i_term >= 0
    if not kept.any():
        message = f"{cells.where}: no cell has a usable label in column {labels!r}."
        raise CellsError(message)
    batch_code, batches = cells.batches(batch, kept=kept)
    donor_code, donors = (None, ()) if donor is None else cells.batches(donor, kept=kept, option="--donor")
    used, label = np.unique(mapped.i_term[kept], return_inverse=True)
    ids = np.array([ontology.ids[i] for i in used.tolist()])
    check_enough_types(tuple(ids), column=labels, where=cells.where)
    by_id = np.argsort(ids)
    label_code: NDArray[np.int32] = np.argsort(by_id)[label].astype(np.int32)
    names, other = gene_names(cells.var)
    first, merge = sum_duplicates(names)
    parts, measured, tags = [], [], []
    for start in range(0, cells.n_cells, config.block_size):
        stop = min(start + config.block_size, cells.n_cells)
        rows = cells.rows(start, stop)[kept[start:stop]]
        parts.append(csr_matrix(rows @ merge, dtype=np.float32))
        measured.append(cell_measures(rows, names, other, shared=rows))
        if cells.proteins is not None:
            tags.append(cells.proteins.rows(start, stop)[kept[start:stop]])
    counts = csr_matrix(vstack(parts, format="csr"))
    chosen = select_genes(
        log1p_cp10k(counts, share=1.0),
        batch=batch_code,
        label=label_code,
        n_terms=len(ids),
        n_genes=config.genes.n_variable,
    )
    counts = csr_matrix(counts[:, chosen])
    counts.sort_indices()
    position = first[chosen]
    genes = GeneTable(tuple(names[position].tolist()), tuple(other[position].tolist()), gene_shares(counts))
    proteins = None if cells.proteins is None else learned_proteins(np.concatenate(tags), cells.proteins)
    block = Block(counts, genes.names, np.ones(len(position), bool), batch_code, batches, proteins)
    # Which genes are the jury's is known only now.
    own = cell_measures(counts, genes.names, shared=counts)
    measures = replace(
        CellMeasures.join(measured), log_shared_counts=own.log_shared_counts, n_shared_genes=own.n_shared_genes
    )
    reference = Reference(block, label_code, tuple(ids[by_id].tolist()))
    return Prepared(reference, genes, cells.cell_ids[kept], donor_code, donors, measures)


def learned_proteins(counts: NDArray[np.float32], table: ProteinTable) -> Proteins:
    """Return the proteins of the labelled cells, those that no cell has left out.

    Raises
    ------
    CountsError
        If no cell has any.
    """
    seen = np.flatnonzero(counts.any(axis=0))
    if not len(seen):
        message = (
            f"{table.where}: no labelled cell has a count in obsm[{table.key!r}]. Expected raw counts of antibody tags;"
            " name another key with proteins, or leave the setting out."
        )
        raise CountsError(message)
    names = tuple(table.names[i] for i in seen.tolist())
    return Proteins(np.ascontiguousarray(counts[:, seen]), names, np.ones(len(names), np.bool_))


def fingerprint(reference: Reference) -> str:
    """Return a hash of everything that members learn from."""
    digest = hashlib.sha256()
    for array in (reference.cells.counts.data, reference.cells.counts.indices, reference.label, reference.cells.batch):
        digest.update(np.ascontiguousarray(array).tobytes())
    digest.update("\n".join((*reference.terms, *reference.cells.genes)).encode())
    if (proteins := reference.cells.proteins) is not None:
        digest.update(np.ascontiguousarray(proteins.counts).tobytes())
        digest.update("\n".join(proteins.names).encode())
    return digest.hexdigest()


def fit_members(
    reference: Reference, folder: Path, bench: Bench, config: Config, progress: Progress
) -> list[MemberRecord]:
    """Fit every member that is not yet in ``folder/members`` and return what became of each.

    Raises
    ------
    MemberError
        If no member could be fitted, or one failed and all are required.
    """
    done: dict[str, MemberRecord] = {}
    orders = {}
    scratch = bench.folder
    for name in config.member_names:
        finished = folder / "members" / name / "fitted.json"
        if finished.is_file():
            done[name] = MemberRecord(**json.loads(finished.read_text(encoding="utf-8")))
            continue
        orders[name] = {
            "do": "fit", "reference": str(scratch / "reference"), "to": str(folder / "members" / name),
            "seed": config.seed, "threads": config.threads, "settings": config.settings.get(name, {}),
        }  # fmt: skip
    total = len(config.member_names)
    progress("fit members", len(done), total)
    save_block(scratch / "reference", reference.cells, label=reference.label, terms=reference.terms)
    for name, answer in bench.run(orders):
        done[name] = record_answer(name, answer, "fit", MemberRecord(name), required=config.all_required)
        if answer["ok"]:
            write_json(folder / "members" / name / "fitted.json", done[name].as_dict())
        progress("fit members", len(done), total)
    shutil.rmtree(scratch / "reference")
    records = [done[name] for name in config.member_names]
    if all(record.absent for record in records):
        reasons = "\n".join(f"  {record.name}: {record.absent}" for record in records)
        message = f"no member could be fitted:\n{reasons}"
        raise MemberError(message)
    return records


def term_rows(prepared: Prepared, mapped: MappedColumn, ontology: CellOntology) -> list[dict[str, Any]]:
    """Return one row a reference term: cells, batches, donors (None = not known), and how its label was mapped."""
    reference = prepared.reference
    n_cells = np.bincount(reference.label, minlength=len(reference.terms))
    pairs = np.unique(np.stack([reference.label, reference.cells.batch]), axis=1)
    n_batches = np.bincount(pairs[0], minlength=len(reference.terms))
    n_donors: list[int | None] = [None] * len(reference.terms)
    if prepared.donor is not None:
        of_donor = np.unique(np.stack([reference.label, prepared.donor]), axis=1)
        n_donors = list(np.bincount(of_donor[0], minlength=len(reference.terms)).tolist())
    # A term carries the flag if any label behind it does.
    flagged = {kind: set(mapped.i_term[getattr(mapped, kind)].tolist()) for kind in ("broad", "obsolete")}
    return [
        {
            "term": term, "label": ontology.labels[ontology.index(term)], "n_cells": int(n), "n_batches": int(b), "n_donors": d,
            **{kind: ontology.index(term) in terms for kind, terms in flagged.items()},
        }
        for term, n, b, d in zip(reference.terms, n_cells.tolist(), n_batches.tolist(), n_donors, strict=True)
    ]  # fmt: skip


def marker_genes(reference: Reference) -> dict[str, list[str]]:
    """Return per term the genes that stand out most against all other reference cells, best first."""
    normalized = log1p_cp10k(reference.cells.counts, share=1.0)
    lead = lead_over_others(normalized, label=reference.label, n_terms=len(reference.terms))
    best = np.argsort(-lead, axis=1, kind="stable")[:, :N_MARKERS]
    names = np.array(reference.cells.genes)
    return {term: names[row].tolist() for term, row in zip(reference.terms, best, strict=True)}
