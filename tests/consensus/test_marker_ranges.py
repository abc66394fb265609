"""Markers by definition against a toy reference whose quantiles are seen by eye, and on real cells."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from celljury.marker_ranges import LEAST_CELLS, MarkerRanges, MarkerStatement, contradictions, marker_ranges
from celljury.members.normalize import log1p_cp10k
from celljury.ontology.load import ontology_from_edges
from celljury.ontology.relations import load_relations, relations_on
from celljury.ontology.statements import RelationsSource, Statement, Told

if TYPE_CHECKING:
    from pathlib import Path

    from celljury.ontology.graph import CellOntology

ONTOLOGY = ontology_from_edges(
    {"T:1": "cell", "T:2": "monocyte", "T:3": "CD14 monocyte", "T:4": "CD16 monocyte", "T:5": "B cell"},
    {"T:2": ["T:1"], "T:3": ["T:2"], "T:4": ["T:2"], "T:5": ["T:1"]},
)
MONO, CD14_MONO, CD16_MONO, B = ONTOLOGY.indices(["T:2", "T:3", "T:4", "T:5"]).tolist()
RELATIONS = relations_on(
    ONTOLOGY,
    Told(
        (
            Statement("T:2", "has_marker", "LYZ", "label"),
            Statement("T:3", "has_marker", "CD14", "label"),
            Statement("T:3", "lacks_marker", "FCGR3A", "label"),
            Statement("T:3", "lacks_marker", "B2M", "label"),
            Statement("T:4", "has_marker", "FCGR3A", "label"),
            Statement("T:5", "has_marker", "CD19", "label"),
            Statement("T:5", "has_marker", "CD20", "label"),
        ),
        RelationsSource("toy", "toy.obo", ""),
    ),
)
GENES = ["CD14", "FCGR3A", "LYZ", "CD19", "B2M", "DEPTH"]
TERMS = np.array([CD14_MONO, CD16_MONO, B], np.int32)
N = 100


def toy_reference() -> tuple[csr_matrix, np.ndarray[Any, Any]]:
    """100 cells each of three types: rising levels, so that quantiles are known; B2M is in every cell."""
    rising = np.linspace(1, 3, N)
    values = np.zeros((3 * N, len(GENES)))
    values[:N, 0] = rising  # CD14 in every CD14 monocyte
    values[:10, 1] = 0.5  # FCGR3A leaks into a tenth of them
    values[N : 2 * N, 1] = np.where(np.arange(N) < 15, 0, 2)  # and is seen in 85 % of CD16 monocytes
    values[: 2 * N, 2] = 4
    values[2 * N : 2 * N + 79, 3] = 2  # CD19 is seen in 79 % of B cells
    values[:, 4] = 3
    values[:, 5] = 0.05  # one count: the cells are deep
    return csr_matrix(values.astype(np.float32)), np.repeat(np.arange(3, dtype=np.int32), N)


def toy_ranges() -> MarkerRanges:
    expression, label = toy_reference()
    return marker_ranges(expression, label, TERMS, genes=GENES, relations=RELATIONS)


def key(row: MarkerStatement) -> tuple[str, str, str]:
    return ONTOLOGY.labels[row.term], row.gene, row.state


# What a reference shows -------------------------------------------------------------------------------------------


def test_statements_that_the_reference_bears_out() -> None:
    found = toy_ranges()
    assert {key(row) for row in found.statements} == {
        ("CD14 monocyte", "CD14", "has"),
        ("CD14 monocyte", "FCGR3A", "lacks"),
        ("CD14 monocyte", "LYZ", "has"),  # inherited
        ("CD16 monocyte", "FCGR3A", "has"),
        ("CD16 monocyte", "LYZ", "has"),
        ("monocyte", "LYZ", "has"),  # calls back off, so terms above are known too
    }
    # Every CD14 monocyte has B2M, which the definition denies; CD19 is lost in 21 % of B cells; CD20 is not a gene here.
    assert [key(row) for row in found.refuted] == [("CD14 monocyte", "B2M", "lacks")]
    assert [key(row) for row in found.faint] == [("B cell", "CD19", "has")]


def test_range_of_a_statement() -> None:
    (row,) = (row for row in toy_ranges().statements if key(row) == ("CD14 monocyte", "CD14", "has"))
    # 100 levels from 1 to 3: the q quantile is 1 + 2 q.
    assert (row.n_cells, row.share) == (100, 1.0)
    assert (row.low, row.usual, row.high, row.top) == pytest.approx((1.1, 2.0, 2.9, 2.98))
    assert row.said_by == "label of T:3"
    (above,) = (row for row in toy_ranges().statements if row.term == MONO)
    assert above.n_cells == 200


@pytest.mark.parametrize(
    ("n_cells", "states"),
    [
        pytest.param(LEAST_CELLS["has"] - 1, set(), id="too_few_for_any"),
        pytest.param(LEAST_CELLS["has"], {"has"}, id="enough_for_has"),
        pytest.param(LEAST_CELLS["lacks"] - 1, {"has"}, id="too_few_for_lacks"),
        pytest.param(LEAST_CELLS["lacks"], {"has", "lacks"}, id="enough_for_both"),
    ],
)
def test_few_cells_have_no_quantiles(n_cells: int, states: set[str]) -> None:
    expression, label = toy_reference()
    found = marker_ranges(expression[:n_cells], label[:n_cells], TERMS, genes=GENES, relations=RELATIONS)
    assert {row.state for row in found.statements if row.term == CD14_MONO} == states


def test_genes_without_statements_and_statements_without_genes_give_nothing() -> None:
    expression, label = toy_reference()
    assert marker_ranges(expression, label, TERMS, genes=list("abcdef"), relations=RELATIONS) == MarkerRanges()


def test_order_of_cells_and_genes_changes_nothing() -> None:
    expression, label = toy_reference()
    cells, genes = np.random.default_rng(0).permutation(3 * N), np.random.default_rng(1).permutation(len(GENES))
    turned = marker_ranges(
        expression[cells][:, genes], label[cells], TERMS, genes=[GENES[j] for j in genes], relations=RELATIONS
    )
    assert turned == toy_ranges()


def test_json_gives_back_the_same_also_in_a_release_with_more_terms() -> None:
    found = toy_ranges()
    plain = json.loads(json.dumps(found.to_dict(ONTOLOGY)))
    assert MarkerRanges.from_dict(plain, ONTOLOGY) == found
    edges = {"T:2": ["T:1"], "T:3": ["T:2"], "T:4": ["T:2"], "T:5": ["T:1"], "T:0": ["T:3"]}
    larger = ontology_from_edges(dict(zip(ONTOLOGY.ids, ONTOLOGY.labels, strict=True)) | {"T:0": "new"}, edges)
    moved = MarkerRanges.from_dict(plain, larger)
    assert [larger.ids[row.term] for row in moved.statements] == [ONTOLOGY.ids[row.term] for row in found.statements]
    assert [row.term for row in moved.statements] != [row.term for row in found.statements]


# Where a cell goes against it -------------------------------------------------------------------------------------

HAS = MarkerStatement(CD14_MONO, "CD14", "has", "", 100, 0.97, 1.0, 2.0, 3.0, 3.5)
LACKS = MarkerStatement(CD14_MONO, "FCGR3A", "lacks", "", 100, 0.03, 0.0, 0.0, 0.0, 0.5)
DROPS = MarkerStatement(CD16_MONO, "FCGR3A", "has", "", 100, 0.85, 0.0, 2.0, 3.0, 3.5)
STATEMENTS = (HAS, LACKS, DROPS)
EVERY = np.ones(len(GENES), bool)


def judge(
    term: int, *, one: float = 0.05, measured: np.ndarray[Any, Any] = EVERY, **levels: float
) -> tuple[int, float]:
    """Return the statement that a cell of this term and these levels contradicts, and its value."""
    values = np.zeros((1, len(GENES)), np.float32)
    for gene, level in levels.items():
        values[0, GENES.index(gene)] = level
    values[0, GENES.index("DEPTH")] = one
    expression = csr_matrix(values)
    marker, value = contradictions(expression, np.array([term], np.int32), STATEMENTS, genes=GENES, measured=measured)
    return int(marker[0]), float(value[0])


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        pytest.param({"term": CD14_MONO, "CD14": 2.0}, -1, id="like_the_reference"),
        pytest.param({"term": CD14_MONO, "CD14": 1.0}, -1, id="at_the_lowest_usual_level"),
        pytest.param({"term": CD14_MONO, "CD14": 0.9}, 0, id="below_it"),
        pytest.param({"term": CD14_MONO}, 0, id="absent"),
        pytest.param({"term": CD14_MONO, "CD14": 2.0, "FCGR3A": 0.5}, -1, id="leak_as_in_the_reference"),
        pytest.param({"term": CD14_MONO, "CD14": 2.0, "FCGR3A": 0.6}, 1, id="more_than_a_leak"),
        pytest.param({"term": CD14_MONO, "CD14": 0.9, "FCGR3A": 0.6}, 0, id="furthest_is_absence"),
        pytest.param({"term": CD14_MONO, "CD14": 0.9, "FCGR3A": 2.0}, 1, id="furthest_is_presence"),
        pytest.param({"term": CD16_MONO}, 2, id="absent_where_dropout_takes_15_percent"),
        pytest.param({"term": CD16_MONO, "FCGR3A": 0.1}, -1, id="present_however_little"),
        pytest.param({"term": B, "FCGR3A": 3.0}, -1, id="nothing_is_stated_of_the_term"),
        pytest.param({"term": -1, "FCGR3A": 3.0}, -1, id="no_call"),
        # 2.0 is 6.4 counts per 10,000: three counts of 2.13, or fewer than three of 2.2.
        pytest.param({"term": CD14_MONO, "one": float(np.log1p(2.12))}, 0, id="three_counts_were_to_be_expected"),
        pytest.param({"term": CD14_MONO, "one": float(np.log1p(2.2))}, -1, id="fewer_were_to_be_expected"),
        pytest.param({"term": CD14_MONO, "one": 3.0, "CD14": 3.0, "FCGR3A": 3.0}, 1, id="presence_counts_at_any_depth"),
        pytest.param({"term": CD14_MONO, "one": 0.0}, -1, id="cell_without_counts"),
        pytest.param({"term": CD14_MONO, "measured": np.array(GENES) != "CD14"}, -1, id="gene_was_not_measured"),
    ],
)
def test_contradiction(cell: dict[str, Any], expected: int) -> None:
    marker, value = judge(**cell)
    assert marker == expected
    if expected < 0:
        assert np.isnan(value)
    else:
        assert value == np.float32(cell.get(STATEMENTS[expected].gene, 0.0))


def test_stored_zeros_are_no_counts() -> None:
    """A zero kept in the matrix must not make a cell seem infinitely deep."""
    expression = csr_matrix(
        (np.array([0.0, 3.0], np.float32), np.array([1, 5]), np.array([0, 2])), shape=(1, len(GENES))
    )
    marker, _ = contradictions(expression, np.array([CD14_MONO], np.int32), STATEMENTS, genes=GENES, measured=EVERY)
    assert marker.tolist() == [-1]


def test_no_cells_and_no_statements() -> None:
    empty = csr_matrix((0, len(GENES)), dtype=np.float32)
    for expression, statements in ((empty, STATEMENTS), (toy_reference()[0], ())):
        term = np.full(expression.shape[0], CD14_MONO, np.int32)
        marker, value = contradictions(expression, term, statements, genes=GENES, measured=EVERY)
        assert marker.dtype == np.int16
        assert value.dtype == np.float32
        assert (marker == -1).all()
        assert len(marker) == len(value) == expression.shape[0]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12))
def test_a_cell_is_judged_alone_and_by_the_rule(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    values = np.round(rng.uniform(0, 4, (n, len(GENES))) * (rng.random((n, len(GENES))) < 0.6), 1).astype(np.float32)
    term = rng.choice([CD14_MONO, CD16_MONO, MONO, -1], n).astype(np.int32)
    marker, value = contradictions(csr_matrix(values), term, STATEMENTS, genes=GENES, measured=EVERY)
    for i in range(n):
        alone, _ = contradictions(csr_matrix(values[[i]]), term[[i]], STATEMENTS, genes=GENES, measured=EVERY)
        assert alone[0] == marker[i]
        held = values[i][values[i] > 0]
        one = np.expm1(held.min()) if len(held) else np.inf
        gaps = []
        for row in STATEMENTS:
            own = values[i, GENES.index(row.gene)]
            if row.state == "has":
                bad = (own == 0 or own < row.low) and np.expm1(row.usual) >= 3 * one
                gaps.append(row.usual - own if bad and row.term == term[i] else 0)
            else:
                gaps.append(own - row.top if own > row.top and row.term == term[i] else 0)
        expected = int(np.argmax(gaps)) if max(gaps) > 0 else -1
        assert marker[i] == expected
        assert np.isnan(value[i]) if expected < 0 else value[i] == values[i, GENES.index(STATEMENTS[expected].gene)]


# Real cells -------------------------------------------------------------------------------------------------------


def test_own_cells_rarely_contradict_and_the_likeliest_mistakes_often_do(cl: CellOntology, shared_data: Path) -> None:
    """Two technologies as reference, the third as query: CD14 tells CD14 monocytes from CD16 monocytes and DC."""
    cells = ad.read_h5ad(shared_data / "pbmc_symphony_3tech.h5ad")
    counts, genes = csr_matrix(cells.X), list(cells.var_names)
    ids = cells.obs["cell_type_ontology_term_id"].astype(str).to_numpy()
    terms, label = np.unique(ids, return_inverse=True)
    index = cl.indices(list(terms))
    query = (cells.obs["batch"] == "5p").to_numpy()
    expression = log1p_cp10k(counts, share=1.0)
    ranges = marker_ranges(
        expression[~query], label[~query].astype(np.int32), index, genes=genes, relations=load_relations(cl)
    )
    assert [(row.gene, row.state) for row in ranges.statements] == [("CD14", "has")]
    assert ranges.statements[0].share == pytest.approx(0.816, abs=0.001)
    assert [row.gene for row in ranges.faint] == ["CD8A"]
    mono = ranges.statements[0].term
    called = np.full(int(query.sum()), mono, np.int32)
    marker, _ = contradictions(
        expression[query], called, ranges.statements, genes=genes, measured=np.ones(len(genes), bool)
    )
    flagged = {term: float((marker[ids[query] == term] >= 0).mean()) for term in terms}
    assert flagged["CL:0001054"] == pytest.approx(2 / 120)
    assert flagged["CL:0000875"] == pytest.approx(0.5, abs=0.05)
    assert flagged["CL:0000451"] == pytest.approx(0.6, abs=0.05)


def test_thinned_reference_is_no_longer_sure_of_its_markers() -> None:
    """At a tenth of the depth most cells show no count of a gene that all have: the statement is dropped as faint."""
    expression, label = toy_reference()
    counts = csr_matrix(np.rint(np.expm1(expression.toarray()) * 0.5).astype(np.float32))
    thinned = counts.copy()
    thinned.data = np.random.default_rng(0).binomial(thinned.data.astype(int), 0.1).astype(np.float32)
    thinned.eliminate_zeros()
    deep, shallow = (
        marker_ranges(log1p_cp10k(table, share=1.0), label, TERMS, genes=GENES, relations=RELATIONS)
        for table in (counts, thinned)
    )
    assert "CD14" in {row.gene for row in deep.statements}
    assert "CD14" in {row.gene for row in shallow.faint}
