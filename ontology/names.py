"""From a text to a term: exact by id, label or synonym; suggestions, never decisions, by similarity."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from celljury.ontology.abbreviations import normalized, readings, words

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from celljury.ontology.graph import CellOntology

How = Literal["id", "replaced_id", "label", "synonym"]

# Ids as people paste them: CL_0000084, cl:0000084, http://purl.obolibrary.org/obo/CL_0000084.
_ID = re.compile(r"(?:https?://purl\.obolibrary\.org/obo/)?([A-Za-z][A-Za-z0-9]*)[:_]([0-9]+)")

# Part of shared words in a suggestion's score; the rest is the similarity of the spelling. Measured on the 445 distinct
# rows of the pan-human Azimuth crosswalk, to which five abbreviations of the table are owed: flat between 0.6 and 0.8,
# lower at both ends. At 0.7 the right term is among the first three for 174 of 192 exact and 175 of 253 narrow rows.
WORD_SHARE: Final = 0.7

# The highest score of a suggestion; 100 is kept for a text that names the term exactly.
BELOW_EXACT: Final = 99.0


@dataclass(frozen=True, slots=True)
class Match:
    """A term that a text names exactly, and by what: ``id``, ``replaced_id``, ``label`` or ``synonym``."""

    i_term: int
    how: How


class NameIndex:
    """All names of an ontology's live terms: ids, labels, exact synonyms.

    Parameters
    ----------
    ontology
        Its labels and exact synonyms are indexed once; look-ups are then dictionary reads.
    """

    def __init__(self, ontology: CellOntology) -> None:
        self.ontology = ontology
        self._by_label = _single_holders([(label,) for label in ontology.labels])
        self._by_synonym = _single_holders(ontology.synonyms)

    def lookup(self, text: str) -> Match | None:
        """Return the term that ``text`` names exactly, or None.

        Labels and synonyms are compared without regard to case, white space and punctuation (see `normalized`). A
        label beats a synonym; a name that two terms carry names none of them.
        """
        if (match := self._by_id(text.strip())) is not None:
            return match
        name = normalized(text)
        if not name:
            return None
        if (i_term := self._by_label.get(name)) is not None:
            return Match(i_term, "label") if i_term >= 0 else None
        if (i_term := self._by_synonym.get(name, -1)) >= 0:
            return Match(i_term, "synonym")
        return None

    def _by_id(self, text: str) -> Match | None:
        candidates = [text]
        if found := _ID.fullmatch(text):
            candidates.append(f"{found[1].upper()}:{found[2]}")
        for term_id in candidates:
            if term_id in self.ontology:
                i_term, followed = self.ontology.resolve(term_id)
                return Match(i_term, "replaced_id" if followed else "id")
        return None

    def search(self, text: str, *, limit: int = 10) -> list[tuple[int, float]]:
        """Return the nearest terms with their scores (0-100, higher is nearer), best first.

        Abbreviations are expanded (data/abbreviations.tsv). The score joins the words in common, rare ones counting
        more, with the similarity of the spelling; a term is as near as the nearest of its names. An exact match leads
        with 100. These are suggestions for a person: nothing is mapped by them.
        """
        from rapidfuzz import fuzz, process

        best = np.zeros(len(self.ontology))
        for reading in readings(text):
            if not reading:
                continue
            query = " ".join(sorted(reading))
            spelling = process.cdist([query], self._names.spelled, scorer=fuzz.ratio, dtype=np.float32)[0]
            score = WORD_SHARE * 100 * self._names.shared_words(reading) + (1 - WORD_SHARE) * spelling
            np.maximum.at(best, self._names.i_term, np.minimum(score, BELOW_EXACT))
        if (match := self.lookup(text)) is not None:
            best[match.i_term] = 100.0
        # Equal scores: the more general term first, then the id, so that the answer is the same on every machine.
        order = np.lexsort((-np.arange(best.size), -np.round(best, 6)))[:limit]
        return [(int(i), float(best[i])) for i in order if best[i] > 0]

    @cached_property
    def _names(self) -> _WordIndex:
        return _WordIndex(self.ontology)


class _WordIndex:
    """Every label and synonym as a bag of words, with an inverted index from word to names."""

    def __init__(self, ontology: CellOntology) -> None:
        bags = []
        holders = []
        for i_term, (label, synonyms) in enumerate(zip(ontology.labels, ontology.synonyms, strict=True)):
            for bag in dict.fromkeys(tuple(sorted(set(words(name)))) for name in (label, *synonyms)):
                bags.append(bag)
                holders.append(i_term)
        self.i_term: NDArray[np.int64] = np.array(holders, dtype=np.int64)
        self.spelled = [" ".join(bag) for bag in bags]
        holding: dict[str, list[int]] = {}
        for i_name, bag in enumerate(bags):
            for word in bag:
                holding.setdefault(word, []).append(i_name)
        self._names_with = {word: np.array(names) for word, names in holding.items()}
        self._n_names = len(bags)
        self._weight_of_name = np.array([sum(self._weight(word) for word in bag) for bag in bags])

    def _weight(self, word: str) -> float:
        """Rare words say more: inverse document frequency over names."""
        return float(np.log1p(self._n_names / (1 + len(self._names_with.get(word, ())))))

    def shared_words(self, reading: tuple[str, ...]) -> NDArray[np.float64]:
        """Return the weighted Dice overlap of a reading with every name, float64 (n_names,), 0-1."""
        asked = set(reading)
        shared = np.zeros(self._n_names)
        for word in asked & self._names_with.keys():
            shared[self._names_with[word]] += self._weight(word)
        total = self._weight_of_name + sum(self._weight(word) for word in asked)
        return np.asarray(2 * shared / total)


def _single_holders(names: list[tuple[str]] | tuple[tuple[str, ...], ...]) -> dict[str, int]:
    """Return normalized name -> the one term that carries it, or -1 where several do."""
    pairs = {(normalized(name), i_term) for i_term, row in enumerate(names) for name in row}
    shared = Counter(name for name, _ in pairs)
    return {name: i_term if shared[name] == 1 else -1 for name, i_term in pairs if name}
