"""How the cells of each review item express the marker genes: one more pass over the blocks that hold such cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from celljury.members.normalize import log1p_cp10k
from celljury.profiles import sums_by_group
from celljury.progress import silent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from celljury.progress import Progress
    from celljury.query import Query


def item_expression(
    query: Query,
    rows: NDArray[np.int64],
    item: NDArray[np.int64],
    genes: Sequence[str],
    *,
    n_items: int,
    progress: Progress = silent,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the share of each item's cells that express a gene, and its mean, float32 (n_items, n_genes) each.

    The mean is of log1p counts per 10,000 in the jury's genes, on the scale of `celljury.profiles.Profiles`. Both are NaN
    for genes that the query does not have.

    Parameters
    ----------
    query
        The query in the jury's genes.
    rows, item
        Row and item of each cell under review, int64 (n_review,); no cell twice.
    genes
        Marker genes, all of them among the jury's.
    """
    place = {gene: i for i, gene in enumerate(query.genes.names)}
    columns = np.array([place[gene] for gene in genes], np.int64)
    present = query.alignment.present
    scale = float(query.genes.share[present].sum())
    order = np.argsort(rows)
    rows, item = rows[order], item[order]
    expressing, total = np.zeros((n_items, len(genes))), np.zeros((n_items, len(genes)))
    blocks = np.unique(rows // query.block_size).tolist()
    for done, i_block in enumerate(blocks):
        progress("markers of review items", done, len(blocks))
        span = query.span(i_block)
        here = slice(*np.searchsorted(rows, [span.start, span.stop]))
        counts = query.alignment.apply(query.cells.rows(span.start, span.stop)[rows[here] - span.start])
        found = sums_by_group(log1p_cp10k(counts, share=scale)[:, columns], item[here], n_groups=n_items)
        expressing += found[0]
        total += found[1]
    progress("markers of review items", len(blocks), len(blocks))
    n_cells = np.maximum(np.bincount(item, minlength=n_items), 1)[:, None]
    share, mean = (np.where(present[columns], table / n_cells, np.nan) for table in (expressing, total))
    return share.astype(np.float32), mean.astype(np.float32)
