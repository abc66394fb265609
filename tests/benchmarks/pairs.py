"""Real (reference, query) pairs with known truth: the reported ones, and others to judge default choices on.

The reported pairs (P1-P4, U1-U5) are what the project is measured by, so no setting may be chosen on them; the cross
pairs (``X-``) are for that. All read ``../shared/data``, which is not part of the repository: see its README for sources.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypedDict

import anndata as ad
import numpy as np

from celljury.ontology.load import load_ontology

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from celljury.ontology.graph import CellOntology

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
TRUTH = "cell_type_ontology_term_id"

B_CELL, CD8_T, NK_CELL = "CL:0000236", "CL:0000625", "CL:0000623"
MONOCYTES = ("CL:0001054", "CL:0000875")  # CD14-positive, non-classical


class Facts(TypedDict):
    """What a benchmark needs to know of a pair besides its cells; genes and cells are counts.

    ``batch`` and ``donor`` are the columns to pass to fit, ``query_batch`` the one for annotate; None where there is only
    one level. Every query type is either seen (at or below a term of the reference), coarser (above one: right calls are
    deeper than the truth) or unseen (neither). ``parents`` gives each unseen type the most informative term above it that
    is also above a type of the reference: the node that a call ``unseen@...`` should name.
    """

    name: str
    n_reference: int
    n_query: int
    n_shared_genes: int
    batch: str | None
    donor: str | None
    query_batch: str | None
    unseen_terms: tuple[str, ...]
    coarser_terms: tuple[str, ...]
    parents: dict[str, str]
    n_unseen: int


Made = tuple[ad.AnnData, ad.AnnData, Facts]


class Cells(NamedTuple):
    """Part of a file: its cells of some batches, all of them if none is named."""

    file: str
    batches: tuple[str, ...] = ()

    def read(self, folder: Path) -> ad.AnnData:
        found = ad.read_h5ad(folder / f"{self.file}.h5ad")
        if not self.batches:
            return found
        if missing := set(self.batches) - set(found.obs["batch"]):
            message = f"{self.file}: expected batches {sorted(self.batches)}, found none of {sorted(missing)}"
            raise ValueError(message)
        return found[found.obs["batch"].isin(self.batches).to_numpy()].copy()


def without_types(cells: ad.AnnData, terms: Collection[str], ontology: CellOntology | None = None) -> ad.AnnData:
    """Return a copy without the cells whose true term is at or below one of ``terms``."""
    ontology = ontology or load_ontology()
    types = cells.obs[TRUTH].astype(str)
    left_out = {term for term in set(types) if any(_at_or_below(term, above, ontology) for above in terms)}
    if not left_out and terms:
        message = f"no cell is of {', '.join(terms)}; its types are {', '.join(sorted(set(types)))}"
        raise ValueError(message)
    return cells[~types.isin(left_out).to_numpy()].copy()


def facts_of(name: str, reference: ad.AnnData, query: ad.AnnData, ontology: CellOntology | None = None) -> Facts:
    """Return what is known of a pair from its labels, genes and the ontology."""
    ontology = ontology or load_ontology()
    learned = sorted(set(reference.obs[TRUTH].astype(str)))
    truth = query.obs[TRUTH].astype(str)
    deeper = [term for term in sorted(set(truth)) if not any(_at_or_below(term, known, ontology) for known in learned)]
    coarser = tuple(term for term in deeper if any(_at_or_below(known, term, ontology) for known in learned))
    unseen = tuple(term for term in deeper if term not in coarser)
    above_learned = ontology.ancestor_rows(ontology.indices(learned)).any(axis=0)
    return {
        "name": name,
        "n_reference": reference.n_obs,
        "n_query": query.n_obs,
        "n_shared_genes": len(reference.var_names.intersection(query.var_names)),
        "batch": _column("batch", reference),
        "donor": _column("donor", reference),
        "query_batch": _column("batch", query),
        "unseen_terms": unseen,
        "coarser_terms": coarser,
        "parents": {term: _first_above(term, above_learned, ontology) for term in unseen},
        "n_unseen": int(truth.isin(unseen).sum()),
    }


def make_pair(
    name: str,
    reference: Cells,
    query: Cells,
    *,
    without: Collection[str] = (),
    n_shared_kept: int | None = None,
    folder: Path = SHARED,
) -> Made:
    """Return (reference, query, facts).

    Parameters
    ----------
    without
        Terms whose cells (at or below) the reference loses; the query keeps them.
    n_shared_kept
        Keep only so many genes in the query: drawn at random (seed 0) of those that the reference shares, in the query's
        order. At random, because what a panel or an old chip measures is not what is highest.
    folder
        Where the files of ``../shared/data`` are.
    """
    ontology = load_ontology()
    left, right = reference.read(folder), query.read(folder)
    if without:
        left = without_types(left, without, ontology)
    if n_shared_kept is not None:
        shared = np.flatnonzero(right.var_names.isin(left.var_names))
        kept = np.random.default_rng(0).choice(shared, n_shared_kept, replace=False)
        right = right[:, np.sort(kept)].copy()
    return left, right, facts_of(name, left, right, ontology)


def _at_or_below(term: str, above: str, ontology: CellOntology) -> bool:
    return bool(ontology.is_ancestor(ontology.index(above), ontology.index(term)))


def _first_above(term: str, among: np.ndarray, ontology: CellOntology) -> str:
    """Return the most informative ancestor of ``term`` for which ``among`` (bool, a term each) holds."""
    above = ontology.ancestors(ontology.index(term))
    return ontology.ids[above[among[above]][0]]


def _column(name: str, cells: ad.AnnData) -> str | None:
    return name if cells.obs[name].nunique() > 1 else None


def _registry(pairs: Iterable[partial[Made]]) -> dict[str, Callable[..., Made]]:
    return {pair.args[0]: pair for pair in pairs}


SYMPHONY, KANG, PBMC3K, BARON = "pbmc_symphony_3tech", "pbmc_kang_ctrl", "pbmc3k_clustifyr", "pancreas_baron_cider175"
TECHNOLOGIES = ("3pv1", "3pv2", "5p")
_THREE_PRIME, _FIVE_PRIME = Cells(SYMPHONY, ("3pv1", "3pv2")), Cells(SYMPHONY, ("5p",))
_DONOR_101, _DONOR_107 = Cells(KANG, ("ctrl101",)), Cells(KANG, ("ctrl107",))

REPORTED: dict[str, Callable[..., Made]] = _registry([
    partial(make_pair, "P1", _THREE_PRIME, _FIVE_PRIME),
    partial(make_pair, "P2", _DONOR_101, _DONOR_107),
    partial(make_pair, "P3", Cells(SYMPHONY), Cells(PBMC3K)),
    partial(make_pair, "P4", Cells(BARON, ("human1", "human2")), Cells(BARON, ("human3", "human4"))),
    partial(make_pair, "U1", _THREE_PRIME, _FIVE_PRIME, without=(NK_CELL,)),
    partial(make_pair, "U2", _THREE_PRIME, _FIVE_PRIME, without=(B_CELL,)),
    partial(make_pair, "U3", _DONOR_101, _DONOR_107, without=(B_CELL,)),
    partial(make_pair, "U4", _THREE_PRIME, _FIVE_PRIME, without=(CD8_T,)),
    partial(make_pair, "U5", _THREE_PRIME, _FIVE_PRIME, without=MONOCYTES),
])  # fmt: skip

CROSS: dict[str, Callable[..., Made]] = _registry([
    *(partial(make_pair, f"X-{a}-{b}", Cells(SYMPHONY, (a,)), Cells(SYMPHONY, (b,)))
      for a in TECHNOLOGIES for b in TECHNOLOGIES if a != b),
    partial(make_pair, "X-3pv1+5p-3pv2", Cells(SYMPHONY, ("3pv1", "5p")), Cells(SYMPHONY, ("3pv2",))),
    partial(make_pair, "X-3pv2+5p-3pv1", Cells(SYMPHONY, ("3pv2", "5p")), Cells(SYMPHONY, ("3pv1",))),
    partial(make_pair, "X-kang107-kang101", _DONOR_107, _DONOR_101),
    partial(make_pair, "X-symphony-kang", Cells(SYMPHONY), Cells(KANG)),
    partial(make_pair, "X-pbmc3k-symphony", Cells(PBMC3K), Cells(SYMPHONY)),
    partial(make_pair, "X-kang-pbmc3k", Cells(KANG), Cells(PBMC3K)),
    partial(make_pair, "X-pbmc3k-kang", Cells(PBMC3K), Cells(KANG)),
])  # fmt: skip

# P3 as a panel would see it: little of what the reference measured.
FEW_GENES: dict[str, Callable[..., Made]] = _registry(
    [partial(make_pair, "P3-200", Cells(SYMPHONY), Cells(PBMC3K), n_shared_kept=200)]
)

PAIRS: dict[str, Callable[..., Made]] = REPORTED | FEW_GENES | CROSS
