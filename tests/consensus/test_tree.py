"""Where an unseen cell still belongs: Gaussians in the plane whose answers are seen by eye."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from celljury.members.arrays import load_arrays, save_arrays
from celljury.ontology.load import ontology_from_edges
from celljury.tree import Tree

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from celljury.ontology.graph import CellOntology

# "ab T" is the only child of T in the reference: the two are one node with two names.
PARENTS = {
    "cell": [],
    "blood": ["cell"],
    "T": ["blood"],
    "ab T": ["T"],
    "gd T": ["T"],
    "CD4": ["ab T"],
    "CD8": ["ab T"],
    "B": ["blood"],
    "plasma": ["B"],
    "stone": ["cell"],
}
CENTERS = {"CD4": (0, 1), "CD8": (0, -1), "B": (6, 0), "stone": (40, 0)}
NAMES = tuple(CENTERS)
EPS = 0.05


@pytest.fixture(scope="module")
def toy() -> CellOntology:
    return ontology_from_edges({name: name for name in PARENTS}, PARENTS, release="toy")


def cells(
    n: int = 100, *, names: tuple[str, ...] = NAMES, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Return ``n`` points of each type, 0.2 around its centre, and the types' positions among ``names``."""
    label = np.repeat(np.arange(len(names)), n).astype(np.int32)
    centers = np.array([CENTERS[name] for name in names], float)
    return (centers[label] + np.random.default_rng(seed).normal(0, 0.2, (len(label), 2))).astype(np.float32), label


@pytest.fixture(scope="module")
def tree(toy: CellOntology) -> Tree:
    return Tree.fit(*cells(), toy.indices(NAMES), toy, eps=EPS)


def named(
    tree: Tree,
    toy: CellOntology,
    point: tuple[float, float],
    *,
    call: str,
    top: str = "",
    general: tuple[str, ...] = ("cell",),
) -> str:
    """Return the name of the node under which one point is new, empty for plain ``unseen``."""
    found = tree.name(
        np.array([point], np.float32), toy.indices([call]), toy.indices([top or call]), toy,
        general=np.isin(toy.ids, general),
    )  # fmt: skip
    assert found.dtype == np.int32
    return toy.ids[found[0]] if found[0] >= 0 else ""


@pytest.mark.parametrize(
    ("point", "call", "top", "expected"),
    [
        pytest.param((0, 0), "CD4", "", "ab T", id="between_two_siblings_is_their_parent"),
        pytest.param((0, 0), "T", "CD4", "T", id="nothing_below_the_call_is_named"),
        pytest.param((0, 1), "CD4", "", "ab T", id="inside_a_leaf_is_the_first_node_with_more_types"),
        pytest.param((6, 0), "B", "", "blood", id="a_leaf_without_siblings_goes_one_up"),
        pytest.param((3, 0), "CD4", "", "blood", id="between_two_lineages_is_where_they_meet"),
        pytest.param((20, 0), "B", "", "", id="between_blood_and_stone_is_only_a_cell"),
        pytest.param((-300, 0), "CD4", "", "", id="far_from_everything_belongs_nowhere"),
        pytest.param((40, 0), "stone", "", "", id="a_leaf_right_below_the_root_is_plain_unseen"),
        pytest.param((0, 0), "B", "", "blood", id="nothing_beside_the_way_to_the_call_is_named"),
        pytest.param((0, 0), "blood", "CD4", "blood", id="call_above_names_from_there"),
        pytest.param((0, 0), "blood", "ab T", "blood", id="more_types_than_the_likeliest_term_has"),
    ],
)
def test_name(tree: Tree, toy: CellOntology, point: tuple[float, float], call: str, top: str, expected: str) -> None:
    assert named(tree, toy, point, call=call, top=top) == expected


@pytest.mark.parametrize(
    ("general", "expected"),
    [
        pytest.param((), "ab T", id="none"),
        pytest.param(("ab T",), "T", id="its_twin_stands_in"),
        pytest.param(("ab T", "T"), "blood", id="the_next_node_at_which_it_belongs"),
        pytest.param(("ab T", "T", "blood"), "cell", id="root"),
        pytest.param(("ab T", "T", "blood", "cell"), "", id="all"),
    ],
)
def test_too_general_nodes_name_nothing(tree: Tree, toy: CellOntology, general: tuple[str, ...], expected: str) -> None:
    assert named(tree, toy, (0, 0), call="CD4", general=general) == expected


def test_no_call_no_name(tree: Tree, toy: CellOntology) -> None:
    none = np.full(2, -1, np.int32)
    general = np.zeros(len(toy), bool)
    assert tree.name(np.zeros((2, 2), np.float32), none, none, toy, general=general).tolist() == [-1, -1]
    assert tree.name(np.zeros((0, 2), np.float32), none[:0], none[:0], toy, general=general).tolist() == []


def test_nodes_are_those_of_the_reference_and_above(tree: Tree, toy: CellOntology) -> None:
    names = [toy.ids[i] for i in tree.nodes]
    assert set(names) == set(PARENTS) - {"gd T", "plasma"}
    assert (np.diff(tree.nodes) > 0).all()
    n_types = dict(zip(names, tree.n_types.tolist(), strict=True))
    assert n_types == {"cell": 4, "blood": 3, "T": 2, "ab T": 2, "CD4": 1, "CD8": 1, "B": 1, "stone": 1}


def test_gaussian_of_a_node_is_that_of_its_types(toy: CellOntology) -> None:
    """Exact coordinates: within types (.5, .5) each, between CD4 and CD8 at (0, 1) and (0, -1) a variance of 2 in y."""
    around = np.array([[1, 0], [-1, 0], [0, 1], [0, -1]])
    points = np.concatenate([around + np.array([0, y]) for y in (1, -1)]).astype(np.float32)
    made = Tree.fit(points, np.repeat([0, 1], 4).astype(np.int32), toy.indices(["CD4", "CD8"]), toy, eps=EPS)
    i = made.nodes.tolist().index(toy.index("T"))
    assert_allclose(made.mean[i], [0, 0], atol=1e-12)
    ridge = 1e-3 * 0.5
    assert_allclose(made.whiten[i].T @ made.whiten[i], np.diag([1 / (0.5 + ridge), 1 / (2.5 + ridge)]), atol=1e-12)
    assert made.log_volume[i] == pytest.approx(np.log((0.5 + ridge) * (2.5 + ridge)))
    at = made.log_density(np.array([[1, 2]], np.float32))[0, i]
    assert at == pytest.approx(-0.5 * (1 / (0.5 + ridge) + 4 / (2.5 + ridge) + made.log_volume[i]))


def test_twins_share_one_gaussian_and_neither_is_above_the_other(tree: Tree, toy: CellOntology) -> None:
    i, j = (tree.nodes.tolist().index(toy.index(name)) for name in ("ab T", "T"))
    for field in (tree.mean, tree.whiten, tree.log_volume, tree.threshold):
        assert_array_equal(field[i], field[j])
    lead = tree.lead(cells()[0], toy)
    assert_array_equal(lead[:, i], lead[:, j])


def test_what_is_far_from_everything_fails_at_the_root_and_is_named_nothing(tree: Tree, toy: CellOntology) -> None:
    root = tree.nodes.tolist().index(toy.index("cell"))
    points, label = cells()
    far = np.array([[1e4, 1e4]], np.float32)
    lead = tree.lead(np.append(points, far, axis=0).astype(np.float32), toy)[:, root]
    assert (lead[:-1] >= tree.threshold[root]).mean() >= 0.98  # 1 % of the reference's own cells fail there
    assert lead[-1] < tree.threshold[root] <= 0
    leaf = toy.indices(NAMES)[label[:1]]
    assert tree.name(far, leaf, leaf, toy, general=np.zeros(len(toy), bool)).tolist() == [-1]


@pytest.mark.parametrize("eps", [0.05, 0.2])
def test_at_most_eps_of_a_node_s_own_cells_fail_where_it_asks_for_more_than_a_lead(
    toy: CellOntology, eps: float
) -> None:
    points, label = cells(400)
    made = Tree.fit(points, label, toy.indices(NAMES), toy, eps=eps)
    own = toy.ancestor_rows(toy.indices(NAMES))[label][:, made.nodes]
    fails = made.lead(points, toy) < made.threshold
    demanding = np.flatnonzero(made.threshold > 0)
    assert len(demanding) >= 5
    for i in demanding:
        assert fails[own[:, i], i].mean() == pytest.approx(eps, abs=0.01)
    # New cells of the same types fail as often.
    fresh, label = cells(400, seed=1)
    own = toy.ancestor_rows(toy.indices(NAMES))[label][:, made.nodes]
    fails = made.lead(fresh, toy) < made.threshold
    assert max(fails[own[:, i], i].mean() for i in range(len(made.nodes))) < eps + 0.05


def test_a_type_with_cells_of_its_own_above_others(toy: CellOntology) -> None:
    """Reference cells called T, beside CD4 and CD8: T has three types below and its own cells fit it."""
    rng = np.random.default_rng(0)
    points, label = cells(names=("CD4", "CD8", "B"))
    points = np.append(points, rng.normal((1, 0), 0.2, (100, 2)), axis=0).astype(np.float32)
    label = np.append(label, np.full(100, 3)).astype(np.int32)
    made = Tree.fit(points, label, toy.indices(["CD4", "CD8", "B", "T"]), toy, eps=EPS)
    n_types = dict(zip([toy.ids[i] for i in made.nodes], made.n_types.tolist(), strict=True))
    assert (n_types["T"], n_types["ab T"]) == (3, 2)
    assert named(made, toy, (0.5, 0), call="T") == "blood"
    assert named(made, toy, (0.5, 0), call="CD4") == "T"


@pytest.mark.parametrize(
    ("n", "n_dims"), [pytest.param(1, 5, id="one_cell_a_type"), pytest.param(2, 20, id="fewer_cells_than_dimensions")]
)
def test_few_cells_make_a_tree(toy: CellOntology, n: int, n_dims: int) -> None:
    label = np.repeat(np.arange(len(NAMES)), n).astype(np.int32)
    points = (
        10 * np.eye(len(NAMES), n_dims)[label] + np.random.default_rng(0).normal(0, 1, (len(label), n_dims))
    ).astype(np.float32)
    made = Tree.fit(points, label, toy.indices(NAMES), toy, eps=EPS)
    assert all(np.isfinite(getattr(made, name)).all() for name in made.__slots__)
    assert np.isfinite(made.log_density(points)).all()


# What may not change it ---------------------------------------------------------------------------------------------


def asked(toy: CellOntology, n: int) -> dict[str, Any]:
    rng = np.random.default_rng(5)
    top = rng.choice(toy.indices(NAMES), n).astype(np.int32)
    call = np.where(rng.random(n) < 0.3, toy.index("blood"), top).astype(np.int32)
    return {"points": rng.normal(0, 6, (n, 2)).astype(np.float32), "call": call, "top": top}


def test_order_and_blocks_change_nothing(tree: Tree, toy: CellOntology) -> None:
    query, general = asked(toy, 300), np.isin(toy.ids, ["cell"])
    whole = tree.name(**query, ontology=toy, general=general)
    assert len(np.unique(whole)) >= 3
    density = tree.log_density(query["points"])
    for rows in (slice(0, 1), slice(1, 250), np.random.default_rng(6).permutation(300)):
        part = {name: values[rows] for name, values in query.items()}
        assert_array_equal(tree.name(**part, ontology=toy, general=general), whole[rows])
        assert_array_equal(tree.log_density(part["points"]), density[rows])


def test_order_of_reference_cells_and_of_terms_changes_nothing_beyond_rounding(tree: Tree, toy: CellOntology) -> None:
    points, label = cells()
    order = np.random.default_rng(7).permutation(len(points))
    again = Tree.fit(points[order], (3 - label)[order], toy.indices(NAMES[::-1]), toy, eps=EPS)
    assert_array_equal(again.nodes, tree.nodes)
    for name in ("mean", "whiten", "log_volume", "threshold", "n_types"):
        assert_allclose(getattr(again, name), getattr(tree, name), rtol=1e-9, atol=1e-9, err_msg=name)


def test_saved_tree_is_the_same(tree: Tree, toy: CellOntology, tmp_path: Path) -> None:
    save_arrays(tmp_path / "tree.npz", **tree.arrays())
    again = Tree.from_arrays(load_arrays(tmp_path / "tree.npz"))
    for name in tree.__slots__:
        assert_array_equal(getattr(again, name), getattr(tree, name))
        assert getattr(again, name).dtype == getattr(tree, name).dtype
