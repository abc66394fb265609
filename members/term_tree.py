"""A tree over the reference's terms, cut from the Cell Ontology's graph: what a hierarchical classifier walks down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from celljury.ontology.general import too_general

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celljury.ontology.graph import CellOntology

TOP: Final = ""  # the term of a root that stands for no term at all


@dataclass(frozen=True, slots=True)
class TermTree:
    """Terms in a tree, every node after its parent.

    Attributes
    ----------
    terms
        Cell Ontology id of each node; the root comes first and is `TOP`, or the reference's own term where that is
        above all others.
    parents
        Each node's parent as an index into ``terms``; -1 for the root.
    """

    terms: tuple[str, ...]
    parents: tuple[int, ...]

    def beside(self, known: Sequence[str]) -> tuple[str, ...]:
        """Return the terms of the tree that are not among ``known``, in its order; `TOP` is left out."""
        return tuple(term for term in self.terms if term not in {*known, TOP})


def term_tree(terms: Sequence[str], ontology: CellOntology) -> TermTree:
    """Return the tree over a reference's terms and those above that tell them apart.

    In the ontology a term may have several parents; here each has one: the most informative term above it that is also
    one of the reference's, or above more of them. Terms that are too general to be a label are passed over
    (`celljury.ontology.general`). A node that is none of the reference's terms and has a single child gives way to it.
    A term that the ontology does not know hangs on the root.

    Parameters
    ----------
    terms
        Cell Ontology ids of the reference, at least one, each once.
    ontology
        Where they stand.
    """
    index = {ontology.index(term): term for term in terms if term in ontology}
    loose = sorted(set(terms) - set(index.values()))
    parent = _parents(sorted(index), ontology)
    children: dict[int, list[int]] = {}
    for below in sorted(parent, reverse=True):  # general terms first: children of a node in one order, whatever came in
        children.setdefault(parent[below], []).append(below)
    named: list[str] = [TOP]
    parents: list[int] = [-1]

    def hang(node: int, under: int) -> None:
        below = children.get(node, [])
        if node not in index and len(below) == 1:
            hang(below[0], under)
            return
        named.append(index.get(node, ontology.ids[node]))
        parents.append(under)
        here = len(named) - 1
        for one in below:
            hang(one, here)

    for node in children.get(-1, []):
        hang(node, 0)
    named += loose  # last, in the order of their ids
    parents += [0] * len(loose)
    return _without_lone_top(named, parents, known=set(terms))


def _parents(known: list[int], ontology: CellOntology) -> dict[int, int]:
    """Return the parent of every node in use, -1 = the root; ``known`` are the reference's terms, ascending."""
    above = ontology.ancestor_rows(known)
    n_below = above.sum(axis=0)
    own = np.zeros(len(ontology), np.bool_)
    own[known] = True
    usable = own | ~too_general(ontology)
    parent: dict[int, int] = {}
    waiting = list(known)
    while waiting:
        node = waiting.pop()
        if node in parent:
            continue
        over = ontology.ancestors(node, include_self=False)
        over = over[usable[over] & (own[over] | (n_below[over] > n_below[node]))]
        parent[node] = int(over[0]) if over.size else -1
        if over.size:
            waiting.append(int(over[0]))
    return parent


def _without_lone_top(named: list[str], parents: list[int], *, known: set[str]) -> TermTree:
    """Let a root's only child take its place: nothing could be learned from a choice of one."""
    while parents.count(0) == 1:
        only = parents.index(0)
        named[0] = named[only] if named[only] in known else TOP
        parents = [0 if above == only else above for above in parents]
        del named[only], parents[only]
        parents = [above - (above > only) for above in parents]
        if named[0] != TOP:  # its own cells are what its children are told from
            break
    return TermTree(tuple(named), tuple(parents))
