"""Which reference cells a member learns from when there are more than it needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def cap_per_term(
    label: NDArray[np.int32], *, per_term: int, total: int, at_least: int = 20, seed: int
) -> NDArray[np.intp]:
    """Return rows to keep, ascending: at most ``per_term`` cells of each term and about ``total`` in all.

    Cells are taken at random within a term, so batches keep their shares; no term disappears. With many terms the cap
    falls to ``total / n_terms``, but not below ``at_least``.

    Parameters
    ----------
    label
        Index of each cell's term, int32 (n_cells,).
    per_term, total
        Caps on cells; a cap is what keeps the time of a large reference in minutes.
    at_least
        Cells that a term may keep even where ``total`` would allow fewer.
    seed
        Seeds the choice.
    """
    sizes = np.bincount(label)
    n_terms = max(int((sizes > 0).sum()), 1)
    cap = min(per_term, max(at_least, total // n_terms))
    order = np.lexsort((np.random.default_rng(seed).random(label.size), label))
    start = np.cumsum(sizes) - sizes
    place = np.arange(label.size) - start[label[order]]
    return np.sort(order[place < cap])


def halves(label: NDArray[np.int32], *, seed: int) -> NDArray[np.bool_]:
    """Return which cells fall into the second of two random halves of every term, bool (n_cells,).

    A term with a single cell has it in the first half.
    """
    sizes = np.bincount(label)
    order = np.lexsort((np.random.default_rng(seed).random(label.size), label))
    start = np.cumsum(sizes) - sizes
    second = np.zeros(label.size, np.bool_)
    second[order] = (np.arange(label.size) - start[label[order]]) % 2 == 1
    return second
