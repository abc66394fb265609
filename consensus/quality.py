"""Is a cell fit to be called: counts, genes and mitochondrial share against the reference's range.

All of it becomes reasons; nothing is filtered. Outliers are those of the field's practice: more than 3 median absolute
deviations from the median (McCarthy 2017 doi:10.1093/bioinformatics/btw777, Luecken & Theis 2019
doi:10.15252/msb.20188746), within batches and on the log scale.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from celljury.members.normalize import gene_shares

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

    Floats = NDArray[np.float32]
    Bools = NDArray[np.bool_]
    Ints = NDArray[np.int32]

# MT-ND1 of human, mt-Nd1 of mouse, MT.ND1 where R has replaced the hyphen.
_MITO = re.compile(r"^(MT|mt|Mt)[-.]")
# Fewer cells give no median and no spread worth a limit.
MIN_CELLS = 20
# A median absolute deviation times this is a normal distribution's standard deviation.
MAD_TO_SD = 1.4826
# Least distance from the expected value (scater's min.diff): a tight batch must not flag what any eye would pass. Half
# the counts or genes; a mitochondrial share 0.05 higher, the limit that Osorio & Cai 2021
# (doi:10.1093/bioinformatics/btaa751) uphold for mouse, and half of theirs for human.
LEAST_DROP = float(np.log10(2))
LEAST_MITO = 0.05

MEASURES = ("log_counts", "log_genes", "mito_share")
STATISTICS = ("median", "mad", "q0.001", "q0.01", "q0.99")


@dataclass(frozen=True, slots=True)
class CellMeasures:
    """Depth and content of n cells.

    Attributes
    ----------
    log_counts, n_genes
        log10 of all counts (0 for a cell of one count or none) and genes detected, over every gene of the file,
        float32 (n,).
    mito_share
        Mitochondrial share of all counts, float32 (n,) 0-1; NaN = no such gene in the file, or no count in the cell.
    log_shared_counts, n_shared_genes
        The same as the first two over the genes shared with the jury, float32 (n,). Only these are compared with the
        reference: two files may have been filtered to different genes.
    mito_genes
        Names of the mitochondrial genes in the file, upper case, sorted.
    n_measured
        Genes in the file.
    """

    log_counts: Floats
    n_genes: Floats
    mito_share: Floats
    log_shared_counts: Floats
    n_shared_genes: Floats
    mito_genes: tuple[str, ...]
    n_measured: int

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return len(self.log_counts)

    @property
    def why_no_mito(self) -> str | None:
        """Why there is no mitochondrial share; None where there is one."""
        if self.mito_genes:
            return None
        return (
            f"The mitochondrial share cannot be computed: none of the file's {self.n_measured:,} genes is named MT-... or"
            " mt-... (genes filtered away, or only Ensembl ids and no column of symbols)."
        )

    @classmethod
    def join(cls, blocks: Sequence[CellMeasures]) -> Self:
        """Return the measures of consecutive blocks of one file as one."""
        per_cell = ("log_counts", "n_genes", "mito_share", "log_shared_counts", "n_shared_genes")
        whole = {name: np.concatenate([getattr(block, name) for block in blocks]) for name in per_cell}
        return cls(**whole, mito_genes=blocks[0].mito_genes, n_measured=blocks[0].n_measured)


def cell_measures(counts: csr_matrix, *namings: Iterable[str], shared: csr_matrix) -> CellMeasures:
    """Measure cells.

    Parameters
    ----------
    counts
        Raw counts over all genes of the file (n_cells, n_all_genes).
    namings
        One or more namings of these genes, such as both results of `celljury.genes.gene_names`; a gene is mitochondrial
        where one of them says so.
    shared
        The same cells' counts over the jury's genes, as `celljury.genes.Alignment.apply` gives them.
    """
    found = {j: str(name).upper() for names in namings for j, name in enumerate(names) if _MITO.match(str(name))}
    of_mito = np.zeros(counts.shape[1])
    of_mito[list(found)] = 1
    total, n_genes = _depth(counts)
    shared_total, shared_genes = _depth(shared)
    mito = np.full(len(total), np.nan)
    if found:
        mito = np.divide(counts @ of_mito, total, out=mito, where=total > 0)
    return CellMeasures(
        log_counts=_log(total).astype(np.float32),
        n_genes=n_genes.astype(np.float32),
        mito_share=mito.astype(np.float32),
        log_shared_counts=_log(shared_total).astype(np.float32),
        n_shared_genes=shared_genes.astype(np.float32),
        mito_genes=tuple(sorted(found.values())),
        n_measured=int(counts.shape[1]),
    )


def _depth(counts: csr_matrix) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Total counts and genes detected."""
    # Summed in float64 a row at a time: the same bits however the cells are cut into blocks.
    return np.asarray(counts.astype(np.float64).sum(axis=1)).ravel(), np.asarray((counts > 0).sum(axis=1)).ravel()


def _log(values: NDArray[Any]) -> NDArray[np.float64]:
    return np.log10(np.maximum(np.asarray(values, np.float64), 1))


def _compared(measures: CellMeasures) -> NDArray[np.float64]:
    """Return what is compared with a reference, float64 (n_cells, 3), columns as in `MEASURES`."""
    return np.stack([measures.log_shared_counts, _log(measures.n_shared_genes), measures.mito_share], axis=1).astype(
        float
    )


@dataclass(frozen=True, slots=True)
class ReferenceRange:
    """The range of a reference's measures over the jury's genes.

    Attributes
    ----------
    terms
        Cell Ontology ids of at least `MIN_CELLS` cells, sorted.
    ranges
        float64 (1 + n_terms, 3 measures, 5 statistics): all cells, then each term; NaN where there is no such share.
        The median and quantiles are over cells; the MAD is that around each batch's own median, scaled to a standard
        deviation, since depth differs more between libraries than within.
    batches, batch_medians
        Batches of at least `MIN_CELLS` cells, and their medians, float64 (n_batches, 3).
    gene_share, gene_detected
        Mean share of a cell's counts, and share of cells with a count, float64 (n_genes,).
    mito_genes, n_measured
        As in `CellMeasures`, of the reference's file.
    """

    terms: tuple[str, ...]
    ranges: NDArray[np.float64]
    batches: tuple[str, ...]
    batch_medians: NDArray[np.float64]
    gene_share: NDArray[np.float64]
    gene_detected: NDArray[np.float64]
    mito_genes: tuple[str, ...]
    n_measured: int

    @classmethod
    def fit(
        cls,
        measures: CellMeasures,
        *,
        counts: csr_matrix,
        label: Ints,
        terms: tuple[str, ...],
        batch: Ints,
        batches: tuple[str, ...],
    ) -> Self:
        """Take the range of a reference.

        Parameters
        ----------
        measures
            Of its labelled cells.
        counts
            Over the jury's genes (n_cells, n_genes).
        label, batch
            Index into ``terms`` and ``batches``, int32 (n_cells,). A batch is a donor where there is such a column.
        """
        values = _compared(measures)
        around = values - _centre(values, batch)
        large = np.flatnonzero(np.bincount(label, minlength=len(terms)) >= MIN_CELLS)
        groups = [np.ones(len(label), bool), *(label == i for i in large)]
        counted = np.flatnonzero(np.bincount(batch, minlength=len(batches)) >= MIN_CELLS)
        return cls(
            terms=tuple(terms[i] for i in large),
            ranges=np.stack([_statistics(values[group], around[group]) for group in groups]),
            batches=tuple(batches[i] for i in counted),
            batch_medians=np.array([_median(values[batch == i]) for i in counted]).reshape(-1, len(MEASURES)),
            gene_share=gene_shares(counts),
            gene_detected=np.asarray((counts > 0).mean(axis=0), np.float64).ravel(),
            mito_genes=measures.mito_genes,
            n_measured=measures.n_measured,
        )

    def scale(self, present: Bools) -> tuple[float, float]:
        """Return log10 of the share of counts, and of detected genes, that falls on the genes in ``present``.

        Added to the reference's log counts and genes it is what its cells would show on those genes alone.
        """
        kept = self.gene_share[present].sum(), self.gene_detected[present].sum() / max(self.gene_detected.sum(), 1e-300)
        counts, genes = np.log10(np.maximum(kept, 1e-300)).tolist()
        return counts, genes

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; NaN becomes None."""
        return {
            "terms": list(self.terms), "ranges": _plain(self.ranges), "batches": list(self.batches),
            "batch_medians": _plain(self.batch_medians), "gene_share": self.gene_share.tolist(),
            "gene_detected": self.gene_detected.tolist(), "mito_genes": list(self.mito_genes),
            "n_measured": self.n_measured,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Self:
        """Read what `to_dict` returned."""
        return cls(
            terms=tuple(plain["terms"]),
            ranges=np.array(plain["ranges"], dtype=np.float64),
            batches=tuple(plain["batches"]),
            batch_medians=np.array(plain["batch_medians"], dtype=np.float64).reshape(-1, len(MEASURES)),
            gene_share=np.array(plain["gene_share"], dtype=np.float64),
            gene_detected=np.array(plain["gene_detected"], dtype=np.float64),
            mito_genes=tuple(plain["mito_genes"]),
            n_measured=int(plain["n_measured"]),
        )


def _plain(values: NDArray[np.float64]) -> Any:
    """Return nested lists with None for NaN, which JSON does not have."""
    plain = values.astype(object)
    plain[np.isnan(values)] = None
    return plain.tolist()


def _median(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Median over cells of each column, NaN left out; NaN where nothing is left."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN slice", RuntimeWarning)
        return np.asarray(np.nanmedian(values, axis=0), np.float64)


def _centre(values: NDArray[np.float64], batch: Ints) -> NDArray[np.float64]:
    """Return the median of each cell's batch, or of all cells where it has fewer than `MIN_CELLS`, in the shape of values."""
    centre = np.broadcast_to(_median(values), values.shape).copy()
    for code in np.flatnonzero(np.bincount(batch) >= MIN_CELLS):
        centre[batch == code] = _median(values[batch == code])
    return centre


def _statistics(values: NDArray[np.float64], around: NDArray[np.float64]) -> NDArray[np.float64]:
    """`STATISTICS` of each column, float64 (3, 5); ``around`` are the same values less their batch's median."""
    mad = MAD_TO_SD * _median(np.abs(around - _median(around)))
    rows = [column[~np.isnan(column)] for column in values.T]
    low = [np.quantile(row, (0.001, 0.01, 0.99)) if len(row) else np.full(3, np.nan) for row in rows]
    return np.column_stack([_median(values), mad, np.array(low)])


@dataclass(frozen=True, slots=True)
class QualityFlags:
    """Which cells are of low quality, and why.

    Attributes
    ----------
    measures
        Of the same n cells.
    low_counts, few_genes, high_mito
        Beyond the limit, bool (n,).
    expected
        What is usual for such a cell in its batch, float32 (n, 3): log10 counts, log10 genes (both over the shared
        genes), mitochondrial share.
    limit
        Where a cell becomes an outlier, float32 (n, 3).
    notes
        Sentences on the query as a whole.
    """

    measures: CellMeasures
    low_counts: Bools
    few_genes: Bools
    high_mito: Bools
    expected: Floats
    limit: Floats
    notes: tuple[str, ...]

    @property
    def low_quality(self) -> Bools:
        """Whether any of the three holds, bool (n,)."""
        return self.low_counts | self.few_genes | self.high_mito

    def sentence(self, i: int) -> str:
        """Say to a curator why cell ``i`` is of low quality; empty where it is not."""
        measures, usual, limit = self.measures, self.expected[i], self.limit[i]
        parts = []
        if self.low_counts[i]:
            parts.append(
                f"{10 ** measures.log_shared_counts[i]:,.0f} counts over the shared genes, where {10 ** usual[0]:,.0f} are"
                f" usual (limit {10 ** limit[0]:,.0f})"
            )
        if self.few_genes[i]:
            parts.append(
                f"{measures.n_shared_genes[i]:,.0f} of the shared genes detected, where {10 ** usual[1]:,.0f} are usual"
                f" (limit {10 ** limit[1]:,.0f})"
            )
        if self.high_mito[i]:
            parts.append(
                f"{100 * measures.mito_share[i]:.0f} % of the counts are mitochondrial, where {100 * usual[2]:.0f} % are"
                f" usual (limit {100 * limit[2]:.0f} %)"
            )
        return f"Low quality: {'; '.join(parts)}." if parts else ""


def flag_low_quality(
    measures: CellMeasures,
    reference: ReferenceRange,
    *,
    present: Bools,
    batch: Ints,
    term: Ints | None = None,
    n_mads: float = 3.0,
) -> QualityFlags:
    """Compare a query's cells with the reference and with each other.

    A cell's counts and genes are low below ``expected - max(n_mads * MAD, log10 2)``. Expected is the reference's median
    (of the cell's term, where known), scaled to the shared genes and moved by the median shift of the cell's batch: a
    query sequenced less deeply is said in ``notes`` and flags nobody. MAD is the larger of the reference's and the
    query's own. A cell is also low below the 0.1 % quantile of all reference cells, moved down (never up) with the
    batch. Never is a cell low that has more than half of what is expected.

    A mitochondrial share is high above the batch's median by ``max(n_mads * MAD, 0.05)``; where the reference has the
    same mitochondrial genes among about as many others, it must also exceed that reference's 99 % quantile.

    Parameters
    ----------
    measures
        Of the whole query: medians over a part of it would differ.
    present
        Which of the jury's genes the query has, bool (n_genes,).
    batch
        Index of each cell's batch, int32 (n_cells,).
    term
        Index of the cell's call into ``reference.terms``, int32 (n_cells,), -1 = none of them; all cells are compared
        with the whole reference if None.
    """
    if not measures.n_cells:
        nothing, none = np.zeros(0, bool), np.zeros((0, len(MEASURES)), np.float32)
        return QualityFlags(measures, nothing, nothing, nothing, none, none, ())
    values = _compared(measures)
    of_cell = reference.ranges[0 if term is None else np.asarray(term) + 1]
    of_cell = np.broadcast_to(of_cell, (len(values), len(MEASURES), len(STATISTICS)))
    scale = np.array([*reference.scale(present), 0.0])
    usual = of_cell[:, :, STATISTICS.index("median")] + scale
    # A share has no term's median to stand on where the reference has none; the query's own serves.
    usual[:, 2] = 0.0
    shift = _centre(values - usual, batch)
    expected = usual + shift
    spread = MAD_TO_SD * _median(np.abs(values - expected))
    mad = np.fmax(of_cell[:, :, STATISTICS.index("mad")], spread)
    # Of all cells: the lowest of a term's 20 is no 0.1 % quantile.
    floor = reference.ranges[0, :, STATISTICS.index("q0.001")] + scale + np.minimum(shift, 0)
    limit = np.minimum(np.maximum(expected - n_mads * mad, floor), expected - LEAST_DROP)
    comparable = bool(measures.mito_genes) and _same_content(measures, reference)
    mito_mad = mad[:, 2] if comparable else spread[2]
    limit[:, 2] = expected[:, 2] + np.maximum(n_mads * mito_mad, LEAST_MITO)
    if comparable:
        limit[:, 2] = np.fmax(limit[:, 2], of_cell[:, 2, STATISTICS.index("q0.99")])
    with np.errstate(invalid="ignore"):
        low, high = values[:, :2] < limit[:, :2], values[:, 2] > limit[:, 2]
    notes = _notes(
        measures, reference, values=values, scale=scale, comparable=comparable, flagged=low.any(axis=1) | high
    )
    return QualityFlags(
        measures, low[:, 0], low[:, 1], high, expected.astype(np.float32), limit.astype(np.float32), notes
    )


def _same_content(measures: CellMeasures, reference: ReferenceRange) -> bool:
    """Whether two mitochondrial shares have like numerators and denominators."""
    few, many = sorted((measures.n_measured, reference.n_measured))
    return measures.mito_genes == reference.mito_genes and 2 * few >= many


def _notes(
    measures: CellMeasures,
    reference: ReferenceRange,
    *,
    values: NDArray[np.float64],
    scale: NDArray[np.float64],
    comparable: bool,
    flagged: Bools,
) -> tuple[str, ...]:
    """Say what holds of the query as a whole."""
    found = []
    has, usual = _median(values), reference.ranges[0, :, STATISTICS.index("median")] + scale
    for k, what in enumerate(("counts", "genes")):
        medians = reference.batch_medians[:, k] + scale[k]
        if has[k] < min(usual[k] - LEAST_DROP, medians.min(initial=np.inf)):
            span = f"; its batches {10 ** medians.min():,.0f} to {10 ** medians.max():,.0f}" if len(medians) > 1 else ""
            found.append(
                f"The query as a whole is shallower than the reference: a median of {10 ** has[k]:,.0f} {what} over the"
                f" shared genes, where the reference's cells have {10 ** usual[k]:,.0f}{span}. Its cells are compared with"
                " each other, so this alone flags none of them, but calls rest on less."
            )
    if (why := measures.why_no_mito) is not None:
        found.append(why)
    elif not comparable:
        found.append(
            "The mitochondrial share is compared within the query only: query and reference were filtered to different"
            f" genes ({len(measures.mito_genes)} of {measures.n_measured:,} and {len(reference.mito_genes)} of"
            f" {reference.n_measured:,} are mitochondrial)."
        )
    elif has[2] > (top := reference.ranges[0, 2, STATISTICS.index("q0.99")]):
        found.append(
            f"The query as a whole is mitochondrial: a median of {100 * has[2]:.0f} % of the counts, where 99 % of the"
            f" reference's cells have less than {100 * top:.0f} %."
        )
    if 10 * flagged.sum() > len(flagged):
        found.append(f"{100 * flagged.mean():.0f} % of the query's cells are of low quality.")
    return tuple(found)
