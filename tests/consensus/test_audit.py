"""The reference audit: a hand-worked reference, laws, and labels that were changed on purpose in real data."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from celljury.audit import MAX_NAMED, Audit, HeldOut, audit_reference
from celljury.members.base import Block, Reference
from celljury.members.logistic import Logistic
from celljury.ontology.load import ontology_from_edges

if TYPE_CHECKING:
    from pathlib import Path

    from celljury.ontology.graph import CellOntology

QUICK = settings(max_examples=60, deadline=None)

# cell > lymphocyte > T cell > CD4, CD8; lymphocyte > B cell; cell > myeloid
TOY = ontology_from_edges(
    {
        "X:0": "cell",
        "X:1": "lymphocyte",
        "X:2": "T cell",
        "X:3": "CD4",
        "X:4": "CD8",
        "X:5": "B cell",
        "X:6": "myeloid",
    },
    {"X:1": ["X:0"], "X:2": ["X:1"], "X:3": ["X:2"], "X:4": ["X:2"], "X:5": ["X:1"], "X:6": ["X:0"]},
)
TERMS = ("X:2", "X:3", "X:5", "X:6")
T, CD4, B, MYELOID = range(4)


def audit_of(
    label: Any,
    *,
    donor: Any = None,
    batch: Any = None,
    top: Any = None,
    mass: Any = None,
    agreed: Any = None,
    **more: Any,
) -> Audit:
    """Audit with the toy's terms; ``top`` and ``mass`` are by positions in TERMS."""
    n, terms = len(label), TOY.indices(TERMS)
    donor = np.zeros(n, np.int32) if donor is None else np.asarray(donor, np.int32)
    batch = donor if batch is None else np.asarray(batch, np.int32)
    held_out = None
    if mass is not None:
        mass = np.asarray(mass, np.float32).reshape(n, len(terms))
        top = mass.argmax(axis=1) if top is None else top
    if top is not None:
        top = np.asarray(top, np.int32)
        table = None
        if mass is not None:
            whole = np.zeros((n, len(TOY)), np.float32)
            whole[:, terms] = mass
            table = csr_matrix(whole)
        held_out = HeldOut(np.where(top >= 0, terms[top], -1).astype(np.int32), table, agreed)
    ids = more.pop("cell_ids", np.array([f"c{i:03d}" for i in range(n)]))
    return audit_reference(
        np.asarray(label, np.int32), TOY, terms=terms, cell_ids=ids, donor=donor,
        donors=tuple(f"d{i}" for i in range(donor.max() + 1)), batch=batch,
        batches=tuple(f"b{i}" for i in range(batch.max() + 1)), held_out=held_out, **more,
    )  # fmt: skip


def test_rows_of_a_hand_worked_reference() -> None:
    """T: 3 cells of d0 and 1 of d1. CD4: 2 of d1. B: 1 of d0. Nothing is myeloid."""
    found = audit_of([T] * 4 + [CD4] * 2 + [B], donor=[0, 0, 0, 1, 1, 1, 0], batch=[0, 1, 2, 2, 2, 2, 0], rare_cells=2)
    columns = ("term", "n_cells", "n_donors", "n_batches", "largest_donor", "largest_donor_share", "rare")
    assert [tuple(row[name] for name in columns) for row in found.rows] == [
        ("X:2", 4, 2, 3, "d0", 0.75, False),
        ("X:3", 2, 1, 1, "d1", 1.0, True),  # enough cells, of one donor where there are two
        ("X:5", 1, 1, 1, "d0", 1.0, True),
        ("X:6", 0, 0, 0, None, 0.0, True),
    ]
    assert {row["n_voted"] for row in found.rows} == {None}
    assert (found.suspicious, found.n_suspicious) == ((), 0)
    json.dumps(found.to_dict(), allow_nan=False)


def test_warnings_are_sentences_with_numbers() -> None:
    label = [T] * 20 + [CD4] * 12 + [B]
    found = audit_of(label, donor=[0] * 19 + [1] + [1] * 12 + [0], batch=[0] * 19 + [1] + [2] * 12 + [0], rare_donors=1)
    assert found.warnings == (
        "95 % of the 20 cells of T cell (X:2) come from donor d0.",
        "All 12 cells of CD4 (X:3) come from donor d1.",
        "Only 1 cell of 1 donor stands behind B cell (X:5).",
        "No cell stands behind myeloid (X:6).",
        "2 types of 4 occur in one donor only: that donor's own traits are learned as the type, and they are never judged on"
        " another donor.",
        "Batch b1 holds only T cell (X:2) (1 cell): batch and type cannot be told apart there.",
        "Batch b2 holds only CD4 (X:3) (12 cells): batch and type cannot be told apart there.",
    )


def test_one_donor_is_said_once_and_not_of_every_term() -> None:
    found = audit_of([T] * 10 + [CD4] * 10 + [B] * 3 + [MYELOID] * 10)
    assert found.warnings == (
        "All 33 cells come from one donor (d0): what differs between people cannot be told from what differs between types,"
        " and nothing held out here says how the jury does on another donor.",
        "Only 3 cells of 1 donor stand behind B cell (X:5).",
    )
    assert [row["rare"] for row in found.rows] == [False, False, True, False]


@pytest.mark.parametrize(
    ("label", "vote", "other"),
    [
        pytest.param(CD4, CD4, 0, id="the_same_term_agrees"),
        pytest.param(CD4, T, 0, id="a_coarser_vote_is_on_the_line"),
        pytest.param(T, CD4, 0, id="a_finer_vote_is_on_the_line"),
        pytest.param(CD4, B, 1, id="a_cousin_is_another_branch"),
        pytest.param(CD4, -1, 0, id="an_abstention_is_no_vote"),
    ],
)
def test_what_is_another_branch(label: int, vote: int, other: int) -> None:
    row = audit_of([label], top=[vote]).rows[label]
    assert (row["n_voted"], row["n_other_branch"]) == (int(vote >= 0), other)
    assert row["other_branch_share"] == (None if vote < 0 else float(other))
    assert row["confused_with"] == (TERMS[vote] if other else None)


def test_most_frequent_confusion_and_its_sentence() -> None:
    """Of 10 CD4 cells 6 agree, 1 is called B, 3 myeloid."""
    found = audit_of([CD4] * 10, top=[CD4] * 5 + [T, B] + [MYELOID] * 3)
    row = found.rows[CD4]
    assert (row["n_other_branch"], row["other_branch_share"]) == (4, 0.4)
    assert (row["confused_with"], row["confused_label"], row["n_confused"]) == ("X:6", "myeloid", 3)
    assert found.warnings[-1] == (
        "Held out, 4 of 10 cells labelled CD4 (X:3) are voted onto another branch, most often myeloid (X:6, 3): the labels"
        " are noisy there, or these members cannot tell the two."
    )
    nine = audit_of([CD4] * 9, top=[CD4] * 5 + [MYELOID] * 4)
    assert not [line for line in nine.warnings if line.startswith("Held out")], "too few cells for a share"


# Four B and four myeloid cells; (T, CD4, B, myeloid). Thresholds: mean own mass of B cells, (.9 + .9 + .9 + .1) / 4 = .7;
# of myeloid cells (.8 + .8 + .6 + .2) / 4 = .6.
CELLS = [
    (B, [0, 0, 0.9, 0.1]),
    (B, [0, 0, 0.9, 0.1]),
    (B, [0, 0, 0.9, 0.1]),
    (B, [0, 0, 0.1, 0.9]),  # .9 >= .6: in doubt
    (MYELOID, [0, 0, 0.2, 0.8]),
    (MYELOID, [0, 0, 0.2, 0.8]),
    (MYELOID, [0, 0, 0.4, 0.6]),
    (MYELOID, [0, 0.2, 0.6, 0.2]),  # voted B, but .6 < .7: not confidently
]


def test_confident_learning_on_a_hand_worked_table() -> None:
    label, mass = [cell[0] for cell in CELLS], [cell[1] for cell in CELLS]
    found = audit_of(label, mass=mass)
    assert [row["n_other_branch"] for row in found.rows] == [0, 0, 1, 1]
    assert [row["n_suspicious"] for row in found.rows] == [0, 0, 1, 0]
    assert found.suspicious == (
        {
            "cell_id": "c003", "donor": "d0", "term": "X:5", "label": "B cell", "voted_term": "X:6",
            "voted_label": "myeloid", "mass_label": 0.1, "mass_voted": 0.9,
        },
    )  # fmt: skip
    assert found.warnings[-1].startswith("1 label of 8 held-out cells (12.5 %) may be wrong")
    split = audit_of(label, mass=mass, agreed=np.arange(8) != 3)
    assert split.n_suspicious == 0, "members that disagree are no evidence against a label"


def test_mass_on_the_labels_own_line_speaks_for_it() -> None:
    """A cell labelled T of which half the mass is CD4, the rest B: B reaches its threshold, but the T line has more."""
    found = audit_of([T, CD4, B], mass=[[0.1, 0.5, 0.4, 0], [0, 1, 0, 0], [0, 0.7, 0.3, 0]])
    assert [row["n_suspicious"] for row in found.rows] == [0, 0, 1, 0]
    assert found.suspicious[0]["voted_term"] == "X:2", "T cell and all below it hold .7, against its threshold of .6"


def test_a_coarser_vote_speaks_for_the_label() -> None:
    """A cell labelled CD4 of which half the mass is T cell, .4 B, where B cells have .3 of their own."""
    found = audit_of([CD4, B, CD4], mass=[[0.5, 0.1, 0.4, 0], [0, 0, 0.3, 0.7], [0.2, 0.1, 0.7, 0]])
    assert [row["n_suspicious"] for row in found.rows] == [0, 1, 0, 0], (
        "only the third, of which B has more than T and CD4"
    )
    assert found.suspicious[0]["cell_id"] == "c002"


def test_cells_that_were_never_held_out_are_not_questioned() -> None:
    """Whatever stands in their rows: neither are they in doubt, nor do they move a threshold (myeloid's stays at .6)."""
    label, mass = [cell[0] for cell in CELLS], [cell[1] for cell in CELLS]
    base = audit_of(label, mass=mass)
    more = audit_of(
        [*label, MYELOID, MYELOID, MYELOID, B],
        mass=[*mass, *[[0, 0, 0, 1]] * 4],
        top=[*np.argmax(mass, axis=1), -1, -1, -1, -1],
    )
    assert more.suspicious == base.suspicious
    assert [row["n_voted"] for row in more.rows] == [row["n_voted"] for row in base.rows]


def test_at_most_fifty_are_named_worst_first() -> None:
    n = 80
    other = np.linspace(0.55, 1, n)
    mass = np.zeros((2 * n, 4))
    mass[:n, MYELOID], mass[:n, B] = other, 1 - other
    mass[n:, MYELOID], mass[n:, B] = 0.5, 0.5
    found = audit_of([B] * n + [MYELOID] * n, mass=mass)
    assert found.n_suspicious == n
    assert len(found.suspicious) == MAX_NAMED
    masses = [row["mass_voted"] for row in found.suspicious]
    assert masses == sorted(masses, reverse=True)
    assert found.suspicious[0]["cell_id"] == "c079"


@QUICK
@given(seed=st.integers(0, 10_000))
def test_order_and_chunks_change_nothing_and_parts_add_up(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = 40
    label, donor, batch = rng.integers(0, 4, n), rng.integers(0, 3, n), rng.integers(0, 4, n)
    mass = np.round(rng.dirichlet([0.4] * 4, n), 2)
    ids = np.array([f"c{i:03d}" for i in range(n)])
    # The last cells hold every code, so that all orders name as many donors and batches.
    label[-4:], donor[-3:], batch[-4:] = range(4), range(3), range(4)
    base = audit_of(label, donor=donor, batch=batch, mass=mass, cell_ids=ids)
    order = rng.permutation(n)
    moved = audit_of(label[order], donor=donor[order], batch=batch[order], mass=mass[order], cell_ids=ids[order])
    assert moved == base
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("celljury.audit.CHUNK_CELLS", 7)
        assert audit_of(label, donor=donor, batch=batch, mass=mass, cell_ids=ids) == base
    assert sum(row["n_cells"] for row in base.rows) == n
    assert sum(row["n_suspicious"] for row in base.rows) == base.n_suspicious
    for row in base.rows:
        assert row["n_confused"] <= row["n_other_branch"] <= row["n_voted"] == row["n_cells"]
    twice = audit_of(
        np.tile(label, 2), donor=np.tile(donor, 2), batch=np.tile(batch, 2), mass=np.tile(mass, (2, 1)), rare_cells=0
    )
    assert [row["n_suspicious"] for row in twice.rows] == [2 * row["n_suspicious"] for row in base.rows]


def real_audit(path: Path, ontology: CellOntology, *, n_changed: int) -> tuple[Audit, set[str]]:
    """Audit real labels, some of them changed, by a five-fold logistic regression; the names of the changed cells."""
    cells = ad.read_h5ad(path)
    ids, label = np.unique(cells.obs["cell_type_ontology_term_id"].astype(str), return_inverse=True)
    donors, donor = np.unique(cells.obs["donor"].astype(str), return_inverse=True)
    rng = np.random.default_rng(0)
    changed = rng.choice(len(label), n_changed, replace=False)
    label[changed] = (label[changed] + rng.integers(1, len(ids), n_changed)) % len(ids)
    counts, fold = csr_matrix(cells.X), rng.integers(0, 5, len(label))
    genes = tuple(cells.var_names)

    def block(rows: Any) -> Block:
        part = csr_matrix(counts[rows])
        return Block(part, genes, np.ones(len(genes), bool), np.zeros(part.shape[0], np.int32), ("all",))

    terms = ontology.indices(ids.tolist())
    pooled = np.zeros((len(label), len(ontology)), np.float32)
    for k in range(5):
        fitted = Logistic(seed=0).fit(
            Reference(block(fold != k), label[fold != k].astype(np.int32), tuple(ids.tolist()))
        )
        pooled[np.ix_(fold == k, terms)] = fitted.predict(block(fold == k)).mass
    found = audit_reference(
        label.astype(np.int32), ontology, terms=terms, cell_ids=cells.obs_names.to_numpy(dtype=str),
        donor=donor.astype(np.int32), donors=tuple(donors.tolist()), batch=donor.astype(np.int32),
        batches=tuple(donors.tolist()), held_out=HeldOut(terms[pooled[:, terms].argmax(axis=1)], csr_matrix(pooled)),
    )  # fmt: skip
    return found, set(cells.obs_names[changed])


def test_changed_labels_are_the_most_suspicious(shared_data: Path, cl: CellOntology) -> None:
    """37 of 750 labels changed at random: 49 are in doubt, 35 of them changed; unchanged labels alone: 9."""
    path = shared_data / "pbmc_kang_ctrl.h5ad"
    found, changed = real_audit(path, cl, n_changed=37)
    named = [row["cell_id"] for row in found.suspicious]
    assert len(changed & set(named)) >= 0.85 * len(changed)
    assert len(changed & set(named)) >= 0.6 * len(named)
    assert real_audit(path, cl, n_changed=0)[0].n_suspicious <= 15


def test_thin_terms_of_a_real_reference_are_named(shared_data: Path, cl: CellOntology) -> None:
    found, _ = real_audit(shared_data / "pbmc_symphony_3tech.h5ad", cl, n_changed=0)
    assert found.warnings[:2] == (
        "Only 3 cells of 2 donors stand behind hematopoietic stem cell (CL:0000037).",
        "Only 7 cells of 3 donors stand behind megakaryocyte (CL:0000556).",
    )
