"""CellOntology: all live terms as a frozen integer index, ordered so that a first common ancestor is a lowest one."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from celljury.ontology.edges import index_edges
from celljury.ontology.extra import check_extra_terms, extra_terms_sha256
from celljury.ontology.patterns import distinct_rows
from celljury.ontology.unknown import unknown_term_error

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from celljury.ontology.extra import ExtraTerm

ROOT: Final = "CL:0000000"
"""The term 'cell': what everything is."""

# Rows of ancestor tables are combined in chunks of about this many bytes.
CHUNK_BYTES: Final = 32_000_000


@dataclass(frozen=True, slots=True)
class Term:
    """One term, for people: id, label, longest path from the root, bits, terms below it (itself not counted)."""

    id: str
    label: str
    depth: int
    ic: float
    n_descendants: int


@dataclass(frozen=True, slots=True)
class OntologySource:
    """Where an ontology came from; written into every output.

    Attributes
    ----------
    release
        Release date such as ``2026-03-26``, or ``unknown``.
    origin
        ``cellxgene-ontology-guide 1.11.1``, or the name of the file.
    sha256
        Hash of the file's bytes; empty for an ontology built in memory.
    licence
        Of ids and labels.
    extra_terms
        Number of terms merged by the user.
    extra_sha256
        Hash of what these terms say; empty without any.
    """

    release: str
    origin: str
    sha256: str = ""
    licence: str = "CC BY 4.0"
    extra_terms: int = 0
    extra_sha256: str = ""


@dataclass(frozen=True, eq=False)
class CellOntology:
    """The live terms of an ontology and their is_a graph.

    Terms are integers in the reducer's order: information content descending, longest path descending, id ascending.
    Index 0 is a most specific term, every term stands before its ancestors, and so the first common ancestor of some
    terms is a true lowest common ancestor: no common ancestor lies below it. -1 stands for "no term".

    Attributes
    ----------
    ids, labels
        (n_terms,) each.
    synonyms
        Exact synonyms of each term (n_terms,); other scopes are not kept.
    parents_indptr, parents_indices
        Direct is_a parents, CSR int32, rows ascending.
    closure_indptr, closure_indices
        Ancestors with the term itself, CSR int32, rows ascending.
    depth
        Longest path from a root, int32 (n_terms,).
    ic
        Information content in bits, float64 (n_terms,), see `index_edges`.
    n_descendants
        Terms below, without the term itself, int32 (n_terms,).
    replaced
        Alternative and obsolete ids -> the live id that stands for them now.
    obsolete
        Every obsolete id -> its label; those not in ``replaced`` have no live successor.
    subsets
        Subset tag -> ids of its live terms; empty with the guide's releases, which do not carry tags.
    source
        Release, origin, hash and licence.
    """

    ids: tuple[str, ...]
    labels: tuple[str, ...]
    synonyms: tuple[tuple[str, ...], ...]
    parents_indptr: NDArray[np.int32]
    parents_indices: NDArray[np.int32]
    closure_indptr: NDArray[np.int32]
    closure_indices: NDArray[np.int32]
    depth: NDArray[np.int32]
    ic: NDArray[np.float64]
    n_descendants: NDArray[np.int32]
    replaced: Mapping[str, str] = field(repr=False)
    obsolete: Mapping[str, str] = field(repr=False)
    subsets: Mapping[str, tuple[str, ...]] = field(repr=False)
    source: OntologySource

    def __post_init__(self) -> None:
        for array in vars(self).values():
            if isinstance(array, np.ndarray):
                array.flags.writeable = False

    @classmethod
    def from_edges(
        cls,
        labels: Mapping[str, str],
        parents: Mapping[str, Sequence[str]],
        *,
        source: OntologySource,
        synonyms: Mapping[str, Sequence[str]] | None = None,
        replaced: Mapping[str, str] | None = None,
        obsolete: Mapping[str, str] | None = None,
        subsets: Mapping[str, Sequence[str]] | None = None,
    ) -> Self:
        """Return the index over the terms in ``labels``; ``parents`` may leave roots out.

        Raises
        ------
        OntologyError
            If a parent is not a term, or if there is a cycle.
        """
        synonyms = synonyms or {}
        edges = index_edges({term_id: parents.get(term_id, ()) for term_id in labels})
        return cls(
            ids=edges.ids,
            labels=tuple(labels[term_id] for term_id in edges.ids),
            synonyms=tuple(tuple(sorted(set(synonyms.get(term_id, ())))) for term_id in edges.ids),
            parents_indptr=edges.parents_indptr,
            parents_indices=edges.parents_indices,
            closure_indptr=edges.closure_indptr,
            closure_indices=edges.closure_indices,
            depth=edges.depth,
            ic=edges.ic,
            n_descendants=edges.n_descendants,
            replaced=_followed(replaced or {}, live=labels),
            obsolete=dict(sorted((obsolete or {}).items())),
            subsets={tag: tuple(sorted(terms)) for tag, terms in sorted((subsets or {}).items())},
            source=source,
        )

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return f"<CellOntology {self.source.release}, {len(self):,} live terms, from {self.source.origin}>"

    # Ids to integers --------------------------------------------------------------------------------------------

    @cached_property
    def _index_by_id(self) -> dict[str, int]:
        return {term_id: i for i, term_id in enumerate(self.ids)}

    def __contains__(self, term_id: object) -> bool:
        return term_id in self._index_by_id or term_id in self.replaced

    def resolve(self, term_id: str) -> tuple[int, bool]:
        """Return the term's index, and whether ``term_id`` is an alternative or obsolete id that was followed.

        Raises
        ------
        UnknownTermError
            If the id is neither live nor replaced by a live term; near misses are named.
        """
        if (i_term := self._index_by_id.get(term_id)) is not None:
            return i_term, False
        if (successor := self.replaced.get(term_id)) is not None:
            return self._index_by_id[successor], True
        raise unknown_term_error(self, term_id)

    def index(self, term_id: str) -> int:
        """Return the index of a live or replaced id; raises UnknownTermError for any other."""
        return self.resolve(term_id)[0]

    def indices(self, ids: Sequence[str]) -> NDArray[np.int32]:
        """Return the indices of live or replaced ids, int32 (len(ids),); raises UnknownTermError for any other."""
        return np.array([self.index(term_id) for term_id in ids], dtype=np.int32)

    def term(self, i_term: int) -> Term:
        """Return the term at an index."""
        return Term(
            id=self.ids[i_term],
            label=self.labels[i_term],
            depth=int(self.depth[i_term]),
            ic=float(self.ic[i_term]),
            n_descendants=int(self.n_descendants[i_term]),
        )

    # Up and down ------------------------------------------------------------------------------------------------

    @property
    def roots(self) -> NDArray[np.int32]:
        """Terms without parents, int32; the largest first."""
        return np.flatnonzero(np.diff(self.parents_indptr) == 0)[::-1].astype(np.int32)

    def parents(self, i_term: int) -> NDArray[np.int32]:
        """Return the direct is_a parents, int32, most specific first."""
        return self.parents_indices[self.parents_indptr[i_term] : self.parents_indptr[i_term + 1]]

    def children(self, i_term: int) -> NDArray[np.int32]:
        """Return the direct is_a children, int32, most specific first."""
        edges = np.flatnonzero(self.parents_indices == i_term)
        return (np.searchsorted(self.parents_indptr, edges, side="right") - 1).astype(np.int32)

    def ancestors(self, i_term: int, *, include_self: bool = True) -> NDArray[np.int32]:
        """Return the terms above, int32, most specific first; the term itself leads unless it is left out."""
        row = self.closure_indices[self.closure_indptr[i_term] : self.closure_indptr[i_term + 1]]
        return row if include_self else row[1:]

    def descendants(self, i_term: int, *, include_self: bool = True) -> NDArray[np.int32]:
        """Return the terms below, int32, most specific first; the term itself ends the row unless it is left out."""
        indptr, indices = self._below
        row = indices[indptr[i_term] : indptr[i_term + 1]]
        return row if include_self else row[:-1]

    @cached_property
    def _below(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """The closure transposed: descendants with the term itself, CSR int32, rows ascending."""
        rows = np.repeat(np.arange(len(self), dtype=np.int32), np.diff(self.closure_indptr))
        order = np.argsort(self.closure_indices, kind="stable")
        indptr = np.concatenate([[0], np.cumsum(np.bincount(self.closure_indices, minlength=len(self)))])
        return indptr.astype(np.int32), rows[order]

    @cached_property
    def _closure_keys(self) -> NDArray[np.int64]:
        """Pairs (term, ancestor) as ``term * n_terms + ancestor``, ascending."""
        rows = np.repeat(np.arange(len(self), dtype=np.int64), np.diff(self.closure_indptr))
        return rows * len(self) + self.closure_indices

    def is_ancestor(self, a: ArrayLike, b: ArrayLike) -> NDArray[np.bool_]:
        """Return whether ``a`` is at or above ``b``, elementwise with broadcasting; False where either is -1."""
        above, below = np.broadcast_arrays(np.asarray(a, np.int64), np.asarray(b, np.int64))
        keys = self._closure_keys
        wanted = below * len(self) + above
        at = np.minimum(np.searchsorted(keys, wanted), max(keys.size - 1, 0))
        return np.asarray((above >= 0) & (below >= 0) & (keys[at] == wanted), dtype=np.bool_)

    def ancestor_rows(self, indices: ArrayLike) -> NDArray[np.bool_]:
        """Return the closure rows of some terms, bool (len(indices), n_terms): True at each ancestor and at itself."""
        wanted = np.asarray(indices, dtype=np.int64)
        table = np.zeros((wanted.size, len(self)), np.bool_)
        lengths = np.diff(self.closure_indptr)[wanted]
        rows = np.repeat(np.arange(wanted.size), lengths)
        starts = np.repeat(self.closure_indptr[wanted] - np.concatenate([[0], np.cumsum(lengths)[:-1]]), lengths)
        table[rows, self.closure_indices[starts + np.arange(rows.size)]] = True
        return table

    # Lowest common ancestors ------------------------------------------------------------------------------------

    def lca(self, indices: Sequence[int] | NDArray[np.integer[Any]]) -> int:
        """Return the lowest common ancestor of all given terms, or -1 if there is none or no term is given.

        -1 among the terms means missing and is left out.
                All terms are met at once: folding pairwise ancestors goes wrong where a term has several parents.
        """
        wanted = np.unique(np.asarray(indices, dtype=np.int64))
        wanted = wanted[wanted >= 0]
        if wanted.size == 0:
            return -1
        common = self.ancestor_rows(wanted).all(axis=0)
        return int(common.argmax()) if common.any() else -1

    def lca_rows(self, rows: NDArray[np.int32]) -> NDArray[np.int32]:
        """Return the lowest common ancestor of each row, int32 (n_rows,).

        Parameters
        ----------
        rows
            Terms, int32 (n_rows, k); -1 = missing and left out of its row.

        Returns
        -------
        int32 (n_rows,); -1 where a row has no term at all, or where its terms have no common ancestor.
        """
        n_rows, width = rows.shape
        if n_rows == 0 or width == 0:
            return np.full(n_rows, -1, np.int32)
        ordered = np.sort(rows, axis=1)
        first, which = distinct_rows(ordered)
        patterns = ordered[first]
        used = np.unique(patterns[patterns >= 0])
        # Only ancestors of the terms in use can be an answer; their order stays the reducer's.
        above = self.ancestor_rows(used)
        columns = np.flatnonzero(above.any(axis=0)).astype(np.int32)
        # The last row belongs to a missing term and rules nothing out.
        table = np.vstack([above[:, columns], np.ones((1, columns.size), np.bool_)])
        codes = np.where(patterns >= 0, np.searchsorted(used, patterns), used.size)
        result = np.full(len(patterns), -1, np.int32)
        step = max(1, CHUNK_BYTES // max(1, columns.size))
        for start in range(0, len(patterns) if columns.size else 0, step):
            chunk = codes[start : start + step]
            common = table[chunk[:, 0]]
            for column in chunk.T[1:]:
                common &= table[column]
            found = common.any(axis=1) & (chunk < used.size).any(axis=1)
            result[start : start + step] = np.where(found, columns[common.argmax(axis=1)], np.int32(-1))
        return result[which]

    # Other shapes -----------------------------------------------------------------------------------------------

    def with_terms(self, extra: Sequence[ExtraTerm]) -> Self:
        """Return a new ontology with a user's extra terms merged; this one stays as it is.

        Raises
        ------
        OntologyError
            If an id or name is taken, a parent is unknown, or the terms form a cycle.
        """
        terms = {term_id: self.labels[i] for term_id, i in self._index_by_id.items()}
        synonyms = dict(zip(self.ids, self.synonyms, strict=True))
        names = {name.casefold(): term_id for term_id, row in synonyms.items() for name in row}
        names |= {label.casefold(): term_id for term_id, label in terms.items()}
        taken = {old: f"{new} {terms[new]}" for old, new in self.replaced.items()} | dict(self.obsolete) | terms
        check_extra_terms(extra, known_ids=taken, known_names=names)
        parents: dict[str, Sequence[str]] = {
            term_id: [self.ids[p] for p in self.parents(i)] for term_id, i in self._index_by_id.items()
        }
        for term in extra:
            terms[term.id] = term.label
            synonyms[term.id] = term.synonyms
            parents[term.id] = [self.replaced.get(parent, parent) for parent in term.parents]
        source = replace(
            self.source,
            extra_terms=self.source.extra_terms + len(extra),
            extra_sha256=extra_terms_sha256(extra, before=self.source.extra_sha256),
        )
        return self.from_edges(
            terms,
            parents,
            source=source,
            synonyms=synonyms,
            replaced=self.replaced,
            obsolete=self.obsolete,
            subsets=self.subsets,
        )

    def to_networkx(self) -> Any:
        """Return a ``networkx.DiGraph`` of ids: edges from child to parent, labels in the node attribute ``label``."""
        import networkx as nx

        graph = nx.DiGraph(release=self.source.release)
        graph.add_nodes_from((term_id, {"label": label}) for term_id, label in zip(self.ids, self.labels, strict=True))
        children = np.repeat(np.arange(len(self)), np.diff(self.parents_indptr))
        graph.add_edges_from((self.ids[c], self.ids[p]) for c, p in zip(children, self.parents_indices, strict=True))
        return graph


def _followed(replaced: Mapping[str, str], *, live: Mapping[str, str]) -> dict[str, str]:
    """Return alternative and obsolete ids whose chain of successors ends at a live term, with that term's id."""
    final = {}
    for old in sorted(replaced):
        seen, new = {old}, replaced[old]
        while new not in live and new in replaced and new not in seen:
            seen.add(new)
            new = replaced[new]
        if new in live and old not in live:
            final[old] = new
    return final
