"""The checks that every member passes, ours and third-party ones: `check_member(make)` runs them all.

In a test suite, one case a check, on one fitted member::

    @pytest.fixture(scope="module")
    def trial():
        return Trial(MyMember)

    @pytest.mark.parametrize("check", member_checks(), ids=lambda check: check.__name__)
    def test_contract(check, trial):
        check(trial)
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_matrix

from celljury.errors import GenesError, InputError
from celljury.members.arrays import load_arrays, save_arrays
from celljury.members.base import Block, Member, MemberVotes, Proteins, Reference
from celljury.members.strangeness import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    Check = Callable[["Trial"], None]

TERMS = ("CL:0000236", "CL:0000623", "CL:0001054")  # B cell, natural killer cell, CD14-positive monocyte
N_GENES = 60
MARKERS = 10  # genes of a type, at ten times the rate

# Runs in a process of its own, where nothing of the fit is left and nothing can be fetched.
FRESH = """
import importlib, socket, sys, warnings
from pathlib import Path

def refuse(*arguments):
    raise OSError("members do not use the network")

socket.socket.connect = socket.socket.connect_ex = refuse
warnings.simplefilter("ignore")
from celljury.members.arrays import save_arrays
from celljury.members.checks import read_block

module, name, folder = sys.argv[1:]
member = getattr(importlib.import_module(module), name).load(Path(folder) / "member")
votes = member.predict(read_block(Path(folder) / "query.npz"))
signals = {f"signal_{kind}": values for kind, values in votes.signals.items()}
save_arrays(Path(folder) / "votes.npz", mass=votes.mass, strange=votes.strange, **signals)
"""


class Trial:
    """One member on made cells: Poisson counts of 3 types in 2 batches, and a query of 2 other batches.

    Parameters
    ----------
    make
        Builds an unfitted member; called anew for every fit. Its class must be importable by name.
    cells
        Cells per type and batch.
    tolerance
        How far probabilities may differ between runs that should agree.
    accuracy
        Least share of query cells whose largest probability is on their type.
    seed
        Of the made cells.
    proteins
        Surface proteins of the made cells: protein i is high in cells of type i mod 3. 0 = they have none.
    """

    def __init__(
        self,
        make: Callable[[], Member],
        *,
        cells: int = 20,
        tolerance: float = 1e-5,
        accuracy: float = 0.9,
        seed: int = 0,
        proteins: int = 0,
    ) -> None:
        self.make = make
        self.proteins = proteins
        self.tolerance = tolerance
        self.accuracy = accuracy
        rng = np.random.default_rng(seed)
        base = rng.gamma(2.0, 1.0, N_GENES)
        rate = np.tile(base, (len(TERMS), 1))
        for term in range(len(TERMS)):
            rate[term, term * MARKERS : (term + 1) * MARKERS] = 10.0
        genes = tuple(f"gene{gene}" for gene in range(N_GENES))
        everything = np.ones(N_GENES, np.bool_)
        tags = np.random.default_rng((seed, proteins))  # its own: proteins leave the genes' counts as they are
        high = np.arange(proteins) % len(TERMS) == np.arange(len(TERMS))[:, np.newaxis]

        def made(names: tuple[str, ...]) -> tuple[Block, NDArray[np.int32]]:
            label = np.tile(np.repeat(np.arange(len(TERMS), dtype=np.int32), cells), len(names))
            batch = np.repeat(np.arange(len(names), dtype=np.int32), cells * len(TERMS))
            effect = rng.lognormal(0.0, 0.2, (len(names), N_GENES))
            counts = csr_matrix(rng.poisson(rate[label] * effect[batch]).astype(np.float32))
            block = Block(counts, genes, everything, batch, names)
            if proteins:
                tagged = tags.poisson(np.where(high, 60.0, 4.0)[label]).astype(np.float32)
                known = Proteins(tagged, tuple(f"tag{i}" for i in range(proteins)), np.ones(proteins, np.bool_))
                block = replace(block, proteins=known)
            return block, label

        block, label = made(("donor1", "donor2"))
        self.reference = Reference(block, label, TERMS)
        self.query, self.truth = made(("query1", "query2"))

    @cached_property
    def member(self) -> Member:
        """The member, fitted and adapted to the query, without a network."""
        with no_network():
            return self.make().fit(self.reference).adapt(self.query)

    @cached_property
    def votes(self) -> MemberVotes:
        """Its votes on the whole query."""
        with no_network():
            return self.member.predict(self.query)

    def agree(self, got: MemberVotes, expected: MemberVotes, *, what: str) -> None:
        """Raise AssertionError where two votes differ by more than rounding."""
        np.testing.assert_allclose(got.mass, expected.mass, rtol=0, atol=self.tolerance, err_msg=f"mass: {what}")
        np.testing.assert_allclose(
            got.strange, expected.strange, rtol=10 * self.tolerance, atol=self.tolerance, err_msg=f"strange: {what}"
        )
        require(sorted(got.signals) == sorted(expected.signals), f"other signals: {what}")
        for kind, values in expected.signals.items():
            np.testing.assert_allclose(
                got.signals[kind],
                values,
                rtol=100 * self.tolerance,
                atol=100 * self.tolerance,
                err_msg=f"{kind}: {what}",
            )
        ordered = np.sort(expected.mass, axis=1)
        clear = ordered[:, -1] - ordered[:, -2] > 2 * self.tolerance
        same = got.mass.argmax(axis=1) == expected.mass.argmax(axis=1)
        require(bool(same[clear].all()), f"another top term: {what}")


def check_member(make: Callable[[], Member], **trial: Any) -> None:
    """Run all checks on the members that ``make`` builds; ``trial`` goes to `Trial`.

    Raises
    ------
    AssertionError
        From the first check that fails, with its name as a note.
    """
    setting = Trial(make, **trial)
    for check in member_checks():
        try:
            check(setting)
        except Exception as error:
            error.add_note(f"in {check.__name__} of {setting.make}")
            raise


def member_checks() -> list[Check]:
    """Return all checks, cheap ones on the shared member first."""
    return [
        check_votes_keep_the_contract,
        check_learns_separable_types,
        check_row_order_changes_nothing,
        check_block_size_changes_nothing,
        check_one_cell,
        check_empty_query,
        check_cell_without_counts_abstains,
        check_other_genes_are_refused,
        check_batch_never_seen,
        check_inputs_stay_untouched,
        check_same_votes_in_a_fresh_process,
        check_lacking_genes_are_not_zeros,
        check_many_batches,
        check_adapting_again_starts_over,
        check_same_seed_same_votes,
        check_one_type_is_refused,
        check_rare_types,
    ]


# On the shared member ---------------------------------------------------------------------------------------------


def check_votes_keep_the_contract(trial: Trial) -> None:
    """Types, shapes, sums, and the names that a record of the run needs."""
    votes, n_cells, n_terms = trial.votes, trial.query.n_cells, len(trial.member.terms)
    require(votes.mass.dtype == np.float32 and votes.mass.shape == (n_cells, n_terms), f"mass {votes.mass.shape}")
    require(votes.strange.dtype == np.float32 and votes.strange.shape == (n_cells,), f"strange {votes.strange.shape}")
    require(
        bool(trial.member.name) and trial.member.kind in ("light", "torch", "remote"), "a member has a name and a kind"
    )
    scored = bool(np.isfinite(votes.strange).any())
    require(scored == bool(trial.member.strangeness), "`strangeness` says what the score is, empty if there is none")
    for kind, values in votes.signals.items():
        require(kind in KINDS, f"signal {kind!r} is none of {', '.join(KINDS)}")
        require(values.dtype == np.float32 and bool(np.isfinite(values).all()), f"signal {kind} is not finite float32")


def check_learns_separable_types(trial: Trial) -> None:
    """Cells of types with ten strong markers each are told apart."""
    right = _accuracy(trial.votes, trial.truth)
    require(right >= trial.accuracy, f"only {right:.2f} of separable cells right, expected {trial.accuracy}")


def check_row_order_changes_nothing(trial: Trial) -> None:
    """Cells in another order get the same votes."""
    order = np.random.default_rng(1).permutation(trial.query.n_cells)
    trial.agree(trial.member.predict(rows_of(trial.query, order)), _taken(trial.votes, order), what="shuffled cells")


def check_block_size_changes_nothing(trial: Trial) -> None:
    """Blocks of 1 and 7 cells give what the whole query gave."""
    for size, stop in ((1, 10), (7, trial.query.n_cells)):
        for start in range(0, stop, size):
            rows = np.arange(start, min(start + size, stop))
            got = trial.member.predict(rows_of(trial.query, rows))
            trial.agree(got, _taken(trial.votes, rows), what=f"blocks of {size}")


def check_one_cell(trial: Trial) -> None:
    """Adapt to and vote on a query of one cell."""
    query = rows_of(trial.query, np.array([0]))
    votes = _loaded_copy(trial).adapt(query).predict(query)
    require(votes.mass.shape == (1, len(trial.member.terms)), f"mass {votes.mass.shape} for one cell")


def check_empty_query(trial: Trial) -> None:
    """No cells, no votes, no error."""
    nothing = rows_of(trial.query, np.arange(0))
    votes = _loaded_copy(trial).adapt(nothing).predict(nothing)
    require(
        votes.mass.shape == (0, len(trial.member.terms)) and votes.strange.shape == (0,), "votes for an empty query"
    )


def check_cell_without_counts_abstains(trial: Trial) -> None:
    """Abstention is possible: nothing is said of a cell that nothing is known of."""
    counts = trial.query.counts.tolil(copy=True)
    counts[3] = 0
    query = trial.query
    block = replace(query, counts=csr_matrix(counts, dtype=np.float32))
    block.counts.eliminate_zeros()
    votes = trial.member.predict(block)
    require(not votes.mass[3].any() and bool(np.isnan(votes.strange[3])), "a cell without counts got a vote")
    others = np.delete(np.arange(query.n_cells), 3)
    trial.agree(_taken(votes, others), _taken(trial.votes, others), what="beside a cell without counts")
    only = rows_of(block, np.array([3]))
    require(not _loaded_copy(trial).adapt(only).predict(only).mass.any(), "a query of one empty cell got a vote")


def check_other_genes_are_refused(trial: Trial) -> None:
    """Genes that are not the reference's, in its order, are named in an error and not read as if they were."""
    query = trial.query
    for genes in (query.genes[::-1], (*query.genes[1:], "unknown")):
        block = replace(query, genes=genes)
        raises(GenesError, partial(trial.member.predict, block), what="other genes")


def check_batch_never_seen(trial: Trial) -> None:
    """Expect votes for a batch that was not adapted to."""
    query = trial.query
    block = replace(query, batch=np.zeros_like(query.batch), batches=("never seen",))
    require(_accuracy(trial.member.predict(block), trial.truth) >= trial.accuracy / 2, "votes of an unknown batch")


def check_inputs_stay_untouched(trial: Trial) -> None:
    """Neither fitting nor voting writes into what it was given."""
    fresh = Trial(trial.make, cells=trial.truth.size // (2 * len(TERMS)), proteins=trial.proteins)
    _ = trial.votes
    for got, expected in ((trial.reference.cells, fresh.reference.cells), (trial.query, fresh.query)):
        same = (
            np.array_equal(got.counts.toarray(), expected.counts.toarray())
            and np.array_equal(got.counts.indices, expected.counts.indices)
            and np.array_equal(got.batch, expected.batch)
            and np.array_equal(got.present, expected.present)
        )
        if got.proteins is not None and expected.proteins is not None:
            same = same and np.array_equal(got.proteins.counts, expected.proteins.counts)
        require(same, "the member changed the cells it was given")


def check_same_votes_in_a_fresh_process(trial: Trial) -> None:
    """Save, load where nothing of the fit is left and without a network: the same votes."""
    kind = type(trial.member)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        trial.member.save(folder / "member")
        write_block(folder / "query.npz", trial.query)
        done = subprocess.run(
            [sys.executable, "-c", FRESH, kind.__module__, kind.__qualname__, str(folder)],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ},
        )
        require(done.returncode == 0, f"loading in a fresh process failed:\n{done.stderr[-2000:]}")
        arrays = load_arrays(folder / "votes.npz")
    signals = {
        name.removeprefix("signal_"): np.asarray(values, np.float32)
        for name, values in arrays.items()
        if name.startswith("signal_")
    }
    got = MemberVotes(np.asarray(arrays["mass"], np.float32), np.asarray(arrays["strange"], np.float32), signals)
    trial.agree(got, trial.votes, what="fresh process")


def check_lacking_genes_are_not_zeros(trial: Trial) -> None:
    """Tell types apart in a query that lacks 7 of 10 markers of two of them.

    Reading the missing markers as not expressed makes every cell look like the third type: .34 of cells right, where
    reading them as average gives .99 and more.
    """
    present = np.ones(N_GENES, np.bool_)
    present[[*range(7), *range(MARKERS, MARKERS + 7)]] = False
    query = trial.query
    counts = csr_matrix(query.counts.multiply(present.astype(np.float32)), dtype=np.float32)
    counts.eliminate_zeros()
    block = replace(query, counts=counts, present=present)
    right = _accuracy(_loaded_copy(trial).adapt(block).predict(block), trial.truth)
    require(right >= trial.accuracy - 0.15, f"only {right:.2f} right where the query lacks markers of two types")


def check_many_batches(trial: Trial) -> None:
    """Every query cell a batch of its own."""
    query = trial.query
    names = tuple(f"batch{cell}" for cell in range(query.n_cells))
    block = replace(query, batch=np.arange(query.n_cells, dtype=np.int32), batches=names)
    some = rows_of(block, np.arange(0, query.n_cells, max(1, query.n_cells // 12)))
    votes = _loaded_copy(trial).adapt(some).predict(some)
    require(votes.mass.shape == (some.n_cells, len(trial.member.terms)), "votes for many batches")


def check_adapting_again_starts_over(trial: Trial) -> None:
    """Adapting to another query first leaves no trace."""
    member = _loaded_copy(trial)
    member.adapt(rows_of(trial.query, np.arange(trial.query.n_cells // 2)))
    trial.agree(member.adapt(trial.query).predict(trial.query), trial.votes, what="adapted twice")


# With a fit of their own ------------------------------------------------------------------------------------------


def check_same_seed_same_votes(trial: Trial) -> None:
    """Fit again with the same seed and threads, whatever the global generators did: the same votes."""
    np.random.seed(99)  # the global generator is what must not matter
    again = trial.make().fit(trial.reference).adapt(trial.query).predict(trial.query)
    trial.agree(again, trial.votes, what="fitted again")


def check_one_type_is_refused(trial: Trial) -> None:
    """Nothing can be learned from one type."""
    cells = trial.reference.cells
    one = Reference(cells, np.zeros(cells.n_cells, np.int32), TERMS[:1])
    raises(InputError, lambda: trial.make().fit(one), what="a reference of one type")


def check_rare_types(trial: Trial) -> None:
    """Types of 1 and 3 cells, and a reference of one batch, do not break a fit."""
    label = trial.reference.label
    kept = np.concatenate([np.flatnonzero(label == term)[:size] for term, size in enumerate((label.size, 3, 1))])
    cells = rows_of(trial.reference.cells, kept)
    alone = replace(cells, batch=np.zeros_like(cells.batch), batches=("donor1",))
    rare = Reference(alone, label[kept], TERMS)
    member = trial.make().fit(rare).adapt(trial.query)
    votes = member.predict(trial.query)
    require(votes.mass.shape[1] == len(member.terms), "votes with rare types")


# What the checks share --------------------------------------------------------------------------------------------


def rows_of(block: Block, rows: NDArray[np.integer]) -> Block:
    """Take some cells of a block, with the names of all batches."""
    proteins = None if block.proteins is None else block.proteins.take(rows)
    return replace(block, counts=block.counts[rows], batch=block.batch[rows], proteins=proteins)


def write_block(path: Path, block: Block) -> None:
    """Write a block as npz."""
    tags = {}
    if (proteins := block.proteins) is not None:
        tags = {"tags": proteins.counts, "tag_names": np.array(proteins.names), "tags_present": proteins.present}
    save_arrays(
        path,
        **tags,
        values=block.counts.data,
        columns=block.counts.indices,
        starts=block.counts.indptr,
        genes=np.array(block.genes),
        present=block.present,
        batch=block.batch,
        batches=np.array(block.batches),
    )


def read_block(path: Path) -> Block:
    """Read what `write_block` wrote."""
    arrays = load_arrays(path)
    genes = tuple(str(gene) for gene in arrays["genes"])
    shape = (arrays["starts"].size - 1, len(genes))
    proteins = None
    if "tags" in arrays:
        names = tuple(str(name) for name in arrays["tag_names"])
        proteins = Proteins(arrays["tags"].astype(np.float32), names, np.asarray(arrays["tags_present"], np.bool_))
    return Block(
        csr_matrix((arrays["values"], arrays["columns"], arrays["starts"]), shape=shape),
        genes,
        np.asarray(arrays["present"], np.bool_),
        np.asarray(arrays["batch"], np.int32),
        tuple(str(name) for name in arrays["batches"]),
        proteins,
    )


@contextmanager
def no_network() -> Iterator[None]:
    """Refuse connections to other machines while in the block."""
    connect = socket.socket.connect

    def refuse(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            message = f"a member tried to reach {address}; members do not use the network"
            raise AssertionError(message)
        connect(self, address)

    socket.socket.connect = refuse  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        socket.socket.connect = connect  # type: ignore[method-assign]


def require(condition: bool, message: str) -> None:  # noqa: FBT001 - reads as a sentence, like assert
    """Raise AssertionError unless the condition holds, also under ``python -O``."""
    if not condition:
        raise AssertionError(message)


def raises(expected: type[Exception], call: Callable[[], object], *, what: str) -> None:
    """Raise AssertionError unless ``call`` raises ``expected``."""
    try:
        call()
    except expected:
        return
    message = f"{what}: no {expected.__name__}"
    raise AssertionError(message)


def _loaded_copy(trial: Trial) -> Member:
    """Copy the trial's member by its own files: what is done to the copy leaves the trial's alone."""
    with tempfile.TemporaryDirectory() as folder:
        trial.member.save(Path(folder))
        return type(trial.member).load(Path(folder))


def _taken(votes: MemberVotes, rows: NDArray[np.integer]) -> MemberVotes:
    return MemberVotes(votes.mass[rows], votes.strange[rows], {k: v[rows] for k, v in votes.signals.items()})


def _accuracy(votes: MemberVotes, truth: NDArray[np.int32]) -> float:
    return float(np.mean((votes.mass.argmax(axis=1) == truth) & (votes.mass.sum(axis=1) > 0)))
