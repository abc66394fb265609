"""Calls, outcomes and events in words."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from celljury.errors import UnknownTermError
from celljury.review.events import Action, Outcome, steps_of
from celljury.review.pack import CLUSTER
from celljury.review.views import Sentence

if TYPE_CHECKING:
    from celljury.ontology.graph import CellOntology
    from celljury.review.events import Event

_BREAK: Final = re.compile(r"(?<=[.!?]) (?=[A-Z])")
# A lead is a clause that a number or a list follows; a colon far into a sentence ends no lead.
_LEAD: Final = re.compile(r"(?P<lead>[^:]{3,70}): (?P<rest>.+)", re.DOTALL)

_DID: Final = {
    Action.ACCEPT: "accepted",
    Action.UP: "went one step up to",
    Action.CHOOSE: "chose",
    Action.UNSEEN: "marked as",
    Action.SETTLE: "settled as",
}


def label_of(term: str, ontology: CellOntology) -> str:
    """Return a term's label; the id itself where the ontology does not know it, as in decisions of earlier releases."""
    try:
        return ontology.labels[ontology.index(term)] if term else ""
    except UnknownTermError:
        return term


def call_name(label: str, status: str) -> str:
    """Return what a call or outcome says of cells."""
    if status == "unseen":
        return f"unseen under {label}" if label else "unseen"
    if status == "unresolved":
        return f"unresolved at {label}" if label else "unresolved"
    return label or "no term"


def outcome_of_call(term: str, status: str) -> Outcome:
    """Return what accepting a call says: a call that was backed off from a deeper one is as good as any other."""
    return Outcome(term, status if status in ("unseen", "unresolved") else "resolved")


def outcome_above(parent: str, status: str) -> Outcome:
    """Return what going up to ``parent`` says of cells with a call of this status: unseen ones stay so."""
    return Outcome(parent, "unseen" if status == "unseen" else "resolved")


def outcome_name(outcome: Outcome, ontology: CellOntology) -> str:
    """Return an outcome in words."""
    return call_name(label_of(outcome.term, ontology), outcome.status)


def part_name(part_id: str) -> str:
    """Return which part of its item an id is, as "part 1 by cluster"; "" for a whole item."""
    return ", ".join(f"{'AB'[int(side)]} by {by}" for by, side in steps_of(part_id))


def what_splits(by: str) -> str:
    """Return what tells the two parts of a split apart."""
    if by == CLUSTER:
        return "two clusters of expression: A and B"
    return f"{by}: A is unsure, B is surer than on average"


def what(event: Event, ontology: CellOntology) -> str:
    """Return what an event did, as in "accepted T cell"."""
    if event.after is not None:
        return f"{_DID[event.action]} {outcome_name(event.after, ontology)}"
    if event.action is Action.SPLIT:
        return f"split by {event.by}"
    if event.action is Action.NOTE:
        return "wrote a note"
    return {Action.SKIP: "skipped", Action.UNDO: f"undid event {event.undoes}"}.get(event.action, str(event.action))


def sentences_of(text: str) -> tuple[Sentence, ...]:
    """Return the sentences of an item, each with the words before its first colon apart."""
    found = []
    for said in _BREAK.split(text.strip()) if text.strip() else ():
        match = _LEAD.fullmatch(said)
        found.append(Sentence(match["lead"], match["rest"]) if match else Sentence("", said))
    return tuple(found)


def capital(text: str) -> str:
    """Return a text with a capital first letter."""
    return text[:1].upper() + text[1:]
