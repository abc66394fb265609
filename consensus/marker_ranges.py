"""What a reference shows of the markers that the ontology states, and where a cell goes against both.

A definition alone proves little of counts: a gene that a type has may be lost to dropout in half of its cells, and one
that it lacks may leak in with ambient RNA. So a statement is only used where the reference's own cells of the term bear
it out, and a cell contradicts it where hardly any of them look like it. That is evidence for a review, never a vote.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

    from celljury.ontology.graph import CellOntology
    from celljury.ontology.relations import Relations
    from celljury.ontology.statements import State

    Floats = NDArray[np.float32]
    Ints = NDArray[np.int32]
    Bools = NDArray[np.bool_]

# "Has" is used where so many of the term's reference cells express the gene: fewer, and dropout explains an absence.
LEAST_SHARE: Final = 0.8
# "Lacks" is dropped where more of them do: the reference's cells are not what the definition says.
MOST_SHARE: Final = 0.5
# A further cell falls below the lowest of 20 by chance once in 21, above the highest of 100 once in 101: with fewer cells
# there is no 5 % or 99 % quantile.
# An absence is held against a cell where so many counts of the gene were to be expected at its depth: fewer, and none
# turns up by chance in more than exp(-3) = 5 % of such cells. Measured on CD14 across blood references: 1.7 to 4.0 % of
# true CD14 monocytes are flagged, without this condition 14 to 33 % (docs/rules.md).
LEAST_COUNT: Final = 3.0
LEAST_CELLS: Final = {"has": 20, "lacks": 100}
QUANTILES: Final = (0.05, 0.5, 0.95, 0.99)


@dataclass(frozen=True, slots=True)
class MarkerStatement:
    """A gene that a term has or lacks by definition, and what the reference's cells at or below the term show of it.

    Attributes
    ----------
    term
        Ontology index of the term whose cells are judged.
    gene
        HGNC symbol.
    state
        ``has`` or ``lacks``.
    said_by
        Where it is stated, e.g. ``label of CL:0000624``.
    n_cells
        Reference cells at or below the term.
    share
        Share of them that express the gene, 0-1.
    low, usual, high, top
        Their 5 %, 50 %, 95 % and 99 % quantile of log1p of counts per 10,000, cells without a count included.
    """

    term: int
    gene: str
    state: State
    said_by: str
    n_cells: int
    share: float
    low: float
    usual: float
    high: float
    top: float


@dataclass(frozen=True, slots=True)
class MarkerRanges:
    """The statements on a reference's terms.

    Attributes
    ----------
    statements
        Those that cells can be judged by; `celljury.signs.Signs.marker` is an index into them.
    refuted
        Genes that a term lacks by definition and most of its reference cells express: not used; the labels, the
        reading of the definition, or the reference's ambient RNA are at fault.
    faint
        Genes that a term has and too few of its reference cells show: not used, since absence in a cell says nothing.
    """

    statements: tuple[MarkerStatement, ...] = ()
    refuted: tuple[MarkerStatement, ...] = ()
    faint: tuple[MarkerStatement, ...] = ()

    def to_dict(self, ontology: CellOntology) -> dict[str, Any]:
        """Return plain values for JSON, with ids for terms."""
        return {
            name: [asdict(row) | {"term": ontology.ids[row.term]} for row in getattr(self, name)]
            for name in self.__slots__
        }

    @classmethod
    def from_dict(cls, plain: dict[str, Any], ontology: CellOntology) -> Self:
        """Read what `to_dict` returned; raises UnknownTermError where an id is not in the ontology."""
        return cls(
            **{
                name: tuple(MarkerStatement(**row | {"term": ontology.index(row["term"])}) for row in plain[name])
                for name in cls.__slots__
            }
        )


def marker_ranges(
    expression: csr_matrix, label: Ints, terms: Ints, *, genes: Sequence[str], relations: Relations
) -> MarkerRanges:
    """Return what a reference shows of the markers of its terms and of all terms above them.

    Terms above are included since calls back off: their cells are all those at or below them.

    Parameters
    ----------
    expression
        log1p of counts per 10,000 of the reference's cells, CSR (n_cells, n_genes), no negative values. Thinned to a
        query's depth, it tells what dropout leaves of a marker there.
    label
        Index into ``terms`` of each cell, int32 (n_cells,).
    terms
        Ontology index of each label, int32 (n_labels,).
    genes
        Symbols of the columns. Markers are human symbols: genes of another organism match where they are spelt alike.
    """
    ontology = relations.ontology
    above = ontology.ancestor_rows(terms)
    size = np.bincount(label, minlength=len(terms))
    column = {gene: j for j, gene in reversed(list(enumerate(genes)))}
    enough = np.flatnonzero(size @ above >= min(LEAST_CELLS.values())).tolist()
    stated = sorted(
        (column[marker.gene], term, marker)
        for term in enough
        for marker in relations.markers_of(term)
        if marker.gene in column and size @ above[:, term] >= LEAST_CELLS[marker.state]
    )
    by_gene = expression.tocsc() if stated else expression
    found: dict[str, list[MarkerStatement]] = {name: [] for name in MarkerRanges.__slots__}
    values, j_before = np.zeros(0, np.float32), -1
    for j, term, marker in stated:
        if j != j_before:
            values, j_before = by_gene[:, [j]].toarray().ravel(), j
        inside = values[above[label, term]]
        share = float((inside > 0).mean())
        low, usual, high, top = (round(float(q), 4) for q in np.quantile(inside, QUANTILES))
        row = MarkerStatement(
            term, marker.gene, marker.state, marker.said_by, len(inside), round(share, 4), low, usual, high, top
        )
        if marker.state == "has":
            found["statements" if share >= LEAST_SHARE else "faint"].append(row)
        else:
            found["statements" if share <= MOST_SHARE else "refuted"].append(row)
    return MarkerRanges(**{name: tuple(sorted(rows, key=_order)) for name, rows in found.items()})


def contradictions(
    expression: csr_matrix,
    term: Ints,
    statements: Sequence[MarkerStatement],
    *,
    genes: Sequence[str],
    measured: Bools,
) -> tuple[NDArray[np.int16], Floats]:
    """Return the statement that each cell contradicts most, int16 (n_cells,), -1 = none, and its value of that gene.

    "Has" is contradicted below the 5 % quantile of the term's reference cells, "lacks" above their 99 % quantile. Of
    several contradictions the one furthest from the range is given: below the median for "has", above the 99 %
    quantile for "lacks", in log1p of counts per 10,000; of equals the first.

    Parameters
    ----------
    expression
        log1p of counts per 10,000, CSR (n_cells, n_genes), on the scale of the reference's.
    term
        Called term of each cell, int32 (n_cells,), -1 = none.
    genes, measured
        Symbols of the columns, and whether the query has the gene, bool (n_genes,): a gene that was not measured is
        not absent from a cell.

    Returns
    -------
    Index into ``statements``, and the cell's value, float32 (n_cells,), NaN where there is none.
    """
    n_cells = len(term)
    worst, value, gap = np.full(n_cells, -1, np.int16), np.full(n_cells, np.nan, np.float32), np.zeros(n_cells)
    column = {gene: j for j, gene in reversed(list(enumerate(genes))) if measured[j]}
    usable = [(i, row) for i, row in enumerate(statements) if row.gene in column]
    wanted = sorted({column[row.gene] for _, row in usable})
    place = {j: k for k, j in enumerate(wanted)}
    dense = expression[:, wanted].toarray() if wanted else np.zeros((n_cells, 0), np.float32)
    one = _one_count(expression)
    order = np.argsort(term, kind="stable")
    ordered = term[order]
    for i, row in usable:
        cells = order[slice(*np.searchsorted(ordered, [row.term, row.term + 1]))]
        own = dense[cells, place[column[row.gene]]]
        if row.state == "has":
            deep = np.expm1(row.usual) >= LEAST_COUNT * one[cells]
            against, far = ((own == 0) | (own < row.low)) & deep, row.usual - own
        else:
            against, far = own > row.top, own - row.top
        against &= far > gap[cells]
        cells, own, far = cells[against], own[against], far[against]
        worst[cells], value[cells], gap[cells] = i, own, far
    return worst, value


def _one_count(expression: csr_matrix) -> NDArray[np.float64]:
    """Return what one count of a cell is in counts per 10,000, float64 (n_cells,), inf for a cell without counts.

    It is the cell's smallest value. In a cell without a single count it comes out too large, and the cell is taken for
    shallower than it is.
    """
    smallest = np.full(expression.shape[0], np.inf)
    filled = np.flatnonzero(np.diff(expression.indptr))
    if len(filled):
        above_zero = np.where(expression.data > 0, expression.data, np.inf)
        smallest[filled] = np.minimum.reduceat(above_zero, expression.indptr[filled])
    return np.expm1(smallest)


def _order(row: MarkerStatement) -> tuple[int, str]:
    return row.term, row.gene
