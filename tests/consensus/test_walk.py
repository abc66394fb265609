"""The calibrated walk on a toy ontology whose answers are seen by eye, and its laws with an oracle on networkx."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from celljury.ontology.load import ontology_from_edges
from celljury.reduce import Reduced, Status, reduce_mass
from celljury.walk import UNITS, Climb, Held, Upward, climb, critical_values, used_terms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from celljury.ontology.graph import CellOntology

PARENTS = {
    "cell": [],
    "blood": ["cell"],
    "motile": ["cell"],
    "T": ["blood"],
    "B": ["blood"],
    "mono": ["blood", "motile"],
    "CD4": ["T"],
    "memory": ["T"],
    "CD4 memory": ["CD4", "memory"],
    "stone": [],
}
QUICK = settings(max_examples=150, deadline=None)


@pytest.fixture(scope="module")
def toy() -> CellOntology:
    """Ten terms; bits above the root: blood 0.36, T 1.17, CD4, memory and motile 2.17, the leaves 3.17."""
    return ontology_from_edges({term_id: f"a {term_id}" for term_id in PARENTS}, PARENTS, release="toy")


def mass_of(ontology: CellOntology, *rows: dict[str, float]) -> csr_matrix:
    dense = np.zeros((len(rows), len(ontology)), np.float32)
    for row, shares in zip(dense, rows, strict=True):
        for term_id, share in shares.items():
            row[ontology.index(term_id)] = share
    return csr_matrix(dense)


def same(left: Climb | Reduced, right: Climb | Reduced, *, but: Sequence[str] = ()) -> None:
    """Hold that two results are equal to the last bit."""
    for name in set(type(left).__slots__) - set(but):
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name), err_msg=name)


T_LINE = {"CD4": 0.5, "T": 0.2, "B": 0.3}
AXES = {"CD4 memory": 0.4, "CD4": 0.25, "memory": 0.35}


@pytest.mark.parametrize(
    ("mass", "threshold", "end", "support"),
    [
        pytest.param(T_LINE, 0.5, "CD4", 0.5, id="top_term_that_holds_enough_is_the_call"),
        pytest.param(T_LINE, 0.51, "T", 0.7, id="parent_where_it_does_not"),
        pytest.param(T_LINE, 0.7, "T", 0.7, id="a_share_equal_to_the_threshold_is_enough_however_it_was_added"),
        pytest.param(T_LINE, 0.70001, "blood", 1.0, id="a_hundred_thousandth_more_is_not"),
        pytest.param(AXES, 0.5, "memory", 0.75, id="of_two_parents_the_one_that_gains_more"),
        pytest.param(AXES, 0.8, "T", 1.0, id="axes_meet_above"),
        pytest.param({"CD4 memory": 0.4, "CD4": 0.3, "memory": 0.3}, 0.7, "CD4", 0.7, id="of_equal_gains_the_first"),
        pytest.param({"mono": 0.42, "motile": 0.2, "B": 0.38}, 0.5, "motile", 0.62, id="few_bits_beat_more_mass"),
        pytest.param({"mono": 0.42, "motile": 0.2, "B": 0.38}, 0.7, "cell", 1.0, id="blood_left_aside_is_no_candidate"),
        pytest.param({"mono": 0.5, "motile": 0.1, "B": 0.4}, 0.6, "blood", 0.9, id="much_mass_is_worth_its_bits"),
        pytest.param({"B": 0.6, "stone": 0.4}, 0.6, "B", 0.6, id="two_roots_and_enough_under_one"),
        pytest.param({"B": 0.6, "stone": 0.4}, 0.7, "", 0.0, id="two_roots_and_enough_under_neither"),
        pytest.param({"cell": 1.0}, 1.0, "cell", 1.0, id="a_root_holds_itself"),
        pytest.param(T_LINE, np.inf, "", 0.0, id="infinite_threshold_calls_nothing"),
        pytest.param(T_LINE, np.nan, "", 0.0, id="threshold_that_is_no_number_calls_nothing"),
        pytest.param({}, 0.0, "", 0.0, id="nobody_voted"),
    ],
)
def test_climb(toy: CellOntology, mass: dict[str, float], threshold: float, end: str, support: float) -> None:
    found = climb(mass_of(toy, mass), toy, threshold=threshold)
    top = max(mass, key=lambda term_id: mass[term_id], default="")
    assert found.top[0] == (toy.index(top) if top else -1)
    assert found.end[0] == (toy.index(end) if end else -1)
    assert found.support[0] == np.float32(support)
    assert [array.dtype for array in (found.top, found.end, found.support)] == [np.int32, np.int32, np.float32]


@pytest.mark.parametrize(
    ("mass", "truth", "strict", "lenient"),
    [
        pytest.param(T_LINE, "CD4", -np.inf, -np.inf, id="top_term_is_true"),
        pytest.param(T_LINE, "CD4 memory", -np.inf, -np.inf, id="truth_below_the_top_term"),
        pytest.param(T_LINE, "memory", 0.5, 0.5, id="truth_beside_the_top_term"),
        pytest.param(T_LINE, "B", 0.7, 0.7, id="truth_two_steps_up_and_down_again"),
        pytest.param(T_LINE, "T", 0.5, -np.inf, id="below_a_coarse_truth_only_strict_is_wrong"),
        pytest.param(T_LINE, "blood", 0.7, -np.inf, id="two_steps_below_a_coarse_truth"),
        pytest.param(T_LINE, "stone", np.inf, np.inf, id="truth_under_another_root_is_out_of_reach"),
        pytest.param(
            {"mono": 0.5, "motile": 0.1, "B": 0.4}, "motile", 0.9, 0.9, id="walk_leaves_the_line_of_the_truth"
        ),
        pytest.param({}, "B", -np.inf, -np.inf, id="no_vote_is_never_a_wrong_call"),
    ],
)
def test_critical_values(toy: CellOntology, mass: dict[str, float], truth: str, strict: float, lenient: float) -> None:
    pooled, true = mass_of(toy, mass), toy.indices([truth])
    assert critical_values(pooled, true, toy)[0] == strict
    assert critical_values(pooled, true, toy, loss="lenient")[0] == lenient


def test_thresholds_go_with_their_rows(toy: CellOntology) -> None:
    found = climb(mass_of(toy, T_LINE, T_LINE, {}, T_LINE), toy, threshold=np.array([1.0, 0.5, 0.5, 0.6]))
    assert [toy.ids[i] if i >= 0 else "" for i in found.end] == ["blood", "CD4", "", "T"]


def test_gains_that_differ_by_rounding_are_equal() -> None:
    """2/13 for one bit and 4/13 for two: counted in units of 2**-23 the second is one unit more than twice the first."""
    parents = {"a": ["p", "q"], "x": ["q"], "y": ["q"], "p": ["r"], "q": ["r"], "u": ["r"], "v": ["r"]}
    ontology = ontology_from_edges({term_id: term_id for term_id in "apqxyuvr"}, parents)
    pooled = mass_of(ontology, {"a": 7 / 13, "p": 2 / 13, "q": 2 / 13, "x": 1 / 13, "y": 1 / 13})
    found = climb(pooled, ontology, threshold=0.6)
    assert (ontology.ids[found.end[0]], found.support[0]) == ("p", np.float32(0.69231))


@pytest.mark.parametrize("n", [pytest.param(0, id="no_cells"), pytest.param(3, id="nobody_voted")])
def test_nothing_to_walk_on(toy: CellOntology, n: int) -> None:
    empty = csr_matrix((n, len(toy)), dtype=np.float32)
    found = climb(empty, toy, threshold=0.5)
    assert (found.top.tolist(), found.end.tolist(), found.support.tolist()) == ([-1] * n, [-1] * n, [0.0] * n)
    assert critical_values(empty, np.zeros(n, np.int32), toy).tolist() == [-np.inf] * n


@pytest.mark.parametrize(
    "mass",
    [
        pytest.param({"B": -0.1, "T": 0.6}, id="below_zero"),
        pytest.param({"B": np.nan, "T": 0.6}, id="not_a_number"),
        pytest.param({"B": 0.9, "T": 0.9}, id="over_one"),
    ],
)
def test_mass_that_is_no_distribution_is_refused(toy: CellOntology, mass: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="pooled mass: expected shares from 0 that sum to at most 1 a row"):
        climb(mass_of(toy, mass), toy, threshold=0.5)


def test_shapes_are_checked(toy: CellOntology) -> None:
    pooled = mass_of(toy, T_LINE, T_LINE)
    with pytest.raises(ValueError, match=r"threshold: expected one number or 2, got \(3,\)"):
        climb(pooled, toy, threshold=np.ones(3))
    with pytest.raises(ValueError, match=r"truth: expected 2 terms, 0 to 9, got \(1,\)"):
        critical_values(pooled, toy.indices(["B"]), toy)
    with pytest.raises(ValueError, match=r"truth: expected 2 terms, 0 to 9, got \(2,\) from -1"):
        critical_values(pooled, np.array([0, -1], np.int32), toy)


# The reducer ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("threshold", "term", "status", "agreement", "conflict"),
    [
        pytest.param(0.4, "CD4", Status.RESOLVED, 1 / 3, 1 / 3, id="call_on_the_top_term_is_resolved"),
        pytest.param(0.7, "T", Status.BACKED_OFF, 2 / 3, 1 / 3, id="call_above_it_is_backed_off"),
        pytest.param(0.8, "", Status.UNRESOLVED, 0, 1 / 3, id="walk_that_ends_too_high_is_unresolved"),
    ],
)
def test_reducer_takes_the_walk_s_end(
    toy: CellOntology, threshold: float, term: str, status: Status, agreement: float, conflict: float
) -> None:
    votes = toy.indices(["CD4", "T", "B"])[None, :]
    general = np.isin(toy.ids, ["blood", "cell"])
    found = reduce_mass(mass_of(toy, T_LINE), votes, toy, threshold=threshold, too_general=general, climb=True)
    assert (found.term[0], found.status[0]) == (toy.index(term) if term else -1, status)
    assert found.end[0] == toy.index(term or "blood")
    assert toy.ids[found.top_term[0]] == "CD4"
    assert toy.ids[found.runner_up[0]] == "B"
    assert (found.agreement[0], found.conflict[0]) == pytest.approx((agreement, conflict), abs=1e-6)


def test_walk_and_quorum_part_where_another_branch_holds_enough(toy: CellOntology) -> None:
    """The quorum takes the most informative term that holds enough; the walk stays on the top term's way up."""
    pooled, votes = mass_of(toy, {"mono": 0.4, "CD4": 0.3, "memory": 0.3}), toy.indices(["mono"])[None, :]
    general = np.zeros(len(toy), bool)
    quorum = reduce_mass(pooled, votes, toy, threshold=0.6, too_general=general)
    walk = reduce_mass(pooled, votes, toy, threshold=0.6, too_general=general, climb=True)
    assert [toy.ids[quorum.term[0]], toy.ids[walk.term[0]]] == ["T", "blood"]


# Laws -------------------------------------------------------------------------------------------------------------


class Pool(NamedTuple):
    """A random ontology without shortcut edges, and whole parts of mass on its terms, (n_cells, n_terms)."""

    ontology: CellOntology
    parts: NDArray[np.int64]

    @property
    def mass(self) -> csr_matrix:
        return shares_of(self.parts)


def shares_of(parts: NDArray[np.int64]) -> csr_matrix:
    total = np.maximum(parts.sum(axis=1, keepdims=True), 1)
    return csr_matrix((parts / total).astype(np.float32))


@st.composite
def ontologies(draw: st.DrawFn, *, shortcuts: bool = False) -> CellOntology:
    """Draw 1 to 10 terms with several parents and roots; CL has no shortcut, an edge beside a longer way up."""
    n = draw(st.integers(1, 10))
    graph = nx.DiGraph()
    graph.add_nodes_from(range(n))
    for i in range(1, n):
        graph.add_edges_from((i, parent) for parent in draw(st.sets(st.integers(0, i - 1), max_size=3)))
    if not shortcuts:
        graph = nx.transitive_reduction(graph)
    parents = {f"R:{i}": sorted(f"R:{parent}" for parent in graph.successors(i)) for i in range(n)}
    return ontology_from_edges({term_id: f"term {term_id}" for term_id in parents}, parents)


@st.composite
def pools(draw: st.DrawFn, *, empty: bool = True, shortcuts: bool = False, max_cells: int = 5) -> Pool:
    """Draw mass in at most 50 parts a row, so that no share lies halfway between two hundred-thousandths."""
    ontology = draw(ontologies(shortcuts=shortcuts))
    row = st.lists(st.integers(0, 5), min_size=len(ontology), max_size=len(ontology))
    row = row if empty else row.filter(any)
    return Pool(ontology, np.array(draw(st.lists(row, min_size=1, max_size=max_cells))))


def walk_of(ontology: CellOntology, parts: NDArray[np.int64]) -> list[tuple[int, float]]:
    """Return the nodes of one row's walk and their shares to five digits, counted in whole parts; [] = no vote."""
    graph = ontology.to_networkx()
    if not (total := int(parts.sum())):
        return []

    def held(i: int) -> int:  # edges run from child to parent
        return int(
            sum(parts[ontology.index(below)] for below in {ontology.ids[i]} | nx.ancestors(graph, ontology.ids[i]))
        )

    def node(i: int) -> tuple[int, float]:
        return i, round(Fraction(100_000 * held(i), total)) / 1e5

    at = int(parts.argmax())
    walk = [node(at)]
    while parents := sorted(ontology.index(term_id) for term_id in graph.successors(ontology.ids[at])):
        gains = [(held(p) - held(at)) / (ontology.ic[at] - ontology.ic[p]) for p in parents]
        at = next(p for p, gain in zip(parents, gains, strict=True) if gain >= max(gains) * (1 - 1e-9))
        walk.append(node(at))
    return walk


def end_of(walk: list[tuple[int, float]], threshold: float) -> int:
    return next((term for term, share in walk if share >= threshold), -1)


def thresholds_around(walk: list[tuple[int, float]]) -> list[float]:
    """Return every share of a walk and its neighbours on either side."""
    shares = [share for _, share in walk]
    return sorted({0.0, 1.0, *shares, *np.nextafter(shares, 2), *np.nextafter(shares, -1)})


@QUICK
@given(pools(shortcuts=True), st.data())
def test_walk_does_what_networkx_says(pool: Pool, data: st.DataObject) -> None:
    walks = [walk_of(pool.ontology, row) for row in pool.parts]
    levels = thresholds_around([node for walk in walks for node in walk])
    thresholds = np.array([data.draw(st.sampled_from(levels)) for _ in walks])
    found = climb(pool.mass, pool.ontology, threshold=thresholds)
    for i, walk in enumerate(walks):
        end = end_of(walk, thresholds[i])
        assert (found.top[i], found.end[i]) == (walk[0][0] if walk else -1, end)
        assert found.support[i] == np.float32(dict(walk)[end] if end >= 0 else 0)


@QUICK
@given(pools())
def test_higher_threshold_never_calls_deeper_and_a_call_holds_its_threshold(pool: Pool) -> None:
    ontology = pool.ontology
    levels = np.linspace(0, 1, 21)
    found = [climb(pool.mass, ontology, threshold=level) for level in levels]
    for level, calls in zip(levels, found, strict=True):
        called = calls.end >= 0
        assert (calls.support[called] >= np.float32(level)).all()
        assert ontology.is_ancestor(calls.end, calls.top)[called].all()
    for lower, higher in pairwise(found):
        assert (ontology.is_ancestor(higher.end, lower.end) | (higher.end < 0)).all()


@QUICK
@given(pools(shortcuts=True), st.data())
def test_call_is_wrong_exactly_up_to_the_critical_value(pool: Pool, data: st.DataObject) -> None:
    """Strict: wrong if and only if t <= critical value, wherever there is a call. Lenient: only if."""
    ontology, n = pool.ontology, len(pool.parts)
    truth = np.array([data.draw(st.integers(0, len(ontology) - 1)) for _ in range(n)], np.int32)
    strict = critical_values(pool.mass, truth, ontology)
    lenient = critical_values(pool.mass, truth, ontology, loss="lenient")
    walks = [walk_of(ontology, row) for row in pool.parts]
    for threshold in thresholds_around([node for walk in walks for node in walk]):
        end = climb(pool.mass, ontology, threshold=threshold).end
        off = (end >= 0) & ~ontology.is_ancestor(end, truth)
        np.testing.assert_array_equal(off, (threshold <= strict) & (end >= 0))
        assert (threshold <= lenient)[off & ~ontology.is_ancestor(truth, end)].all()
    for i, walk in enumerate(walks):
        wrong = [not ontology.is_ancestor(term, truth[i]) for term, _ in walk]
        assert wrong == sorted(wrong, reverse=True), "once right, a walk stays right"
        assert lenient[i] == last_wrong(walk, [w and not ontology.is_ancestor(truth[i], term)
                                               for w, (term, _) in zip(wrong, walk, strict=True)])  # fmt: skip


def last_wrong(walk: list[tuple[int, float]], wrong: list[bool]) -> float:
    if not any(wrong):
        return -np.inf
    return np.inf if wrong[-1] else max(share for (_, share), w in zip(walk, wrong, strict=True) if w)


@QUICK
@given(pools(), st.sampled_from([0.3, 0.5, 0.7, 1.0]), st.data())
def test_order_blocks_and_kind_of_product_change_nothing(pool: Pool, threshold: float, data: st.DataObject) -> None:
    ontology, mass, n = pool.ontology, pool.mass, len(pool.parts)
    truth = np.zeros(n, np.int32)
    found, critical = climb(mass, ontology, threshold=threshold), critical_values(mass, truth, ontology)
    rows = np.array(data.draw(st.permutations(range(n))))[: data.draw(st.integers(1, n))]
    again = climb(mass[rows], ontology, threshold=threshold)
    same(again, Climb(found.top[rows], found.end[rows], found.support[rows]))
    np.testing.assert_array_equal(critical_values(mass[rows], truth[rows], ontology), critical[rows])
    for name, value in (("CHUNK_BYTES", 1), ("DENSE_IS_FASTER", 0), ("DENSE_IS_FASTER", 10**9)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(f"celljury.walk.{name}", value)
            same(climb(mass, ontology, threshold=threshold), found)
            np.testing.assert_array_equal(critical_values(mass, truth, ontology), critical)


@QUICK
@given(pools(), st.data())
def test_reducer_and_walk_agree_and_all_but_the_term_s_own_fields_stay(pool: Pool, data: st.DataObject) -> None:
    ontology, n = pool.ontology, len(pool.parts)
    vote = st.lists(st.integers(-1, len(ontology) - 1), min_size=3, max_size=3)
    votes = np.array(data.draw(st.lists(vote, min_size=n, max_size=n)), np.int32)
    thresholds = np.array([data.draw(st.sampled_from([0.4, 0.6, 1.0])) for _ in range(n)])
    general = np.zeros(len(ontology), bool)
    walk = climb(pool.mass, ontology, threshold=thresholds)
    found = reduce_mass(pool.mass, votes, ontology, threshold=thresholds, too_general=general, climb=True)
    np.testing.assert_array_equal(found.end, walk.end)
    np.testing.assert_array_equal(found.top_term, walk.top)
    np.testing.assert_allclose(found.support, walk.support, atol=1e-7)
    assert (found.status[found.end < 0] == Status.UNRESOLVED).all()
    quorum = reduce_mass(pool.mass, votes, ontology, threshold=thresholds, too_general=general)
    same(found, quorum, but=("term", "end", "status", "support", "agreement", "coarser", "conflict"))
    alike = np.flatnonzero(found.end == quorum.end)
    same(found.take(alike), quorum.take(alike), but=("support",))


# An agreeing member -----------------------------------------------------------------------------------------------


def with_vote(parts: NDArray[np.int64], term: int) -> NDArray[np.int64]:
    more = parts.copy()
    more[:, term] += 1
    return more


@QUICK
@given(pools(empty=False, max_cells=1), st.sampled_from([0.3, 0.5, 0.6, 0.8, 1.0]), st.data())
def test_one_more_vote_on_the_walk_up_to_the_call_never_makes_it_shallower(
    pool: Pool, threshold: float, data: st.DataObject
) -> None:
    """Members of equal weight, one vote each, and no shortcut edges, as in CL.

    Let the vote be for v, a node of the walk at or below the call. The walk keeps its nodes from v on: if the top term
    stays, only terms at or above v gain, and no term above v is a parent of a node before v; if v becomes the top term,
    the walk begins there. All of them hold more than before, so the call is the old one or a node below it.
    """
    before = climb(pool.mass, pool.ontology, threshold=threshold).end[0]
    if before < 0:
        return
    nodes = [term for term, _ in walk_of(pool.ontology, pool.parts[0]) if term <= before]
    agreeing = data.draw(st.sampled_from(nodes))
    after = climb(shares_of(with_vote(pool.parts, agreeing)), pool.ontology, threshold=threshold).end[0]
    assert pool.ontology.is_ancestor(before, after)


@QUICK
@given(pools(empty=False, shortcuts=True), st.sampled_from([0.3, 0.5, 0.6, 0.8, 1.0]))
def test_one_more_vote_for_the_top_term_never_makes_a_call_shallower(pool: Pool, threshold: float) -> None:
    """On any ontology: every node of the walk gains the same, so it stays, and each node holds more."""
    before = climb(pool.mass, pool.ontology, threshold=threshold)
    parts = pool.parts.copy()
    parts[np.arange(len(parts)), before.top] += 1
    after = climb(shares_of(parts), pool.ontology, threshold=threshold)
    assert (pool.ontology.is_ancestor(before.end, after.end) | (before.end < 0)).all()


def test_vote_below_the_call_but_off_the_walk_can_make_it_shallower(toy: CellOntology) -> None:
    """What the two laws above leave out, and must: the new vote makes another top term, with another way up.

    Votes for CD4, motile and blood: CD4, T (1/3 each), blood holds 2/3. A vote for mono, which is below blood, makes it
    one of four equal top terms, of which it is the most informative; it goes by motile (1/2) past blood to cell.
    """
    votes = toy.indices(["CD4", "motile", "blood"])
    parts = np.bincount(votes, minlength=len(toy))[None, :]
    ends = [climb(shares_of(p), toy, threshold=0.6).end[0] for p in (parts, with_vote(parts, toy.index("mono")))]
    assert [toy.ids[i] for i in ends] == ["blood", "cell"]


# All of the Cell Ontology -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("threshold", [1e-9, 0.5, 0.9, 1.0])
def test_one_vote_is_a_fixed_point_for_every_term(cl: CellOntology, threshold: float) -> None:
    terms = np.arange(len(cl), dtype=np.int32)
    pooled = csr_matrix(np.eye(len(cl), dtype=np.float32))
    found = climb(pooled, cl, threshold=threshold)
    np.testing.assert_array_equal(found.top, terms)
    np.testing.assert_array_equal(found.end, terms)
    assert (found.support == 1).all()
    assert (critical_values(pooled, terms, cl) == -np.inf).all()
    general = np.zeros(len(cl), bool)
    reduced = reduce_mass(pooled, terms[:, None], cl, threshold=threshold, too_general=general, climb=True)
    np.testing.assert_array_equal(reduced.term, terms)
    assert (reduced.status == Status.RESOLVED).all()


def test_cell_ontology_has_no_shortcut_edge(cl: CellOntology) -> None:
    """The law on agreeing members leans on it."""
    graph = cl.to_networkx()
    assert nx.transitive_reduction(graph).number_of_edges() == graph.number_of_edges()


@pytest.fixture(scope="module")
def blood_cells(cl: CellOntology) -> csr_matrix:
    """2,000 rows of mass on 80 blood types: a third of them on all types, the others on 1 to 12."""
    rng = np.random.default_rng(0)
    terms = np.sort(rng.choice(cl.descendants(cl.index("CL:0000988")), 80, replace=False))
    weights = rng.random((2000, 80)) ** 6
    few = rng.integers(1, 13, 2000)
    few[::3] = 80
    weights[rng.random((2000, 80)).argsort(axis=1) >= few[:, None]] = 0
    mass = np.zeros((2000, len(cl)), np.float32)
    mass[:, terms] = weights / weights.sum(axis=1, keepdims=True)
    return csr_matrix(mass)


def test_sums_are_exact(cl: CellOntology, blood_cells: csr_matrix) -> None:
    """To the last unit, on rows of 80 terms: what makes the order of a sum irrelevant."""
    upward = Upward.of(used_terms(cl, blood_cells.indices), cl)
    dense = blood_cells.toarray()[:, upward.terms[upward.used]]
    units = np.rint(dense.astype(np.float64) * UNITS).astype(np.int64)
    held = Held.of(blood_cells, slice(None), upward)
    np.testing.assert_array_equal(held.reach, units @ upward.below.astype(np.int64))
    np.testing.assert_array_equal(held.total, units.sum(axis=1))


def test_candidates_on_the_cell_ontology_are_nested_and_hold_what_they_say(
    cl: CellOntology, blood_cells: csr_matrix
) -> None:
    """Each call is asked for a little more than it holds, until it holds all."""
    below = cl.ancestor_rows(np.arange(len(cl)))
    shares = blood_cells.astype(np.float64) @ below
    found = climb(blood_cells, cl, threshold=0.0)
    np.testing.assert_array_equal(found.end, found.top)
    here, going = found, np.arange(blood_cells.shape[0])
    n_steps = 0
    while len(going):
        np.testing.assert_allclose(here.support, shares[going, here.end], atol=2e-5)
        going, before = going[here.support < 1], here.end[here.support < 1]
        thresholds = np.nextafter(here.support[here.support < 1], np.float32(2)).astype(np.float64)
        here = climb(blood_cells[going], cl, threshold=thresholds)
        assert (here.end > before).all()
        assert cl.is_ancestor(here.end, before).all()
        n_steps += 1
    assert n_steps > 5


def test_blocks_orders_and_threads_change_nothing_on_the_cell_ontology(
    cl: CellOntology, blood_cells: csr_matrix
) -> None:
    rng = np.random.default_rng(1)
    n = blood_cells.shape[0]
    truth = rng.choice(np.unique(blood_cells.indices), n).astype(np.int32)
    votes = rng.choice(np.unique(blood_cells.indices), (n, 4)).astype(np.int32)
    thresholds = rng.uniform(0.3, 1, n)
    general = np.zeros(len(cl), bool)

    def run(rows: Any) -> tuple[Reduced, NDArray[np.float64]]:
        mass = blood_cells[rows]
        options = {"threshold": thresholds[rows], "too_general": general, "climb": True}
        return reduce_mass(mass, votes[rows], cl, **options), critical_values(mass, truth[rows], cl)

    whole, critical = run(slice(None))
    for rows in (rng.permutation(n), np.arange(7), np.arange(1000, n)):
        found, values = run(rows)
        same(found, whole.take(rows))
        np.testing.assert_array_equal(values, critical[rows])
    with threadpool_limits(2):
        found, values = run(slice(None))
    same(found, whole)
    np.testing.assert_array_equal(values, critical)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("celljury.walk.CHUNK_BYTES", 1 << 16)
        found, values = run(slice(None))
    same(found, whole)
    np.testing.assert_array_equal(values, critical)
