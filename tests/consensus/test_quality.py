"""Query checks: hand-worked cells, laws of the limits, and how many real cells they flag."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from celljury.genes import GeneTable, align_genes, gene_names
from celljury.members.normalize import gene_shares
from celljury.quality import (
    MEASURES,
    MIN_CELLS,
    STATISTICS,
    CellMeasures,
    ReferenceRange,
    cell_measures,
    flag_low_quality,
)

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

QUICK = settings(max_examples=60, deadline=None)


def measures_of(counts: Any, genes: Any = None, mito: Any = None) -> CellMeasures:
    """Measures as given, all genes shared."""
    log = np.log10(np.maximum(np.asarray(counts, float), 1)).astype(np.float32)
    n_genes = np.asarray(np.full(len(log), 100) if genes is None else genes, np.float32)
    share = np.asarray(np.full(len(log), np.nan) if mito is None else mito, np.float32)
    return CellMeasures(log, n_genes, share, log, n_genes, () if mito is None else ("MT-ND1",), 1000)


def range_of(measures: CellMeasures, *, label: Any = None, batch: Any = None) -> ReferenceRange:
    """The range of a reference with two genes of equal share, of which the first is in every cell, the second in half."""
    n = measures.n_cells
    label = np.zeros(n, np.int32) if label is None else np.asarray(label, np.int32)
    batch = np.zeros(n, np.int32) if batch is None else np.asarray(batch, np.int32)
    two = np.ones((n, 2), np.float32)
    two[::2] = (2, 0)
    two[1::2] = (1, 3)
    terms = tuple(f"CL:{i:07d}" for i in range(label.max() + 1))
    batches = tuple(f"donor{i}" for i in range(batch.max() + 1))
    return ReferenceRange.fit(
        measures, counts=csr_matrix(two), label=label, terms=terms, batch=batch, batches=batches
    )  # fmt: skip


BOTH = np.ones(2, bool)


def flags_of(query: CellMeasures, reference: ReferenceRange, *, batch: Any = None, **more: Any) -> Any:
    codes = np.zeros(query.n_cells, np.int32) if batch is None else np.asarray(batch, np.int32)
    return flag_low_quality(query, reference, present=more.pop("present", BOTH), batch=codes, **more)


# Measures -----------------------------------------------------------------------------------------------------------

# MT-ND1, mt-Co1, MT1E, CD3E
TABLE = [
    [10, 0, 0, 90],  # 100 counts, 2 genes, 10 % mitochondrial
    [1, 2, 3, 4],  # 10 counts, 4 genes, 30 %
    [0, 0, 0, 1],  # 1 count, 1 gene, 0 %
    [0, 0, 0, 0],  # empty
]


def test_measures_of_a_hand_worked_table() -> None:
    counts = csr_matrix(np.array(TABLE, np.float32))
    found = cell_measures(counts, ["MT-ND1", "mt-Co1", "MT1E", "CD3E"], shared=csr_matrix(counts[:, 2:]))
    np.testing.assert_allclose(found.log_counts, [2, 1, 0, 0])
    np.testing.assert_array_equal(found.n_genes, [2, 4, 1, 0])
    np.testing.assert_allclose(found.mito_share, [0.1, 0.3, 0, np.nan], rtol=1e-6)
    np.testing.assert_allclose(found.log_shared_counts, [np.log10(90), np.log10(7), 0, 0], rtol=1e-6)
    np.testing.assert_array_equal(found.n_shared_genes, [1, 2, 1, 0])
    assert (found.mito_genes, found.n_measured, found.why_no_mito) == (("MT-CO1", "MT-ND1"), 4, None)


@pytest.mark.parametrize(
    ("namings", "n_mito"),
    [
        pytest.param([["ENSG1", "ENSG2"], ["MT-ND1", "CD3E"]], 1, id="symbols_beside_ensembl_ids_are_seen"),
        pytest.param([["MT.ND1", "MT-CO1"]], 2, id="a_hyphen_that_R_replaced_is_seen"),
        pytest.param([["MT1E", "MTOR"]], 0, id="metallothionein_and_MTOR_are_not_mitochondrial"),
        pytest.param([["ENSG1", "ENSG2"]], 0, id="ensembl_ids_alone_tell_nothing"),
    ],
)
def test_mitochondrial_genes_are_found_by_name(namings: list[list[str]], n_mito: int) -> None:
    counts = csr_matrix(np.ones((3, 2), np.float32))
    found = cell_measures(counts, *namings, shared=counts)
    assert len(found.mito_genes) == n_mito
    assert (found.why_no_mito is None) == (n_mito > 0)
    np.testing.assert_allclose(found.mito_share, np.full(3, n_mito / 2 if n_mito else np.nan))


def test_blocks_give_the_measures_of_the_whole() -> None:
    rng = np.random.default_rng(0)
    counts = csr_matrix(rng.poisson(0.7, (50, 30)).astype(np.float32))
    names = ["MT-ND1", *(f"G{i}" for i in range(29))]
    whole = cell_measures(counts, names, shared=counts)
    parts = CellMeasures.join(
        [cell_measures(counts[i : i + 7], names, shared=counts[i : i + 7]) for i in range(0, 50, 7)]
    )
    for name in CellMeasures.__slots__:
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name), err_msg=name)


# The reference's range ------------------------------------------------------------------------------------------------


def test_range_of_a_hand_worked_reference() -> None:
    """Donors of median 100 and 1,000, each spread by a factor of ten either way: the MAD is within donors."""
    donor = [10, 100, 1000] * 10
    measures = measures_of(donor + [10 * x for x in donor], mito=[0.1] * 60)
    found = range_of(measures, label=[0] * 50 + [1] * 10, batch=[0] * 30 + [1] * 30)
    median, mad = (found.ranges[0, :, STATISTICS.index(name)] for name in ("median", "mad"))
    np.testing.assert_allclose(median, [2.5, 2, 0.1], rtol=1e-6)  # between 100 and 1,000; 100 genes; 10 %
    np.testing.assert_allclose(mad, [1.4826, 0, 0], atol=1e-6)
    np.testing.assert_allclose(found.batch_medians[:, 0], [2, 3])
    assert found.terms == ("CL:0000000",), f"a term of 10 cells is fewer than {MIN_CELLS}"
    assert found.ranges.shape == (2, len(MEASURES), len(STATISTICS))
    # Gene shares of cells (2, 0) and (1, 3): mean of 1 and 1/4; detected in all and in half of the cells.
    np.testing.assert_allclose(found.gene_share, [0.625, 0.375])
    np.testing.assert_allclose(found.gene_detected, [1, 0.5])
    np.testing.assert_allclose(found.scale(BOTH), (0, 0), atol=1e-12)
    np.testing.assert_allclose(found.scale(np.array([True, False])), np.log10([0.625, 1 / 1.5]))


@pytest.mark.parametrize("mito", [pytest.param([0.1, 0.2] * 20, id="with_mito"), pytest.param(None, id="without_mito")])
def test_range_comes_back_from_json(mito: Any) -> None:
    found = range_of(measures_of([100, 200] * 20, mito=mito), batch=[0] * 30 + [1] * 10)
    again = ReferenceRange.from_dict(json.loads(json.dumps(found.to_dict(), allow_nan=False)))
    for name in ReferenceRange.__slots__:
        np.testing.assert_array_equal(getattr(again, name), getattr(found, name), err_msg=name)


def test_a_reference_without_large_batches_comes_back_from_json() -> None:
    found = range_of(measures_of([100, 200, 300]))
    assert ReferenceRange.from_dict(json.loads(json.dumps(found.to_dict()))).batch_medians.shape == (0, 3)


# Low quality ----------------------------------------------------------------------------------------------------------

# Reference and query: 40 cells of 900 to 1,100 counts, so 3 MADs are less than a factor of two, which then decides.
TIGHT = [900, 1000, 1000, 1100] * 10


@pytest.mark.parametrize(
    ("counts", "low"),
    [
        pytest.param(501, False, id="more_than_half_of_the_usual_is_never_low"),
        pytest.param(499, True, id="less_than_half_is_low_in_a_tight_batch"),
        pytest.param(9000, False, id="many_counts_are_not_low_quality"),
        pytest.param(0, True, id="an_empty_cell_is_low"),
    ],
)
def test_counts_against_a_tight_reference(counts: int, *, low: bool) -> None:
    found = flags_of(measures_of([*TIGHT, counts]), range_of(measures_of(TIGHT)))
    assert found.low_counts.tolist() == [False] * 40 + [low]
    assert not found.few_genes.any()
    assert (found.sentence(40) != "") == low
    assert found.sentence(0) == ""


def test_sentence_carries_the_numbers() -> None:
    query = measures_of([*TIGHT, 200], genes=[100] * 40 + [20], mito=[0.02] * 40 + [0.3])
    found = flags_of(query, range_of(measures_of(TIGHT, mito=[0.02] * 40)))
    assert found.sentence(40) == (
        "Low quality: 200 counts over the shared genes, where 1,000 are usual (limit 500); 20 of the shared genes detected,"
        " where 100 are usual (limit 50); 30 % of the counts are mitochondrial, where 2 % are usual (limit 7 %)."
    )


@pytest.mark.parametrize("fold", [10, 100])
def test_a_shallower_query_is_said_once_and_flags_nobody(fold: int) -> None:
    found = flags_of(measures_of(np.array(TIGHT) // fold), range_of(measures_of(TIGHT)))
    assert not found.low_quality.any()
    assert [note for note in found.notes if "shallower" in note] == [
        f"The query as a whole is shallower than the reference: a median of {1000 // fold} counts over the shared genes,"
        " where the reference's cells have 1,000. Its cells are compared with each other, so this alone flags none of them,"
        " but calls rest on less."
    ]


def test_missing_genes_are_not_taken_for_shallow_sequencing() -> None:
    """On the first gene alone a reference cell would show 62.5 % of its counts, and 2/3 of its genes."""
    query = measures_of(0.625 * np.array(TIGHT), genes=np.full(40, 200 / 3))
    found = flags_of(query, range_of(measures_of(TIGHT)), present=np.array([True, False]))
    np.testing.assert_allclose(found.expected[:, 0], np.log10(625), rtol=1e-3)
    np.testing.assert_allclose(10 ** found.expected[:, 1], 200 / 3, rtol=1e-3)
    assert not found.low_quality.any()
    assert not [note for note in found.notes if "shallower" in note]


def test_a_batch_has_its_own_median() -> None:
    """A fifth of the cells are from a library of a tenth of the depth: no outliers there, but its own outlier is."""
    query = measures_of([*TIGHT, *TIGHT, *(x / 10 for x in TIGHT[:20]), 20])
    reference = range_of(measures_of(TIGHT))
    found = flags_of(query, reference, batch=[0] * 80 + [1] * 21)
    assert np.flatnonzero(found.low_counts).tolist() == [100]
    assert flags_of(query, reference).low_counts.sum() == 21, "of one batch, all of them would be outliers"


def test_a_term_of_little_rna_is_compared_with_its_own_kind() -> None:
    """Platelets of 100 counts beside cells of 1,000: low by the whole reference, usual for platelets."""
    platelets = [x / 10 for x in TIGHT[:20]]
    reference = range_of(measures_of([*TIGHT, *platelets]), label=[0] * 40 + [1] * 20)
    query = measures_of([*TIGHT, 100, 100, 20])
    assert flags_of(query, reference).low_counts[40:].tolist() == [True, True, True]
    known = flags_of(query, reference, term=np.array([0] * 40 + [1, -1, 1], np.int32))
    assert known.low_counts.tolist() == [False] * 41 + [True, True]


@pytest.mark.parametrize(
    ("present", "share"),
    [
        pytest.param(BOTH, 1.0, id="all_genes"),
        pytest.param(np.array([True, False]), 0.625, id="scaled_to_shared_genes"),
    ],
)
def test_the_floor_is_the_reference_lowest_usable_level(present: NDArray[np.bool_], share: float) -> None:
    """A query of a wide spread, deeper than the reference: 3 MADs reach far down, the reference's lowest does not."""
    counts = np.array([300, 1000, 3000, 10_000, 100_000] * 8 + [20, 880, 920])
    found = flags_of(measures_of(share * counts), range_of(measures_of(TIGHT)), present=present)
    np.testing.assert_array_equal(found.low_counts, counts < 900)


def test_missing_genes_do_not_move_the_floor_twice() -> None:
    """The lowest reference cell has 200 counts, 125 of them on the first gene; the query is as deep as the reference."""
    wide = np.array([200, 500, 1000, 2000, 5000] * 8)
    query = 0.625 * np.array([*(wide[wide > 200]), 1000, 150, 250])
    found = flags_of(measures_of(query), range_of(measures_of(wide)), present=np.array([True, False]))
    np.testing.assert_array_equal(found.low_counts, query < 125)


def test_a_query_as_deep_as_one_of_the_references_libraries_is_not_shallow() -> None:
    reference = range_of(measures_of([10_000] * 30 + [900] * 20), batch=[0] * 30 + [1] * 20)
    assert not [note for note in flags_of(measures_of(TIGHT), reference).notes if "shallower" in note]
    assert [note for note in flags_of(measures_of([800] * 40), reference).notes if "its batches 900 to 10,000" in note]


@pytest.mark.parametrize(
    ("mito", "high"),
    [
        pytest.param(0.06, False, id="within_five_points_of_the_median_is_never_high"),
        pytest.param(0.08, True, id="beyond_is_high_where_cells_are_alike"),
    ],
)
def test_mitochondrial_share(mito: float, *, high: bool) -> None:
    found = flags_of(
        measures_of([*TIGHT, 1000], mito=[0.02] * 40 + [mito]), range_of(measures_of(TIGHT, mito=[0.02] * 40))
    )
    assert found.high_mito.tolist() == [False] * 40 + [high]
    assert not found.low_counts.any()


def test_a_share_that_reference_cells_reach_is_not_high() -> None:
    """Muscle of the heart: a tenth of the reference's cells hold 40 %."""
    query = measures_of([*TIGHT, 1000], mito=[0.02] * 40 + [0.35])
    rich = range_of(measures_of(TIGHT, mito=[0.02] * 36 + [0.4] * 4))
    assert not flags_of(query, rich).high_mito.any()
    assert flags_of(query, range_of(measures_of(TIGHT))).high_mito.tolist() == [False] * 40 + [True]


def test_what_cannot_be_computed_or_compared_is_said() -> None:
    without, with_share = measures_of(TIGHT), measures_of(TIGHT, mito=[0.02] * 40)
    assert flags_of(without, range_of(with_share)).notes == (
        "The mitochondrial share cannot be computed: none of the file's 1,000 genes is named MT-... or mt-... (genes"
        " filtered away, or only Ensembl ids and no column of symbols).",
    )
    (note,) = flags_of(with_share, range_of(without)).notes
    assert note.endswith("(1 of 1,000 and 0 of 1,000 are mitochondrial).")
    assert flags_of(with_share, range_of(with_share)).notes == ()
    whole = replace(with_share, n_measured=30_000)
    assert flags_of(with_share, range_of(whole)).notes[0].startswith("The mitochondrial share is compared within")
    dying = measures_of(TIGHT, mito=[0.5] * 40)
    (note,) = flags_of(dying, range_of(with_share)).notes
    assert note.startswith("The query as a whole is mitochondrial: a median of 50 %")


def test_no_cells_no_flags() -> None:
    found = flags_of(measures_of([]), range_of(measures_of(TIGHT)))
    assert found.low_quality.shape == (0,)
    assert found.notes == ()


@QUICK
@given(counts=st.lists(st.integers(1, 5000), min_size=1, max_size=60), seed=st.integers(0, 9), fold=st.integers(1, 50))
def test_laws_of_low_counts(counts: list[int], seed: int, fold: int) -> None:
    reference = range_of(measures_of(TIGHT))
    rng = np.random.default_rng(seed)
    batch, order = rng.integers(0, 2, len(counts)), rng.permutation(len(counts))
    base = flags_of(measures_of(counts), reference, batch=batch)
    moved = flags_of(measures_of(np.array(counts)[order]), reference, batch=batch[order])
    np.testing.assert_array_equal(moved.low_counts, base.low_counts[order], err_msg="the order of rows changes nothing")
    assert moved.notes == base.notes
    # The lower a cell, the sooner it is low, within a batch; and never above half of what is expected.
    found, value = base.low_counts, base.measures.log_shared_counts
    assert not (found & (value > base.expected[:, 0] - np.log10(2) + 1e-6)).any()
    limits = [set(base.limit[batch == b, 0].tolist()) for b in (0, 1)]
    assert all(len(limit) <= 1 for limit in limits)
    # Counts of a query that is shallower than the reference throughout may all be scaled: the same cells are low.
    shallow = np.minimum(np.array(counts), 900).astype(float)
    one = flags_of(measures_of(shallow * 100, genes=np.full(len(counts), 100)), range_of(measures_of(np.full(40, 1e6))))
    two = flags_of(
        measures_of(shallow * 100 * fold, genes=np.full(len(counts), 100)),
        range_of(measures_of(np.full(40, 1e6 * fold))),
    )
    near = np.abs(one.measures.log_shared_counts - one.limit[:, 0]) < 1e-4
    np.testing.assert_array_equal(one.low_counts[~near], two.low_counts[~near])


# Real data ------------------------------------------------------------------------------------------------------------


def real_flags(reference: ad.AnnData, query: ad.AnnData) -> Any:
    counts, names = csr_matrix(reference.X), gene_names(reference.var)
    table = GeneTable(tuple(names[0].tolist()), tuple(names[1].tolist()), gene_shares(counts))
    terms, label = np.unique(reference.obs["cell_type_ontology_term_id"].astype(str), return_inverse=True)
    batches, batch = np.unique(reference.obs["batch"].astype(str), return_inverse=True)
    found = ReferenceRange.fit(
        cell_measures(counts, *names, shared=counts), counts=counts, label=label.astype(np.int32),
        terms=tuple(terms.tolist()), batch=batch.astype(np.int32), batches=tuple(batches.tolist()),
    )  # fmt: skip
    alignment = align_genes(query.var, table, where="query", min_shared=100)
    measures = cell_measures(csr_matrix(query.X), *gene_names(query.var), shared=alignment.apply(csr_matrix(query.X)))
    codes = np.zeros(query.n_obs, np.int32)
    return flag_low_quality(measures, found, present=alignment.present, batch=codes)


def test_a_few_percent_of_real_cells_are_flagged(shared_data: Path) -> None:
    """P1 across technologies: 1.9 %; P3 across laboratories, 271 genes and half the depth: 2.5 %."""
    three = ad.read_h5ad(shared_data / "pbmc_symphony_3tech.h5ad")
    is_query = (three.obs["batch"] == "5p").to_numpy()
    across = real_flags(three[~is_query], three[is_query])
    assert 0.005 < across.low_quality.mean() < 0.03
    assert across.notes == ()
    far = real_flags(three, ad.read_h5ad(shared_data / "pbmc3k_clustifyr.h5ad"))
    assert 0.005 < far.low_quality.mean() < 0.04
    assert far.notes[0].startswith("The query as a whole is shallower than the reference: a median of 206 counts")
    assert "compared within the query only" in far.notes[1]
