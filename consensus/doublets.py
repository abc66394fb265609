"""Which cells look like two cells at once: Scrublet's score by library, and probability on two lineages.

Both become reasons; nothing is filtered.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_matrix

from celljury.quality import MAD_TO_SD

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Bools = NDArray[np.bool_]
    Ints = NDArray[np.int32]

# Below, simulated doublets are too few to tell a neighbourhood by. Chunks bound time and memory: exact neighbours of
# 15,000 points. Measured on one core with 2,000 genes: one chunk of 2,500 cells 1.5 s, 5,000 3.6 s, 10,000 13.9 s;
# 20,000 cells in four chunks 14 s and 1.0 GB, so about 70 s for 100,000.
DOUBLET_CELLS = 100
DOUBLET_CHUNK = 5_000
DOUBLET_GENES = 2_000
LEAST_VARIABLE = 30
EXPECTED_RATE = 0.06


@dataclass(frozen=True, slots=True)
class DoubletScores:
    """How much each of n cells resembles two at once.

    Attributes
    ----------
    score
        Scrublet's score, float32 (n,) 0-1, NaN = not scored.
    predicted
        Above its batch's threshold, bool (n,).
    why_not
        Which cells were not scored, and why; None where all were.
    """

    score: Floats
    predicted: Bools
    why_not: str | None


def doublet_scores(
    counts: csr_matrix, batch: Ints, *, seed: int, batches: tuple[str, ...] = (), expected_rate: float = EXPECTED_RATE
) -> DoubletScores:
    """Score doublets by batch with Scrublet (Wolock 2019 doi:10.1016/j.cels.2018.11.005) as scanpy has it.

    A batch of more than `DOUBLET_CHUNK` cells is scored in chunks drawn at random, so that time is linear in cells. The
    draw follows what the cells hold, not where they stand: the order of rows changes nothing.

    The threshold is the larger of (a) the split of the simulated doublets' scores that leaves least variance on its two
    sides (Otsu 1979 doi:10.1109/TSMC.1979.4310076): below it lie doublets of like cells, which nothing can tell, above
    it those of unlike ones; and (b) the observed median + 3 MAD. Scrublet's own takes a minimum between two modes,
    needs scikit-image, and fails where there is one mode.

    Measured on six PBMC libraries and one of pancreas (175-2,638 cells, 168-2,000 variable genes): 0.7-5.7 % of cells
    are flagged; of simulated doublets of unlike types put in, 22-35 % are found (AUROC 0.80-0.89). An unflagged cell
    is no proof of a single cell.

    Parameters
    ----------
    counts
        Raw counts of the query, of all genes or the jury's (n_cells, n_genes).
    batch
        Index of each cell's batch, int32 (n_cells,): doublets form within a library.
    batches
        Names of the batches, for the message.
    """
    score, predicted = np.full(counts.shape[0], np.nan, np.float32), np.zeros(counts.shape[0], bool)
    order = _by_content(counts, seed=seed)
    order = order[np.diff(counts.indptr)[order] > 0]
    skipped: dict[str, list[str]] = {}
    for code in np.unique(batch):
        rows = order[batch[order] == code]
        name = batches[code] if len(batches) > code else str(code)
        if len(rows) < DOUBLET_CELLS:
            skipped.setdefault(f"fewer than {DOUBLET_CELLS} cells with counts", []).append(name)
            continue
        n_chunks = -(-len(rows) // DOUBLET_CHUNK)
        chunks = [rows[i::n_chunks] for i in range(n_chunks)]
        found = [_scrublet(counts[chunk], seed=seed, expected_rate=expected_rate) for chunk in chunks]
        scored = [(chunk, pair) for chunk, pair in zip(chunks, found, strict=True) if pair is not None]
        if len(scored) < n_chunks:
            skipped.setdefault(f"fewer than {LEAST_VARIABLE} variable genes", []).append(name)
        if scored:
            for chunk, pair in scored:
                score[chunk] = pair[0]
            observed = np.concatenate([pair[0] for _, pair in scored])
            spread = MAD_TO_SD * np.median(np.abs(observed - np.median(observed)))
            threshold = max(_otsu(np.concatenate([pair[1] for _, pair in scored])), np.median(observed) + 3 * spread)
            predicted[rows] = score[rows] > np.float32(threshold)
    parts = [f"{len(who)} batches ({', '.join(who[:5])}) with {why}" for why, who in skipped.items()]
    why_not = f"No doublet score for {' and '.join(parts)}." if parts else None
    return DoubletScores(score, predicted, why_not and why_not.replace("1 batches", "1 batch"))


def _by_content(counts: csr_matrix, *, seed: int) -> NDArray[np.int64]:
    """Return the rows in a random order that depends on what they hold and not on where they stand."""
    weights = np.random.default_rng(seed).random(counts.shape[1])
    held = np.ascontiguousarray(counts.astype(np.float64) @ weights).view(np.uint64)
    # A multiplicative hash (Knuth's golden ratio), folded: neighbours in content come apart.
    mixed = (held ^ (held >> np.uint64(29))) * np.uint64(0x9E3779B97F4A7C15)
    return np.argsort(mixed ^ (mixed >> np.uint64(32)), kind="stable")


def _scrublet(
    counts: csr_matrix, *, seed: int, expected_rate: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Scores of cells and of simulated doublets; None where too few genes vary."""
    import anndata as ad
    import scanpy as sc

    with warnings.catch_warnings():
        # A cell may have no count on the variable genes, and scanpy says so for each table.
        warnings.filterwarnings("ignore", category=UserWarning)
        warnings.filterwarnings("ignore", category=FutureWarning)
        kept = np.asarray((counts > 0).sum(axis=0)).ravel() >= 3
        if int(kept.sum()) < LEAST_VARIABLE:
            return None
        cells = ad.AnnData(csr_matrix(counts[:, np.flatnonzero(kept)], dtype=np.float32))
        cells.layers["raw"] = cells.X.copy()
        sc.pp.normalize_total(cells)
        logged = ad.AnnData(sc.pp.log1p(cells.X, copy=True))
        top = DOUBLET_GENES if cells.n_vars > DOUBLET_GENES else None
        variable = sc.pp.highly_variable_genes(logged, n_top_genes=top, inplace=False)["highly_variable"].to_numpy(bool)
        if int(variable.sum()) < LEAST_VARIABLE:
            return None
        cells = cells[:, variable].copy()
        doublets = sc.pp.scrublet_simulate_doublets(cells, layer="raw", random_seed=seed)
        del cells.layers["raw"]
        for table in (cells, doublets):
            sc.pp.normalize_total(table, target_sum=1e6)
        # A threshold must be given (scikit-image would be asked for one) and is not used.
        sc.pp.scrublet(
            cells, adata_sim=doublets, threshold=0.0, expected_doublet_rate=expected_rate, random_state=seed,
            n_prin_comps=min(30, cells.n_vars - 1), use_approx_neighbors=False, verbose=False,
        )  # fmt: skip
    return cells.obs["doublet_score"].to_numpy(float), np.asarray(cells.uns["scrublet"]["doublet_scores_sim"], float)


def _otsu(values: NDArray[np.float64]) -> float:
    """Return the cut between two neighbouring values with the largest variance between its sides."""
    ordered = np.sort(values)
    below = np.arange(1, len(ordered))
    sums = np.cumsum(ordered)
    means = sums[:-1] / below, (sums[-1] - sums[:-1]) / (len(ordered) - below)
    best = int(np.argmax(below * (len(ordered) - below) * (means[0] - means[1]) ** 2))
    return float(ordered[best] + ordered[best + 1]) / 2


def two_lineages(pooled: csr_matrix, compartment: Ints, *, min_mass: float = 0.25) -> tuple[Bools, Ints, Ints]:
    """Find cells whose probability lies on two compartments at once, each with at least ``min_mass``.

    Beside a doublet score, not instead of it. Measured across technologies (10x 3' to 5', one logistic member) at
    0.25: 0.5 % of 430 cells, and 22 % of 232 simulated doublets across compartments; Scrublet or this find 40 % of such
    doublets with 0.9 % of the other cells, both at once 12 % with 0.5 %: either is a reason. At 0.10 it is 44 % with
    0.7 %, but a jury of several members splits mass more readily than one member.

    Parameters
    ----------
    pooled
        Probabilities, CSR (n_cells, n_terms).
    compartment
        Code of each term's compartment, int32 (n_terms,), -1 = above or outside all; its mass counts for none.

    Returns
    -------
    Whether it is so, bool (n_cells,), and the heaviest term in the heaviest and second compartment, int32 (n_cells,), -1
    where it is not so. Of equals the lower code or term.
    """
    n_cells, n_terms = pooled.shape
    split, terms = np.zeros(n_cells, bool), np.full((2, n_cells), -1, np.int32)
    n_groups = int(compartment.max(initial=-1)) + 1
    if n_groups < 2 or not n_cells:
        return split, terms[0], terms[1]
    counted = np.flatnonzero(compartment >= 0)
    group = csr_matrix((np.ones(len(counted)), (counted, compartment[counted])), shape=(n_terms, n_groups))
    # Float32 sums of many small masses may end a hair below a limit that they reach.
    mass = np.round((pooled.astype(np.float64) @ group).toarray(), 6)
    two = np.argsort(-mass, axis=1, kind="stable")[:, :2]
    split = np.take_along_axis(mass, two[:, 1:], axis=1).ravel() >= min_mass
    row = np.repeat(np.arange(n_cells), np.diff(pooled.indptr))
    for k in range(2):
        inside = split[row] & (compartment[pooled.indices] == two[row, k])
        rows, columns, heavy = row[inside], pooled.indices[inside], pooled.data[inside]
        order = np.lexsort((columns, -heavy, rows))
        _, first = np.unique(rows[order], return_index=True)
        terms[k, rows[order][first]] = columns[order][first]
    return split, terms[0], terms[1]
