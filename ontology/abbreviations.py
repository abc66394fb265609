"""Author labels rewritten before a search: notation made even, abbreviations expanded from a table."""

from __future__ import annotations

import csv
import re
import unicodedata
from functools import cache
from importlib.resources import files
from typing import Final

# Letters as immunology writes them, under the names that the Cell Ontology spells out.
GREEK: Final = {
    unicodedata.lookup(f"GREEK SMALL LETTER {name}"): name
    for name in ("alpha", "beta", "gamma", "delta", "epsilon", "kappa")
}

# A minus that ends a word says "negative" (CD25- naive); between letters it is a hyphen (T-cell).
_MINUS = re.compile(r"(?<=[^\W_])[-\u2212\u2013](?=$|[\s,;/)\]])")
# A prime that ends a word tells terms apart (Bm2 and Bm2' B cell); after an s it is a genitive.
_PRIME = re.compile(r"(?<=[^\W_sS])['\u2019\u2032](?=$|[\s,;/)\]])")
_SEPARATORS = re.compile(r"[\W_]+")

# At most this many readings of one label are searched, so that a label made of ambiguous abbreviations stays cheap.
MAX_READINGS: Final = 8


def normalized(text: str) -> str:
    """Return a name with case, white space and punctuation made even, e.g. ``CD14+_Mono`` -> ``cd14 positive mono``.

    Plus and a closing minus are words, not punctuation: CD4+ and CD4- stay apart.
    """
    even = unicodedata.normalize("NFKC", text).casefold()
    for letter, name in GREEK.items():
        even = even.replace(letter, name)
    even = _PRIME.sub(" prime ", even)
    even = _MINUS.sub(" negative ", even.replace("+", " positive "))
    return _SEPARATORS.sub(" ", even).strip()


def words(text: str) -> tuple[str, ...]:
    """Return the words of a name for comparing: normalized, singular, without ``positive`` and ``of``."""
    return tuple(_singular(word) for word in normalized(text).split() if word not in {"positive", "of", "the", "and"})


def _singular(word: str) -> str:
    plural = len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is"))
    return word[:-1] if plural else word


@cache
def abbreviations() -> tuple[tuple[frozenset[str], tuple[str, ...]], ...]:
    """Return the shipped table: words of an abbreviation -> its expansions; abbreviations of more words first."""
    text = files("celljury.data").joinpath("abbreviations.tsv").read_text(encoding="utf-8")
    table: dict[frozenset[str], list[str]] = {}
    for row in csv.DictReader(text.splitlines(), delimiter="\t"):
        table.setdefault(frozenset(words(row["abbreviation"])), []).append(row["expansion"])
    return tuple((key, tuple(table[key])) for key in sorted(table, key=len, reverse=True))


def readings(text: str) -> tuple[tuple[str, ...], ...]:
    """Return what a label may stand for, as words: with its abbreviations expanded, and as it is written.

    The abbreviation with the most words goes first and its words are used up, in any order: ``T_CD4`` and ``CD4 T``
    are the same label. An abbreviation with several meanings gives several readings.
    """
    written = words(text)
    variants: list[tuple[str, ...]] = [()]
    left = set(written)
    for key, expansions in abbreviations():
        if key <= left:
            left -= key
            variants = [before + words(expansion) for before in variants for expansion in expansions][:MAX_READINGS]
    rest = tuple(word for word in written if word in left)
    return tuple(dict.fromkeys([*(variant + rest for variant in variants), written]))
