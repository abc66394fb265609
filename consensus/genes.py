"""Gene symbols and Ensembl ids of a query to the reference's gene order, with a coverage report."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from celljury.errors import GenesError

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Columns of var in which the common pipelines keep the other name of a gene.
NAME_COLUMNS = (
    "gene_ids", "gene_id", "ensembl_id", "ensembl_ids", "ensembl", "feature_id", "feature_name", "gene_symbols",
    "gene_symbol", "gene_name", "gene_names", "symbol", "gene_short_name",
)  # fmt: skip
_ENSEMBL_VERSION = re.compile(r"^(ENS[A-Z]*[GTP]\d{6,})\.\d+$", re.IGNORECASE)

# Genes per term that are kept besides the highly variable ones, so that a rare type keeps its markers.
MARKERS_PER_TERM = 20


@dataclass(frozen=True, slots=True)
class GeneTable:
    """The reference's genes: the names that a query is aligned to.

    Attributes
    ----------
    names
        One name a gene, in the jury's order (n_genes,).
    other
        A second name a gene (Ensembl id beside the symbol or the reverse), empty where unknown (n_genes,).
    share
        Mean share of a reference cell's counts, float64 (n_genes,), sums to 1.
    """

    names: tuple[str, ...]
    other: tuple[str, ...]
    share: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Alignment:
    """How a query's genes lie in the reference's order.

    Attributes
    ----------
    selection
        CSR float32 (n_query_genes, n_reference_genes) of ones: ``counts @ selection`` aligns; duplicates are summed.
    present
        Which reference genes the query has, bool (n_reference_genes,).
    report
        What was found, in numbers and words, as it goes into ``run.json``.
    """

    selection: csr_matrix
    present: NDArray[np.bool_]
    report: CoverageReport

    def apply(self, counts: csr_matrix) -> csr_matrix:
        """Return counts with the reference's genes, CSR float32 (n_cells, n_reference_genes)."""
        aligned = csr_matrix(counts @ self.selection, dtype=np.float32)
        aligned.sort_indices()
        return aligned


@dataclass(frozen=True, slots=True)
class CoverageReport:
    """Shared genes in numbers: all are counts of genes, except ``share`` (0-1, of the reference's counts)."""

    matched_by: str
    n_query: int
    n_reference: int
    n_shared: int
    share: float
    n_by_case: int
    n_by_version: int
    n_duplicated: int
    missing: tuple[str, ...]

    def sentence(self) -> str:
        """Say it in one line."""
        extra = [
            f"{n:,} {what}"
            for n, what in (
                (self.n_by_case, "by ignoring case"),
                (self.n_by_version, "by dropping the Ensembl version"),
                (self.n_duplicated, "duplicates summed"),
            )
            if n
        ]
        how = f" ({'; '.join(extra)})" if extra else ""
        return (
            f"{self.n_shared:,} of the jury's {self.n_reference:,} genes are in the query ({self.matched_by}){how}; they"
            f" hold {100 * self.share:.0f} % of the reference's counts"
        )


def plain_names(names: pd.Index | pd.Series | NDArray[np.str_]) -> NDArray[np.str_]:
    """Drop the version suffix of Ensembl ids; other names stay. str (n_genes,)."""
    return np.array([_ENSEMBL_VERSION.sub(r"\1", str(name).strip()) for name in names], dtype=str)


def gene_names(var: pd.DataFrame) -> tuple[NDArray[np.str_], NDArray[np.str_]]:
    """Return the names of a table's genes and, where a known column of ``var`` has them, their other names."""
    names = plain_names(var.index)
    for column in NAME_COLUMNS:
        if column in var.columns:
            other = plain_names(var[column].astype(str))
            if (np.char.upper(other) != np.char.upper(names)).mean() > 0.5:
                return names, np.where(np.isin(other, ("nan", "None", "")), "", other)
    return names, np.full(len(names), "", dtype=names.dtype)


def sum_duplicates(names: NDArray[np.str_]) -> tuple[NDArray[np.int64], csr_matrix]:
    """Return the first position of every distinct name, and the matrix that sums duplicated columns onto them."""
    _, first, inverse = np.unique(names, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    columns = rank[inverse]
    ones = np.ones(len(names), np.float32)
    return np.sort(first), csr_matrix((ones, (np.arange(len(names)), columns)), shape=(len(names), len(first)))


def select_genes(
    normalized: csr_matrix, *, batch: NDArray[np.int32], label: NDArray[np.int32], n_terms: int, n_genes: int
) -> NDArray[np.int64]:
    """Return the sorted positions of the genes that members learn from.

    The ``n_genes`` most variable (scanpy's ``seurat`` flavour, within batches of at least 50 cells) and, per term, the
    `MARKERS_PER_TERM` whose mean is furthest above that of the other cells.

    Parameters
    ----------
    normalized
        log1p counts per 10,000 of the reference (n_cells, n_all_genes).
    batch, label
        int32 (n_cells,).
    """
    n_all = normalized.shape[1]
    if n_all <= n_genes:
        return np.arange(n_all)
    import anndata as ad
    import scanpy as sc

    large = np.isin(batch, np.flatnonzero(np.bincount(batch) >= 50))
    rows = large if large.any() else np.ones(len(batch), bool)
    index = np.arange(int(rows.sum())).astype(str)
    table = ad.AnnData(normalized[rows], obs=pd.DataFrame({"batch": batch[rows].astype(str)}, index=index))
    several = len(np.unique(batch[rows])) > 1
    found = sc.pp.highly_variable_genes(
        table, n_top_genes=n_genes, flavor="seurat", batch_key="batch" if several else None, inplace=False
    )
    chosen = np.asarray(found["highly_variable"], dtype=bool).copy()
    lead = lead_over_others(normalized, label=label, n_terms=n_terms)
    top = np.argpartition(-lead, min(MARKERS_PER_TERM, n_all - 1), axis=1)[:, :MARKERS_PER_TERM]
    chosen[top.ravel()] = True
    return np.flatnonzero(chosen)


def lead_over_others(normalized: csr_matrix, *, label: NDArray[np.int32], n_terms: int) -> NDArray[np.float32]:
    """Return how far each gene's mean in a term's cells lies above that in all others, float32 (n_terms, n_genes)."""
    shape = (n_terms, len(label))
    member = csr_matrix((np.ones(len(label), np.float32), (label, np.arange(len(label)))), shape=shape)
    n_cells = np.bincount(label, minlength=n_terms)[:, None]
    sums = (member @ normalized).toarray()
    others = (sums.sum(axis=0) - sums) / np.maximum(len(label) - n_cells, 1)
    return np.asarray(sums / np.maximum(n_cells, 1) - others, np.float32)


def align_genes(var: pd.DataFrame, table: GeneTable, *, where: str, min_shared: int) -> Alignment:
    """Find the reference's genes in a query's ``var``.

    Every naming of the query (index and known columns) is tried against both namings of the reference; the one that
    shares most genes is taken. A name matches exactly, else by ignoring case.

    Raises
    ------
    GenesError
        If fewer than ``min_shared`` genes are shared: predictions on zero-filled genes are wrong without an error.
    """
    namings = {"var_names": plain_names(var.index)}
    namings |= {f"var[{name!r}]": plain_names(var[name].astype(str)) for name in NAME_COLUMNS if name in var.columns}
    targets = [np.array(table.names, dtype=str)]
    if any(table.other):
        targets.append(np.array(table.other, dtype=str))
    best: tuple[int, str, NDArray[np.int64], NDArray[np.bool_]] | None = None
    for matched_by, names in namings.items():
        for target in targets:
            column, by_case = _match(names, target)
            n_shared = len(np.unique(column[column >= 0]))
            if best is None or n_shared > best[0]:
                best = (n_shared, matched_by, column, by_case)
    assert best is not None
    n_shared, matched_by, column, by_case = best
    found = column >= 0
    present = np.zeros(len(table.names), bool)
    present[column[found]] = True
    original = np.array(var.index if matched_by == "var_names" else var[matched_by[5:-2]], dtype=str)
    versioned = np.array([bool(_ENSEMBL_VERSION.match(str(name))) for name in original])
    lost = np.flatnonzero(~present)
    report = CoverageReport(
        matched_by=matched_by,
        n_query=len(var),
        n_reference=len(table.names),
        n_shared=n_shared,
        share=float(table.share[present].sum()),
        n_by_case=int((by_case & found).sum()),
        n_by_version=int((versioned & found).sum()),
        n_duplicated=int(found.sum()) - n_shared,
        missing=tuple(table.names[i] for i in lost[np.argsort(-table.share[lost], kind="stable")][:20]),
    )
    if n_shared < min_shared:
        examples = ", ".join(str(name) for name in original[~found][:3]) or "none"
        message = (
            f"{where}: {report.sentence()}; at least {min_shared} are needed. Genes that only the query has look like:"
            f" {examples}; those that only the jury has: {', '.join(report.missing[:3]) or 'none'}. Name them in the same"
            " system (symbols or Ensembl ids, same organism), or fit a jury on the shared genes; the limit is"
            " genes.min_shared in the config."
        )
        raise GenesError(message)
    ones = np.ones(int(found.sum()), np.float32)
    shape = (len(var), len(table.names))
    return Alignment(csr_matrix((ones, (np.flatnonzero(found), column[found])), shape=shape), present, report)


def _match(names: NDArray[np.str_], target: NDArray[np.str_]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Position in ``target`` of each name or -1, and whether only ignoring case found it."""
    exact = {name: i for i, name in reversed(list(enumerate(target.tolist()))) if name}
    column = np.array([exact.get(name, -1) for name in names.tolist()], dtype=np.int64)
    # An exact match wins: of C1orf112 and C1ORF112 in one query, only the first counts.
    taken = set(column.tolist())
    folded: dict[str, list[int]] = {}
    for name, i in exact.items():
        folded.setdefault(name.upper(), []).append(i)
    by_case = np.zeros(len(names), bool)
    for j in np.flatnonzero(column < 0):
        near = folded.get(str(names[j]).upper(), [])
        if len(near) == 1 and near[0] not in taken:
            column[j] = near[0]
            by_case[j] = True
    return column, by_case
