"""A query's genes in the reference's order: names of two systems, versions, case, duplicates, and the numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from celljury.errors import GenesError
from celljury.genes import (
    MARKERS_PER_TERM,
    GeneTable,
    align_genes,
    gene_names,
    lead_over_others,
    plain_names,
    select_genes,
    sum_duplicates,
)

SYMBOLS = ("CD3E", "MS4A1", "C1orf112", "LYZ")
ENSEMBL = ("ENSG00000198851", "ENSG00000156738", "ENSG00000000460", "ENSG00000090382")
TABLE = GeneTable(SYMBOLS, ENSEMBL, np.array([0.4, 0.3, 0.2, 0.1]))


def var_of(*names: str, **columns: Any) -> pd.DataFrame:
    return pd.DataFrame(columns, index=list(names))


def align(var: pd.DataFrame, *, table: GeneTable = TABLE, min_shared: int = 0) -> Any:
    return align_genes(var, table, where="query.h5ad", min_shared=min_shared)


def aligned(var: pd.DataFrame, **options: Any) -> list[float]:
    """One cell with count 1 for the first gene, 2 for the second, 4, 8, ..."""
    counts = csr_matrix(2.0 ** np.arange(len(var))[None, :], dtype=np.float32)
    return align(var, **options).apply(counts).toarray()[0].tolist()


@pytest.mark.parametrize(
    ("var", "expected"),
    [
        pytest.param(var_of(*SYMBOLS), [1, 2, 4, 8], id="the_same_names"),
        pytest.param(var_of("LYZ", "other", "CD3E"), [4, 0, 0, 1], id="another_order_and_other_genes"),
        pytest.param(var_of(*ENSEMBL), [1, 2, 4, 8], id="ensembl_ids_against_symbols"),
        pytest.param(var_of(*(f"{name}.12" for name in ENSEMBL)), [1, 2, 4, 8], id="ensembl_versions_are_dropped"),
        pytest.param(
            var_of("a", "b", gene_ids=["ENSG00000198851.3", "ENSG00000090382"]), [1, 0, 0, 2], id="var_gene_ids"
        ),
        pytest.param(var_of("a", "b", feature_name=["MS4A1", "LYZ"]), [0, 1, 0, 2], id="var_feature_name"),
        pytest.param(
            var_of("a", "b", feature_name=pd.Categorical(["MS4A1", "LYZ"])), [0, 1, 0, 2], id="a_categorical_column"
        ),
        pytest.param(var_of("cd3e", "Lyz"), [1, 0, 0, 2], id="case_is_ignored"),
        pytest.param(var_of("CD3E", "CD3E", "LYZ"), [3, 0, 0, 4], id="duplicates_are_summed"),
        pytest.param(
            var_of("ENSG00000198851.1", "ENSG00000198851.2"), [3, 0, 0, 0], id="two_versions_of_one_gene_are_summed"
        ),
        pytest.param(var_of("C1ORF112", "C1orf112"), [0, 0, 2, 0], id="an_exact_match_beats_a_case_match"),
        pytest.param(var_of("C1orf112", "C1ORF112"), [0, 0, 1, 0], id="whatever_stands_first"),
        pytest.param(var_of(" CD3E ", "LYZ"), [1, 0, 0, 2], id="spaces_around_a_name"),
    ],
)
def test_genes_find_their_place(var: pd.DataFrame, expected: list[float]) -> None:
    assert aligned(var) == expected


def test_case_is_not_guessed_where_the_reference_has_both() -> None:
    table = GeneTable(("C1orf112", "C1ORF112"), ("", ""), np.array([0.5, 0.5]))
    assert aligned(var_of("c1orf112", "C1ORF112"), table=table) == [0, 2]


def test_a_dot_in_a_symbol_is_no_version() -> None:
    names = ["ENSG00000198851.3", "RP11-34P13.7", "ENSMUSG00000051951.6", "AC0.1", "ENSG1.2"]
    expected = ["ENSG00000198851", "RP11-34P13.7", "ENSMUSG00000051951", "AC0.1", "ENSG1.2"]
    assert plain_names(np.array(names)).tolist() == expected


def test_the_naming_that_shares_most_is_taken() -> None:
    var = var_of("CD3E", "x", "y", gene_ids=[ENSEMBL[0], ENSEMBL[1], ENSEMBL[3]])
    found = align(var)
    assert found.report.matched_by == "var['gene_ids']"
    assert found.present.tolist() == [True, True, False, True]


def test_the_report_counts_every_way_of_matching() -> None:
    # By hand: CD3E exactly and again, MS4A1 by case, two others nowhere; C1orf112 and LYZ (0.2 and 0.1) are lost.
    report = align(var_of("CD3E", "CD3E", "ms4a1", "one", "two")).report
    assert (report.n_query, report.n_reference, report.n_shared) == (5, 4, 2)
    assert (report.n_by_case, report.n_by_version, report.n_duplicated) == (1, 0, 1)
    assert report.share == pytest.approx(0.7)
    assert report.missing == ("C1orf112", "LYZ")
    assert report.sentence() == (
        "2 of the jury's 4 genes are in the query (var_names) (1 by ignoring case; 1 duplicates summed); they hold 70 % of"
        " the reference's counts"
    )


def test_versions_are_counted_on_the_names_that_matched() -> None:
    report = align(var_of("ENSG00000198851.3", "ENSG00000156738", "ENSG00000999999.1")).report
    assert (report.n_shared, report.n_by_version) == (2, 1)


def test_twelve_shared_genes_are_too_few_and_both_numbers_are_said() -> None:
    table = GeneTable(tuple(f"G{i}" for i in range(200)), ("",) * 200, np.full(200, 1 / 200))
    var = var_of(*(f"G{i}" for i in range(12)), *(f"Z{i}" for i in range(300)))
    with pytest.raises(GenesError) as caught:
        align(var, table=table, min_shared=100)
    message = str(caught.value)
    assert message.startswith("query.h5ad: 12 of the jury's 200 genes are in the query (var_names)")
    assert "at least 100 are needed" in message
    # The names that differ are shown, not the dozen that agree.
    assert "only the query has look like: Z0, Z1, Z2" in message
    assert "only the jury has: G12, G13, G14" in message
    assert "genes.min_shared" in message


def test_the_limit_itself_is_enough() -> None:
    assert align(var_of("CD3E", "LYZ"), min_shared=2).report.n_shared == 2
    with pytest.raises(GenesError):
        align(var_of("CD3E", "LYZ"), min_shared=3)


def test_unnamed_genes_of_a_column_match_nothing() -> None:
    table = GeneTable(("CD3E", "LYZ"), ("", ""), np.array([0.5, 0.5]))
    assert aligned(var_of("a", "b", gene_ids=[None, np.nan]), table=table) == [0, 0]


@pytest.mark.parametrize(
    ("var", "expected"),
    [
        pytest.param(var_of("A", "B", gene_ids=["ENSG1", "ENSG2"]), ["ENSG1", "ENSG2"], id="a_known_column"),
        pytest.param(var_of("A", "B", gene_ids=["ENSG1", None]), ["ENSG1", ""], id="unknown_is_empty"),
        pytest.param(var_of("A", "B", symbol=["A", "B"]), ["", ""], id="a_copy_of_the_names_says_nothing_new"),
        pytest.param(var_of("A", "B", colour=["x", "y"]), ["", ""], id="other_columns_are_left_alone"),
    ],
)
def test_the_second_name_of_a_gene(var: pd.DataFrame, expected: list[str]) -> None:
    names, other = gene_names(var)
    assert names.tolist() == ["A", "B"]
    assert other.tolist() == expected


@settings(deadline=None)
@given(st.lists(st.sampled_from("ABCDE"), min_size=1, max_size=12))
def test_summing_duplicates_keeps_order_and_totals(names: list[str]) -> None:
    first, merge = sum_duplicates(np.array(names))
    distinct = list(dict.fromkeys(names))
    assert [names[i] for i in first] == distinct
    counts = csr_matrix(2.0 ** np.arange(len(names))[None, :])
    merged = (counts @ merge).toarray()[0]
    assert merged.tolist() == [sum(2.0**i for i, name in enumerate(names) if name == one) for one in distinct]


@settings(deadline=None)
@given(st.permutations(range(8)))
def test_the_order_of_a_query_s_genes_changes_nothing(order: list[int]) -> None:
    names = [*SYMBOLS, "x", "y", "cd3e", "LYZ"]
    counts = csr_matrix(np.arange(1.0, 9.0)[None, :], dtype=np.float32)
    before = align(var_of(*names)).apply(counts).toarray()
    after = align(var_of(*(names[i] for i in order))).apply(counts[:, order]).toarray()
    np.testing.assert_array_equal(before, after)


# Selection ----------------------------------------------------------------------------------------------------------


def with_a_rare_type() -> tuple[csr_matrix, np.ndarray, np.ndarray]:
    """300 cells x 400 genes in log counts; 3 cells of a rare type, whose genes 390 to 399 nobody else has."""
    rng = np.random.default_rng(0)
    values = np.log1p(rng.poisson(rng.gamma(2, 2, 400), (300, 400))).astype(np.float32)
    label = np.zeros(300, np.int32)
    label[150:297] = 1
    label[297:] = 2
    values[:, 390:] = 0
    values[297:, 390:] = np.log1p(5)
    return csr_matrix(values), label, np.tile([0, 1], 150).astype(np.int32)


def test_a_rare_type_keeps_its_markers() -> None:
    normalized, label, batch = with_a_rare_type()
    chosen = select_genes(normalized, batch=batch, label=label, n_terms=3, n_genes=50)
    assert set(range(390, 400)) <= set(chosen.tolist())
    assert 50 <= len(chosen) <= 50 + 3 * MARKERS_PER_TERM
    assert chosen.tolist() == sorted(set(chosen.tolist()))


def test_few_genes_are_all_kept() -> None:
    normalized, label, batch = with_a_rare_type()
    chosen = select_genes(normalized, batch=batch, label=label, n_terms=3, n_genes=400)
    assert chosen.tolist() == list(range(400))


def test_small_batches_do_not_decide_what_is_variable() -> None:
    values = with_a_rare_type()[0].toarray()
    label = (np.arange(300) % 2).astype(np.int32)
    values[:, 5] = np.random.default_rng(1).normal(1, 0.01, 300)
    values[:20, 5] = 4  # ten cells of either type, all in one batch of 20
    pooled, apart = np.zeros(300, np.int32), (np.arange(300) < 20).astype(np.int32)
    chosen = {
        name: select_genes(csr_matrix(values), batch=batch, label=label, n_terms=2, n_genes=50).tolist()
        for name, batch in (("pooled", pooled), ("apart", apart))
    }
    assert 5 in chosen["pooled"]
    assert 5 not in chosen["apart"]


def test_lead_over_others_by_hand() -> None:
    # Term 0 has cells (4, 0) and (2, 0), term 1 has (1, 6): means 3 against 1, and 0 against 6.
    normalized = csr_matrix(np.array([[4, 0], [2, 0], [1, 6]], np.float32))
    lead = lead_over_others(normalized, label=np.array([0, 0, 1], np.int32), n_terms=2)
    assert lead.tolist() == [[2, -6], [-2, 6]]
