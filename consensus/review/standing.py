"""What a drawing of an item's votes shows: which terms matter, who stands where, and the same in sentences."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from math import isfinite
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from celljury.ontology.graph import CellOntology

# Votes, call and candidates are always drawn; meeting points of single pairs only up to so many nodes.
MOST_NODES = 14
GENERAL = 2  # ancestors drawn above all others


@dataclass(frozen=True, slots=True)
class Standing:
    """One item's votes and call, as the drawing needs them.

    Attributes
    ----------
    term
        Index of the call, -1 = none; for ``unseen`` the term under which the cells are new.
    status
        ``resolved``, ``backed_off``, ``unresolved`` or ``unseen``.
    top_term
        Best term before the walk, -1 = none.
    camps
        The most general votes of the two largest camps, at most two.
    votes
        Term by member; -1 = it gave no vote.
    shares
        Each member's own probability of its vote at or below the call, 0-1; missing or NaN = not known.
    n_votes
        Votes cast.
    support, threshold
        Of the call, 0-1; NaN or None = not known.
    """

    term: int
    status: str
    top_term: int
    camps: tuple[int, ...]
    votes: Mapping[str, int]
    shares: Mapping[str, float]
    n_votes: int
    support: float
    threshold: float | None

    def members(self, term: int) -> list[str]:
        """Return who voted for a term."""
        return [name for name, vote in self.votes.items() if vote == term]

    def camp(self, term: int, ontology: CellOntology) -> int | None:
        """Return the camp of a term that only one of two has at or below, or above, it: 0 or 1, else None."""
        related = [bool(ontology.is_ancestor(c, term) or ontology.is_ancestor(term, c)) for c in self.camps]
        return related.index(True) if term >= 0 and sum(related) == 1 else None


def drawn_terms(ontology: CellOntology, standing: Standing, candidates: Sequence[int]) -> list[int]:
    """Return the terms that matter, most specific first: votes, where they meet, call, candidates, two terms above all."""
    voted = sorted({t for t in standing.votes.values() if t >= 0})
    needed = {*voted, *candidates, *(t for t in (standing.term, standing.top_term) if t >= 0)}
    if not needed:
        return []
    meet = ontology.lca(sorted(needed))
    needed |= {meet} if meet >= 0 else set()
    # Of many meeting points those that the most votes lie below are kept.
    points = sorted({ontology.lca(pair) for pair in combinations(voted, 2)} - needed - {-1}, reverse=True)
    found = needed | set(points[: max(MOST_NODES - GENERAL - len(needed), 0)])
    above = ontology.ancestors(meet, include_self=False)[:GENERAL].tolist() if meet >= 0 else []
    return sorted({*found, *above})


def words(ontology: CellOntology, standing: Standing) -> str:
    """Return the drawing in sentences: the call, the votes by term, who gave none, and where the votes meet."""

    def named(term: int) -> str:
        return f"{ontology.labels[term]} ({ontology.ids[term]})"

    def voters(term: int) -> str:
        return ", ".join(f"{name}{share_text(standing.shares.get(name), ' with ')}" for name in standing.members(term))

    said = [f"{_proposal(standing, named)}."]
    terms = sorted({t for t in standing.votes.values() if t >= 0}, key=lambda t: (-len(standing.members(t)), t))
    said += [f"{len(standing.members(t))} of {standing.n_votes} votes for {named(t)}: {voters(t)}." for t in terms]
    if none := standing.members(-1):
        said.append(f"No vote from {', '.join(none)}.")
    if len(terms) > 1:
        meet = ontology.lca(terms)
        said.append(f"All votes meet at {named(meet)}." if meet >= 0 else "The votes meet at no term.")
    if len(standing.camps) == 2:
        said.append(f"Camp A is {named(standing.camps[0])}, camp B is {named(standing.camps[1])}.")
    return " ".join([*said, *notes(ontology, standing)])


def _proposal(standing: Standing, named: Callable[[int], str]) -> str:
    if standing.status == "unseen":
        return (
            f"Proposed: unseen under {named(standing.term)}" if standing.term >= 0 else "Proposed: unseen, near no type"
        )
    if standing.term < 0:
        return "No term is proposed"
    support = share_text(standing.support, ", support ", threshold=standing.threshold)
    return f"Proposed: {named(standing.term)}, {standing.status.replace('_', ' ')}{support}"


def notes(ontology: CellOntology, standing: Standing) -> list[str]:
    """Return what is to be said of the call beyond its place: how far above the likeliest term it stops."""
    if standing.status == "unseen" or standing.term < 0 or standing.top_term < 0 or standing.term == standing.top_term:
        return []
    bits = ontology.ic[standing.top_term] - ontology.ic[standing.term]
    if bits <= 0:
        return []
    return [f"The call stops {bits:.1f} bits above the likeliest term, {ontology.labels[standing.top_term]}."]


def share_text(value: float | None, before: str, *, threshold: float | None = None) -> str:
    """Return a share after some words, with its threshold where there is one; empty where it is not known."""
    if value is None or not isfinite(value):
        return ""
    if threshold is None or not isfinite(threshold):
        return f"{before}{value:.2f}"
    return f"{before}{value:.2f} {'≥' if value >= threshold else '<'} {threshold:.2f}"
