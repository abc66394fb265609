"""Terms by what is typed of their names: names that go on like this first, then those that are alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from celljury.review.views import TermName

if TYPE_CHECKING:
    from celljury.ontology.names import NameIndex

N_FOUND: Final = 12
LONGEST: Final = 200
LEAST_SCORE: Final = 25.0
"""Similar names below it have hardly a word in common with what was typed (of 100; by eye on the Cell Ontology)."""


class Suggestions:
    """Suggestions over all labels and exact synonyms of an ontology."""

    def __init__(self, names: NameIndex) -> None:
        self.names, self.ontology = names, names.ontology
        pairs = zip(self.ontology.labels, self.ontology.synonyms, strict=True)
        self._typed = [
            (f" {name.casefold().replace('-', ' ')}", name, i)
            for i, (label, synonyms) in enumerate(pairs)
            for name in (label, *synonyms)
        ]

    def of(self, text: str, *, call: int = -1, limit: int = N_FOUND) -> tuple[TermName, ...]:
        """Return the terms that a text may mean, best first.

        First what it names, then names with a word that begins like it (labels before synonyms, short before long), then
        similar names. The hint says how the term stands to ``call`` (an index, -1 = none), and by which synonym it was
        found.
        """
        text = text.strip()[:LONGEST]
        if not text:
            return ()
        found: dict[int, str] = {}
        if (match := self.names.lookup(text)) is not None:
            found[match.i_term] = ""
        for i, synonym in self._beginning(text):
            found.setdefault(i, synonym)
        if len(found) < limit:
            for i, score in self.names.search(text, limit=limit):
                if score >= LEAST_SCORE:
                    found.setdefault(i, "")
        return tuple(self._named(i, synonym, call) for i, synonym in list(found.items())[:limit])

    def _beginning(self, text: str) -> list[tuple[int, str]]:
        """Return the terms with a word that begins like the text, each with the synonym that has it, "" = the label."""
        wanted = f" {text.casefold().replace('-', ' ')}"
        labels = self.ontology.labels
        hits = [
            (name != labels[i], at > 0, len(name), name, i)
            for said, name, i in self._typed
            if (at := said.find(wanted)) >= 0
        ]
        return [(i, name if is_synonym else "") for is_synonym, _, _, name, i in sorted(hits)]

    def _named(self, i: int, synonym: str, call: int) -> TermName:
        ontology = self.ontology
        stands = ""
        if call >= 0:
            below, above = ontology.is_ancestor(call, i), ontology.is_ancestor(i, call)
            stands = "the call" if i == call else "below the call" if below else "above the call" if above else ""
        hint = "; ".join(filter(None, [f"also {synonym}" if synonym else "", stands]))
        return TermName(ontology.ids[i], ontology.labels[i], hint)
