"""What is said of review items: which cell speaks for each, sentences, candidates, markers, samples and examples."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from celljury.reasons import Reason, reasons_in
from celljury.sentences import Between, sentences

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from celljury.ontology.graph import CellOntology
    from celljury.reasons import Background
    from celljury.reduce import Reduced
    from celljury.signs import Signs

N_EXAMPLES = 5
N_MARKERS = 5


def leads_of(found: NDArray[np.int32], item: NDArray[np.int64], order: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the cell of each item that has most reasons, the first of them in ``order``, int64 (n_items,)."""
    n_reasons = np.sum([(found & reason) > 0 for reason in Reason], axis=0)
    ranked = order[np.lexsort((-n_reasons[order], item[order]))]
    return ranked[np.flatnonzero(np.diff(item[ranked], prepend=-1))]


def first_with(
    found: NDArray[np.int32], item: NDArray[np.int64], order: NDArray[np.int64]
) -> dict[Reason, NDArray[np.int64]]:
    """Return for each reason the first cell, in ``order``, of each item that has it, int64 (n_items,), -1 = none."""
    rows = {}
    for reason in Reason:
        having = order[(found[order] & reason) > 0]
        items, at = np.unique(item[having], return_index=True)
        rows[reason] = np.full(int(item.max()) + 1, -1, np.int64)
        rows[reason][items] = having[at]
    return rows


def examples(cell_ids: NDArray[np.object_], n_cells: NDArray[np.int64]) -> list[str]:
    """Return the first names of each item; ``cell_ids`` stand item after item."""
    stops = np.cumsum(n_cells).tolist()
    starts = [0, *stops[:-1]]
    return [";".join(cell_ids[a : min(a + N_EXAMPLES, b)]) for a, b in zip(starts, stops, strict=True)]


def samples_of_items(item: NDArray[np.int64], batch: NDArray[np.int32], batches: Sequence[str]) -> list[str]:
    """Return the samples of each item with their cells, ``SAMPLE=N;...``."""
    pairs, n_cells = np.unique(np.stack([item, batch]), axis=1, return_counts=True)
    texts: list[list[str]] = [[] for _ in range(int(item.max()) + 1)]
    for i, b, n in zip(*pairs.tolist(), n_cells.tolist(), strict=True):
        texts[i].append(f"{batches[b]}={n}")
    return [";".join(text) for text in texts]


class Said:
    """Texts of items.

    ``reduced``, ``patterns`` and ``masks`` are the items'; ``cells``, ``found`` and ``signs`` are of all cells. ``leads``
    tells which of these speaks for each item, and ``first`` which one has a reason that it may lack.
    """

    def __init__(
        self, reduced: Reduced, patterns: NDArray[np.int32], masks: NDArray[np.int32], background: Background,
        ontology: CellOntology, *, cells: Reduced, found: NDArray[np.int32], signs: Signs, leads: NDArray[np.int64],
        first: dict[Reason, NDArray[np.int64]],
    ) -> None:  # fmt: skip
        self.reduced, self.patterns, self.masks = reduced, patterns, masks
        self.background, self.ontology = background, ontology
        self.cells, self.signs, self.leads, self.first = cells, signs, leads, first
        self.lacking = masks & ~found[leads]
        self.between = Between.of(reduced, ontology, background)

    def all(self) -> list[str]:
        """Return the sentences of each item."""
        return [
            " ".join(
                sentences(
                    mask, self.cells, lead, between=self.between, j=j, votes=self.patterns[j], background=self.background,
                    ontology=self.ontology, signs=self.signs,
                    elsewhere={reason: int(self.first[reason][j]) for reason in reasons_in(lacking)},
                )
            )
            for j, (mask, lead, lacking) in enumerate(
                zip(self.masks.tolist(), self.leads.tolist(), self.lacking.tolist(), strict=True)
            )
        ]  # fmt: skip

    def votes(self) -> list[str]:
        """Return who voted for what in each item, ``MEMBER=ID;...``; who did not vote is not there."""
        names, ids = self.background.members, self.ontology.ids
        return [
            ";".join(f"{name}={ids[t]}" for name, t in zip(names, row, strict=True) if t >= 0)
            for row in self.patterns.tolist()
        ]

    def camps(self) -> list[list[int]]:
        """Return the terms of each item's largest camps, two at most, the larger first."""
        pairs = zip(self.reduced.camp_a.tolist(), self.reduced.camp_b.tolist(), strict=True)
        return [[term for term in pair if term >= 0] for pair in pairs]

    def candidates(self) -> list[str]:
        """Return what each item may be: its camps' terms, and what is both."""
        terms = zip(self.camps(), self.between.both, strict=True)
        return [";".join(self.ontology.ids[term] for term in (*camps, *both)) for camps, both in terms]

    def markers(self, markers: Mapping[str, Sequence[str]]) -> list[str]:
        """Return the marker genes of each item's camps, ``ID:GENE,...;...``."""

        def text(term: int) -> str:
            genes = markers.get(self.ontology.ids[term], ())
            return f"{self.ontology.ids[term]}:{','.join(genes[:N_MARKERS])}" if genes else ""

        return [";".join(filter(None, map(text, camps))) for camps in self.camps()]
