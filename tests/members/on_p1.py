"""A member on real cells from end to end: 10x 3' v1 and v2 as the reference, 5' as the query (pair P1)."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.sparse import csr_matrix
from sklearn.metrics import f1_score

from celljury.members.arrays import load_arrays
from celljury.members.base import Block, Member, MemberVotes, Reference
from celljury.members.checks import FRESH, write_block

if TYPE_CHECKING:
    from collections.abc import Callable

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


@dataclass(frozen=True)
class Found:
    """What a member did on P1: its fit, its votes, and how right its top terms are (an abstention is wrong)."""

    member: Member
    votes: MemberVotes
    accuracy: float
    macro_f1: float


@cache
def p1() -> tuple[Reference, Block, np.ndarray]:
    """Return the reference (770 cells, 1,767 genes), the query (430 cells) and the query's true terms as indices."""
    if not SHARED.is_dir():
        pytest.skip("needs ../shared/data (real data sets that are not part of the repository)")
    import anndata

    cells = anndata.read_h5ad(SHARED / "pbmc_symphony_3tech.h5ad")
    batch = cells.obs["batch"].astype(str).to_numpy()
    term = cells.obs["cell_type_ontology_term_id"].astype(str).to_numpy()
    known, new = np.flatnonzero(batch != "5p"), np.flatnonzero(batch == "5p")
    terms, label = np.unique(term[known], return_inverse=True)
    genes = tuple(cells.var_names)

    def block(rows: np.ndarray) -> Block:
        names, codes = np.unique(batch[rows], return_inverse=True)
        counts = csr_matrix(cells.X[rows], dtype=np.float32)
        return Block(counts, genes, np.ones(len(genes), np.bool_), codes.astype(np.int32), tuple(names))

    return (
        Reference(block(known), label.astype(np.int32), tuple(terms.tolist())),
        block(new),
        np.searchsorted(terms, term[new]),
    )


def end_to_end(make: Callable[[], Member], cells: Callable[[], tuple[Reference, Block, np.ndarray]] = p1) -> Found:
    """Fit, adapt, vote, save, load where nothing of the fit is left, and hold the same votes.

    ``cells`` gives the reference, the query and its true terms where they are not those of `p1`.
    """
    reference, query, truth = cells()
    member = make().fit(reference).adapt(query)
    votes = member.predict(query)
    kind = type(member)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        member.save(folder / "member")
        write_block(folder / "query.npz", query)
        done = subprocess.run(
            [sys.executable, "-c", FRESH, kind.__module__, kind.__qualname__, str(folder)],
            capture_output=True, text=True, check=False, env={**os.environ},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        again = load_arrays(folder / "votes.npz")
    assert_allclose(again["mass"], votes.mass, atol=1e-4)
    assert_allclose(again["strange"], votes.strange, atol=1e-2, rtol=1e-2)
    top = np.where(votes.mass.sum(axis=1) > 0, votes.mass.argmax(axis=1), -1)
    macro = f1_score(truth, top, labels=np.unique(truth), average="macro", zero_division=0)
    return Found(member, votes, float(np.mean(top == truth)), float(macro))
