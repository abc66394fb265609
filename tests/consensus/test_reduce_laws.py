"""Laws of the reducer, on random ontologies and on all of the Cell Ontology, with an oracle in plain Python sets."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise, permutations
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from celljury.ontology.general import too_general
from celljury.ontology.load import ontology_from_edges
from celljury.reduce import Reduced, Status, reduce_mass, reduce_votes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from celljury.ontology.graph import CellOntology

QUORUMS = (Fraction(1, 2), Fraction(3, 5), Fraction(2, 3), Fraction(3, 4), Fraction(1))
QUICK = settings(max_examples=150, deadline=None)


class Toy(NamedTuple):
    """A random ontology, and for each index the sets of indices above and below, itself included."""

    ontology: CellOntology
    up: list[set[int]]
    down: list[set[int]]
    general: NDArray[np.bool_]


@st.composite
def toys(draw: st.DrawFn) -> Toy:
    """Draw a graph of 1 to 9 terms: several parents, several roots, some terms too general."""
    n = draw(st.integers(1, 9))
    parents = {f"R:{i}": [f"R:{j}" for j in sorted(draw(st.sets(st.integers(0, i - 1), max_size=3)))] if i else []
               for i in range(n)}  # fmt: skip
    ontology = ontology_from_edges({term_id: f"term {term_id}" for term_id in parents}, parents)

    def above(term_id: str) -> set[str]:
        return {term_id}.union(*(above(parent) for parent in parents[term_id]))

    up = [{ontology.index(a) for a in above(term_id)} for term_id in ontology.ids]
    down = [{j for j in range(n) if i in up[j]} for i in range(n)]
    general = draw(st.lists(st.booleans(), min_size=n, max_size=n))
    return Toy(ontology, up, down, np.array(general))


@st.composite
def ballots(draw: st.DrawFn, *, abstain: bool = True) -> tuple[Toy, NDArray[np.int32]]:
    """Draw an ontology and 1 to 6 cells' votes by 1 to 6 members."""
    toy = draw(toys())
    n_members = draw(st.integers(1, 6))
    vote = st.integers(-1 if abstain else 0, len(toy.ontology) - 1)
    rows = draw(st.lists(st.lists(vote, min_size=n_members, max_size=n_members), min_size=1, max_size=6))
    return toy, np.array(rows, np.int32)


def reduce(toy: Toy, votes: NDArray[np.int32], threshold: Fraction | float, **options: Any) -> Reduced:
    return reduce_votes(votes, toy.ontology, threshold=float(threshold), too_general=toy.general, **options)


def same(left: Reduced, right: Reduced, *, but: Sequence[str] = ()) -> None:
    """Hold that two results are equal to the last bit."""
    for name in set(Reduced.__slots__) - set(but):
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name), err_msg=name)


# The oracle -------------------------------------------------------------------------------------------------------


def share_below(toy: Toy, row: list[int], term: int) -> Fraction:
    return Fraction(sum(term in toy.up[vote] for vote in row), len(row))


def end_of_walk(toy: Toy, row: list[int], quorum: Fraction) -> int:
    """Return the first term that enough votes lie at or below; -1 = none."""
    holds = {term: {i for i, vote in enumerate(row) if term in toy.up[vote]} for term in range(len(toy.up))}
    passing = [term for term in holds if Fraction(len(holds[term]), len(row)) >= quorum]
    if not passing:
        return -1
    first = passing[0]
    unlike = [term for term in passing if first not in toy.up[term] and term not in toy.up[first]]
    if 2 * len(holds[first]) == len(row) and any(holds[first] - holds[term] for term in unlike):
        return next((term for term in holds if 2 * len(holds[term]) > len(row)), -1)
    return first


class Camps(NamedTuple):
    a: int
    b: int
    size_a: Fraction
    size_b: Fraction
    crossed: bool
    mixed: bool


def camps_of(toy: Toy, row: list[int]) -> Camps:
    lowest = {v for v in row if not any(v in toy.up[u] - {u} for u in row)}
    rivals = {x: {y for y in lowest if not toy.down[x] & toy.down[y]} for x in lowest}

    def largest(among: set[int], not_above: set[int]) -> int:
        return max(among, key=lambda x: (sum(v in toy.up[x] - not_above for v in row), -x))

    a = largest({x for x in lowest if rivals[x]} or lowest, set())
    mixed = any(v in toy.up[u] - {u} for u in row for v in row)
    others = rivals[a] or lowest - {a}
    if not others:
        in_a = share_of(row, toy.up[a])
        return Camps(max(set(row) & toy.up[a]), -1, in_a, Fraction(0), crossed=False, mixed=mixed)
    b = largest(others, toy.up[a])
    in_a, in_b = toy.up[a] - toy.up[b], toy.up[b] - toy.up[a]
    crossed = bool(toy.down[a] & toy.down[b])
    return Camps(max(set(row) & in_a), max(set(row) & in_b), share_of(row, in_a), share_of(row, in_b), crossed, mixed)


def share_of(row: list[int], terms: set[int]) -> Fraction:
    return Fraction(sum(vote in terms for vote in row), len(row))


@QUICK
@given(ballots(), st.sampled_from(QUORUMS))
def test_reducer_does_what_plain_sets_say(drawn: tuple[Toy, NDArray[np.int32]], quorum: Fraction) -> None:
    toy, votes = drawn
    found = reduce(toy, votes, quorum)
    for i, whole in enumerate(votes.tolist()):
        row = [vote for vote in whole if vote >= 0]
        assert found.n_votes[i] == len(row)
        if not row:
            assert (found.term[i], found.end[i], found.top_term[i], found.camp_a[i]) == (-1, -1, -1, -1)
            assert found.status[i] == Status.UNRESOLVED
            continue
        end = end_of_walk(toy, row, quorum)
        called = end >= 0 and not toy.general[end]
        counts = sorted(((row.count(term), -term) for term in set(row)), reverse=True)
        top, runner_up = -counts[0][1], -counts[1][1] if len(counts) > 1 else -1
        status = Status.UNRESOLVED if not called else Status.RESOLVED if end in toy.down[top] else Status.BACKED_OFF
        assert (found.end[i], found.term[i]) == (end, end if called else -1)
        assert (found.top_term[i], found.runner_up[i]) == (top, runner_up)
        assert found.status[i] == status
        camps = camps_of(toy, row)
        assert (found.camp_a[i], found.camp_b[i]) == (camps.a, camps.b)
        assert (found.crossed[i], found.mixed[i]) == (camps.crossed, camps.mixed)
        above = toy.up[end] - {end} if called else set()
        below = toy.down[end] if called else set()
        across = {v for v in range(len(toy.up)) if called and toy.down[v] & toy.down[end]} - above - below
        agreement, coarser, crossing = (share_of(row, terms) for terms in (below, above, across))
        conflict = 1 - agreement - coarser - crossing if called else 1 - camps.size_a
        expected = [agreement, agreement, coarser, conflict, camps.size_a, camps.size_b]
        names = ("support", "agreement", "coarser", "conflict", "size_a", "size_b")
        assert [getattr(found, name)[i] for name in names] == pytest.approx([float(x) for x in expected], abs=2e-6)


# Laws -------------------------------------------------------------------------------------------------------------


@QUICK
@given(ballots())
def test_lca_rule_is_the_ontology_s_lowest_common_ancestor(drawn: tuple[Toy, NDArray[np.int32]]) -> None:
    toy, votes = drawn
    np.testing.assert_array_equal(reduce(toy, votes, 1).end, toy.ontology.lca_rows(votes))


@QUICK
@given(ballots(), st.sampled_from(QUORUMS), st.randoms(use_true_random=False))
def test_order_of_members_and_cells_changes_nothing(
    drawn: tuple[Toy, NDArray[np.int32]], quorum: Fraction, random: Any
) -> None:
    toy, votes = drawn
    found = reduce(toy, votes, quorum)
    members = random.sample(range(votes.shape[1]), votes.shape[1])
    same(reduce(toy, votes[:, members], quorum), found)
    cells = np.array(random.sample(range(len(votes)), len(votes)))
    same(reduce(toy, votes[cells], quorum), found.take(cells))


@QUICK
@given(ballots(), st.sampled_from(QUORUMS), st.data())
def test_blocks_change_nothing(drawn: tuple[Toy, NDArray[np.int32]], quorum: Fraction, data: st.DataObject) -> None:
    toy, votes = drawn
    cut = data.draw(st.integers(0, len(votes)))
    parts = [reduce(toy, part, quorum) for part in (votes[:cut], votes[cut:])]
    joined = Reduced(*(np.concatenate([getattr(part, name) for part in parts]) for name in Reduced.__slots__))
    same(joined, reduce(toy, votes, quorum))


@QUICK
@given(ballots(), st.sampled_from(QUORUMS), st.data())
def test_abstention_is_never_a_vote(
    drawn: tuple[Toy, NDArray[np.int32]], quorum: Fraction, data: st.DataObject
) -> None:
    toy, votes = drawn
    at = data.draw(st.integers(0, votes.shape[1]))
    same(reduce(toy, np.insert(votes, at, -1, axis=1), quorum), reduce(toy, votes, quorum))


@QUICK
@given(ballots(), st.sampled_from(QUORUMS), st.data())
def test_agreeing_member_never_makes_the_walk_end_higher(
    drawn: tuple[Toy, NDArray[np.int32]], quorum: Fraction, data: st.DataObject
) -> None:
    """Whoever votes at or below the end of a walk can only pull it down: the order's index falls, its bits rise."""
    toy, votes = drawn
    before = reduce(toy, votes[:1], quorum).end[0]
    if before < 0:
        return
    agreeing = data.draw(st.sampled_from(sorted(toy.down[before])))
    after = reduce(toy, np.append(votes[:1], [[agreeing]], axis=1).astype(np.int32), quorum).end[0]
    assert 0 <= after <= before
    assert toy.ontology.ic[after] >= toy.ontology.ic[before]


@QUICK
@given(ballots())
def test_higher_quorum_never_ends_a_walk_lower(drawn: tuple[Toy, NDArray[np.int32]]) -> None:
    """Fewer terms pass a higher quorum, so bits never rise; the new end may lie on another line than the old one."""
    toy, votes = drawn
    n = len(toy.ontology)
    bits = np.append(toy.ontology.ic, -1.0)
    ends = [np.where((end := reduce(toy, votes, quorum).end) < 0, n, end) for quorum in QUORUMS]
    for lower, higher in pairwise(ends):
        assert (higher >= lower).all()
        assert (bits[higher] <= bits[lower]).all()


@QUICK
@given(ballots(), st.sampled_from(QUORUMS), st.data())
def test_whole_weights_are_repeated_members(
    drawn: tuple[Toy, NDArray[np.int32]], quorum: Fraction, data: st.DataObject
) -> None:
    toy, votes = drawn
    k = votes.shape[1]
    weights = data.draw(st.lists(st.integers(0, 4), min_size=k, max_size=k).filter(any))
    weighted = reduce(toy, votes, quorum, weights=np.array(weights, float))
    repeated = reduce(toy, np.repeat(votes, weights, axis=1), quorum)
    shares = ("support", "agreement", "coarser", "conflict", "size_a", "size_b")
    same(weighted, repeated, but=("n_votes", *shares))
    for name in shares:
        np.testing.assert_allclose(getattr(weighted, name), getattr(repeated, name), atol=2e-6, err_msg=name)


@QUICK
@given(ballots(), st.sampled_from(QUORUMS))
def test_mass_on_the_top_votes_is_the_votes(drawn: tuple[Toy, NDArray[np.int32]], quorum: Fraction) -> None:
    toy, votes = drawn
    same(reduce_mass(one_hot(toy, votes), votes, toy.ontology, threshold=float(quorum), too_general=toy.general),
         reduce(toy, votes, quorum))  # fmt: skip


def one_hot(toy: Toy, votes: NDArray[np.int32]) -> csr_matrix:
    """Return the mean over who voted, CSR float32 (n_cells, n_terms)."""
    row, column = np.nonzero(votes >= 0)
    share = 1 / (votes >= 0).sum(axis=1)[row]
    return csr_matrix((share, (row, votes[row, column])), shape=(len(votes), len(toy.ontology)), dtype=np.float32)


@st.composite
def pools(draw: st.DrawFn) -> tuple[Toy, csr_matrix, NDArray[np.int32]]:
    """Draw random mass, and the votes of 3 members."""
    toy = draw(toys())
    n_cells, n = draw(st.integers(1, 5)), len(toy.ontology)
    parts = st.lists(st.integers(0, 20), min_size=n, max_size=n).filter(any)
    dense = np.array(draw(st.lists(parts, min_size=n_cells, max_size=n_cells)), float)
    vote = st.lists(st.integers(0, n - 1), min_size=3, max_size=3)
    votes = np.array(draw(st.lists(vote, min_size=n_cells, max_size=n_cells)), np.int32)
    return toy, csr_matrix((dense / dense.sum(axis=1, keepdims=True)).astype(np.float32)), votes


@QUICK
@given(pools(), st.sampled_from(QUORUMS), st.data())
def test_mass_is_independent_of_members_cells_and_blocks(
    drawn: tuple[Toy, csr_matrix, NDArray[np.int32]], quorum: Fraction, data: st.DataObject
) -> None:
    toy, mass, votes = drawn

    def run(rows: Any, members: Any = (0, 1, 2)) -> Reduced:
        return reduce_mass(
            mass[rows],
            votes[rows][:, list(members)],
            toy.ontology,
            threshold=float(quorum),
            too_general=toy.general,
        )

    found = run(slice(None))
    same(run(slice(None), data.draw(st.sampled_from(list(permutations(range(3)))))), found)
    cells = np.array(data.draw(st.permutations(range(len(votes)))))
    same(run(cells), found.take(cells))
    for i in range(len(votes)):
        same(run(slice(i, i + 1)), found.take(np.array([i])))


@QUICK
@given(pools(), st.sampled_from(QUORUMS))
def test_support_of_a_call_reaches_the_quorum_and_no_finer_term_does(
    drawn: tuple[Toy, csr_matrix, NDArray[np.int32]], quorum: Fraction
) -> None:
    toy, mass, votes = drawn
    found = reduce_mass(mass, votes, toy.ontology, threshold=float(quorum), too_general=toy.general)
    for i, shares in enumerate(mass.toarray().astype(float)):
        reach = [shares[sorted(below)].sum() for below in toy.down]
        if (end := found.end[i]) < 0:
            assert quorum == Fraction(1, 2) or max(reach) < float(quorum) + 1e-4
            continue
        assert reach[end] >= float(quorum) - 1e-4
        if quorum > Fraction(1, 2):  # at one half a tie may pass over finer terms
            assert all(share < float(quorum) + 1e-4 for share in reach[:end])


# All of the Cell Ontology -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("quorum", [pytest.param(0.5, id="quorum_half"), pytest.param(0.6, id="quorum_six_tenths"),
                                    pytest.param(1.0, id="lca")])  # fmt: skip
@pytest.mark.parametrize("n_members", [1, 2, 3, 6, 7, 10])
def test_unanimous_vote_is_a_fixed_point_for_every_term_under_cell(
    cl: CellOntology, n_members: int, quorum: float
) -> None:
    terms = cl.descendants(cl.index("CL:0000000"))
    assert len(terms) > 3000
    votes = np.repeat(terms[:, None], n_members, axis=1)
    pooled = csr_matrix((np.ones(len(terms), np.float32), (np.arange(len(terms)), terms)), shape=(len(terms), len(cl)))
    general = np.zeros(len(cl), bool)
    on_votes = reduce_votes(votes, cl, threshold=quorum, too_general=general)
    on_mass = reduce_mass(pooled, votes, cl, threshold=quorum, too_general=general)
    for found in (on_votes, on_mass):
        np.testing.assert_array_equal(found.term, terms)
        assert (found.status == Status.RESOLVED).all()
        assert (found.agreement == 1).all()
        assert (found.support == 1).all()
        assert (found.conflict == 0).all()
        assert (found.camp_b == -1).all()


def test_unanimous_vote_for_a_too_general_term_ends_there_without_a_label(cl: CellOntology) -> None:
    general = too_general(cl)
    terms = np.flatnonzero(general).astype(np.int32)
    found = reduce_votes(np.repeat(terms[:, None], 3, axis=1), cl, threshold=1.0, too_general=general)
    np.testing.assert_array_equal(found.end, terms)
    assert (found.term == -1).all()
    assert (found.status == Status.UNRESOLVED).all()


@pytest.mark.parametrize("quorum", [0.5, 0.6, 1.0])
def test_blocks_and_orders_change_nothing_on_the_cell_ontology(cl: CellOntology, quorum: float) -> None:
    """A product of matrices of another size, or over other terms, may differ in the last bits: calls may not."""
    rng = np.random.default_rng(0)
    terms = rng.choice(cl.descendants(cl.index("CL:0000988")), 60)
    votes = terms[rng.integers(0, 60, (3000, 7))].astype(np.int32)
    votes[rng.random(votes.shape) < 0.2] = -1
    weights = rng.random((3000, 60)) ** 4
    column = np.searchsorted(np.unique(terms), terms)
    mass = np.zeros((3000, len(cl)), np.float32)
    mass[:, np.unique(terms)] = (weights / weights.sum(axis=1, keepdims=True))[
        :, np.unique(column, return_index=True)[1]
    ]
    pooled = csr_matrix(mass)
    general = too_general(cl)

    def run(rows: Any) -> tuple[Reduced, Reduced]:
        return (
            reduce_votes(votes[rows], cl, threshold=quorum, too_general=general),
            reduce_mass(pooled[rows], votes[rows], cl, threshold=quorum, too_general=general),
        )

    whole = run(slice(None))
    shuffled = rng.permutation(len(votes))
    for found, expected in zip(run(shuffled), whole, strict=True):
        same(found, expected.take(shuffled))
    for size in (7, 1000):
        stop = 700 if size == 7 else len(votes)
        parts = [run(slice(start, start + size)) for start in range(0, stop, size)]
        for kind, expected in enumerate(whole):
            for name in Reduced.__slots__:
                joined = np.concatenate([getattr(part[kind], name) for part in parts])
                np.testing.assert_array_equal(joined, getattr(expected, name)[: len(joined)], err_msg=name)


def test_chunks_change_nothing(cl: CellOntology, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    votes = rng.choice(cl.descendants(cl.index("CL:0000084")), (200, 5)).astype(np.int32)
    whole = reduce_votes(votes, cl, threshold=0.6, too_general=too_general(cl))
    monkeypatch.setattr("celljury.walk.CHUNK_BYTES", 1)
    same(reduce_votes(votes, cl, threshold=0.6, too_general=too_general(cl)), whole)


def test_lca_rule_on_the_cell_ontology_is_lca_rows(cl: CellOntology) -> None:
    rng = np.random.default_rng(2)
    votes = rng.integers(-1, len(cl), (5000, 4)).astype(np.int32)
    found = reduce_votes(votes, cl, threshold=1.0, too_general=np.zeros(len(cl), bool))
    np.testing.assert_array_equal(found.term, cl.lca_rows(votes))
