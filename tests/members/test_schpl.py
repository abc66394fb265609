"""The member `schpl`: the shared checks, walks worked by hand, the library's own labels, rejections, real cells."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from environments_for_tests import needs_environment
from numpy.testing import assert_allclose, assert_array_equal
from on_p1 import end_to_end, p1
from scipy.sparse import csr_matrix

from celljury.members.arrays import load_arrays, save_arrays
from celljury.members.checks import TERMS, Trial, member_checks
from celljury.members.environments import python_of
from celljury.members.schpl import ScHpl
from celljury.members.workers import schpl_worker as worker

# lymphocyte stands above B and NK cells, the CD14 monocyte beside them.
LYMPHOCYTE = "CL:0000542"
B, NK, MONO, LYMPH = range(4)  # columns of the member's terms


@pytest.fixture(scope="module")
def trial() -> Trial:
    needs_environment("schpl")
    return Trial(ScHpl)


@pytest.mark.parametrize("check", member_checks(), ids=lambda check: check.__name__)
def test_contract(check, trial) -> None:
    check(trial)


# Walks by hand: root 0 over lymphocyte 1 (B 2, NK 3) and monocyte 4 ------------------------------------------------

PARENTS = np.array([-1, 0, 1, 1, 0])
STATE = {"parents": PARENTS, "columns": np.array([-1, LYMPH, B, NK, MONO]), "n_known": 3, "temperature": 1.0}
#                   root  lymphocyte   B    NK   mono
WALKS = {
    "a_leaf": ([0.0, 1.0, 2.0, -1.0, -1.0], 2),
    "nearest_boundary_of_two_that_accept": ([0.0, 1.0, 2.0, 0.5, -1.0], 3),
    "on_the_boundary_is_accepted": ([0.0, -1.0, 2.0, 2.0, 0.0], 4),
    "rejected_among_lymphocytes": ([0.0, 1.0, -2.0, -0.5, -1.0], 1),
    "rejected_at_the_root": ([0.0, -1.0, 2.0, 2.0, -1.0], 0),
}


@pytest.mark.parametrize(("margins", "end"), WALKS.values(), ids=WALKS.keys())
def test_walk_by_hand(margins, end) -> None:
    assert_array_equal(worker.walk(np.array([margins]), PARENTS), [end])


def test_mass_by_hand() -> None:
    # Odds 3 to 1 for lymphocyte over monocyte, then 9 to 1 for B over NK.
    margins = np.log([[1.0, 3.0, 9.0, 1.0, 1.0]])
    mass = worker.spread(margins, np.array([2]), STATE)
    assert_allclose(mass, [[0.75 * 0.9, 0.75 * 0.1, 0.25, 0.0]])
    # Twice the temperature: the roots of the odds.
    cool = worker.spread(margins, np.array([2]), STATE | {"temperature": 2.0})
    assert_allclose(cool[0, MONO], 1 / (1 + np.sqrt(3)))


def test_a_rejection_is_a_vote_for_the_inner_term() -> None:
    # Lymphocyte to monocyte as 2 to 1/2; B to NK to staying, at a margin of 0, as 1/2 to 1/4 to 1.
    margins = np.log([[1.0, 2.0, 1 / 2, 1 / 4, 1 / 2]])
    mass = worker.spread(margins, worker.walk(margins, PARENTS), STATE)
    assert_allclose(mass, [[0.8 * 2 / 7, 0.8 * 1 / 7, 0.2, 0.8 * 4 / 7]])
    assert mass.argmax() == LYMPH


def test_a_rejection_at_the_root_has_no_mass() -> None:
    margins = np.array([[0.0, -1.0, 2.0, 2.0, -1.0]])
    assert not worker.spread(margins, worker.walk(margins, PARENTS), STATE).any()


def test_a_root_that_is_a_term_keeps_what_its_children_reject() -> None:
    # T cells, of which some are CD4 T cells: the root is the reference's own term.
    state = {"parents": np.array([-1, 0]), "columns": np.array([0, 1]), "n_known": 2, "temperature": 1.0}
    margins = np.log([[1.0, 1 / 3], [1.0, 3.0]])
    at = worker.walk(margins, state["parents"])
    assert_array_equal(at, [0, 1])
    assert_allclose(worker.spread(margins, at, state), [[0.75, 0.25], [0.25, 0.75]])


def test_largest_mass_is_where_the_walk_ended() -> None:
    rng = np.random.default_rng(0)
    margins = rng.normal(0, 1, (500, 5))
    at = worker.walk(margins, PARENTS)
    mass = worker.spread(margins, at, STATE)
    voted = at > 0
    assert 0 < voted.sum() < 500
    assert_array_equal(mass.argmax(axis=1)[voted], STATE["columns"][at[voted]])
    assert_allclose(mass.sum(axis=1), voted)


def test_the_only_cell_of_a_term_is_never_held_out() -> None:
    node = np.array([2, 2, 2, 2, 2, 2, 3, 4, 4])
    fold = worker.folds(node, seed=0)
    assert fold[6] == -1
    assert sorted(fold[:6].tolist()) == [0, 0, 1, 2, 3, 4]
    assert sorted(fold[7:].tolist()) == [0, 1]


def test_missing_genes_count_as_average() -> None:
    rng = np.random.default_rng(0)
    counts = csr_matrix(rng.poisson(3.0, (40, 12)).astype(np.float32))
    expression = worker.log1p_cp10k(counts, share=1.0)
    space = worker.components(expression, n_components=5, seed=0)
    present = np.arange(12) >= 4
    lacking = expression.toarray()
    lacking[:, ~present] = space["mean"][~present]
    points, residual = worker.placed(space, expression, present)
    assert_allclose(points, worker.placed(space, csr_matrix(lacking), np.ones(12, np.bool_))[0], atol=1e-9)
    # What is left is measured beside the best coordinates on the genes that are there.
    z = worker.scaled(expression, space["mean"], space["scale"])[:, present]
    best = np.linalg.lstsq(space["axes"][:, present].T, z.T, rcond=None)[0]
    assert_allclose(residual, np.sqrt(np.mean((z.T - space["axes"][:, present].T @ best) ** 2, axis=0)))


# The library ------------------------------------------------------------------------------------------------------

SCRIPT = """
import json, sys
sys.path.insert(0, sys.argv[1])
import numpy as np
import schpl_worker as worker
from scHPL.predict import predict_labels

rng = np.random.default_rng(0)
# A family of three, a type with two types below it, and one alone.
parents = np.array([-1, 0, 1, 1, 1, 0, 5, 5, 0])
center = {2: (-2, 6), 3: (2, 6), 4: (0, 9), 5: (6, 0), 6: (7, 3), 7: (8, -3), 8: (-5, -5)}
node = np.repeat(list(center), 40)
points = np.repeat(list(center.values()), 40, axis=0) + rng.normal(0, 1, (node.size, 2))
tree = worker.library_tree(points, node, parents)
coef, intercept = worker.trained(points, node, parents)
query = rng.uniform(-10, 12, (1500, 2))
theirs, _ = predict_labels(query, tree[:1])
at = worker.walk(query @ coef.T + intercept, parents)
names = np.array([one.name[0] for one in tree])
print(json.dumps({"same": bool((names[at] == theirs).all()), "ends": np.bincount(at, minlength=9).tolist()}))
"""


def test_labels_are_those_of_the_library_cell_by_cell() -> None:
    needs_environment("schpl")
    folder = Path(worker.__file__).parent
    command = [str(python_of("schpl")), "-c", SCRIPT, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["same"]
    ends = np.array(found["ends"])
    assert (ends[[0, 1, 2, 3, 4, 6, 7, 8]] > 0).all(), f"every kind of end, rejections too, is to be seen: {ends}"


# Rejections through the member -------------------------------------------------------------------------------------


def stricter(trial: Trial, folder: Path, nodes: list[str]) -> ScHpl:
    """Return the trial's member with SVMs that accept nothing at the nodes of some terms."""
    trial.member.save(folder)
    path = folder / "fitted" / "state.npz"
    arrays = load_arrays(path)
    columns = np.asarray(arrays["columns"], np.intp)
    intercept = np.array(arrays["intercept"], np.float64)
    for name in nodes:
        intercept[columns == trial.member.terms.index(name)] = -1e3
    save_arrays(path, **{**arrays, "intercept": intercept})
    return ScHpl.load(folder)


def test_terms_are_the_reference_s_and_then_those_above(trial) -> None:
    assert trial.member.terms == (*TERMS, LYMPHOCYTE)


def test_cells_that_no_lymphocyte_accepts_are_lymphocytes(trial, tmp_path) -> None:
    votes = stricter(trial, tmp_path, [TERMS[B], TERMS[NK]]).predict(trial.query)
    top = votes.mass.argmax(axis=1)
    assert np.mean(top[trial.truth != MONO] == LYMPH) > 0.9
    assert np.mean(top[trial.truth == MONO] == MONO) > 0.9


def test_cells_that_nothing_accepts_abstain(trial, tmp_path) -> None:
    votes = stricter(trial, tmp_path, [LYMPHOCYTE, TERMS[MONO]]).predict(trial.query)
    assert not votes.mass.any()


def test_bound_on_the_residual_rejects(trial) -> None:
    member = ScHpl(reject_share=0.2, components=2).fit(trial.reference)
    votes = member.predict(trial.reference.cells)
    rejected = votes.mass.sum(axis=1) == 0
    assert 0.1 < rejected.mean() < 0.3
    assert votes.strange[rejected].min() > votes.strange[~rejected].max()


# Real cells -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_real_cells_from_end_to_end() -> None:
    needs_environment("schpl")
    found = end_to_end(ScHpl)
    # Measured .960 and .864.
    assert found.accuracy >= 0.94
    assert found.macro_f1 >= 0.82
    # A certain label instead of the softmax has a log loss of .364; measured .200.
    truth = p1()[2]
    own = np.maximum(found.votes.mass[np.arange(truth.size), truth], 1e-4)
    assert -np.log(own).mean() < 0.28
