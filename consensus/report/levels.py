"""Levels that tables count at: every called term, or the terms of a slim; each term has one place, also with two parents."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from celljury.errors import ConfigError, UnreadableFileError
from celljury.ontology.slims import CURATED, load_slim, other_places

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from celljury.ontology.graph import CellOntology
    from celljury.ontology.slims import Slim

TERM: Final = "term"
"""The level without a slim."""

DEFAULT_LEVELS: Final = ("cell_class", "cell_subclass", TERM)

_TITLES: Final = {TERM: "called terms", "cell_class": "CELLxGENE class", "cell_subclass": "CELLxGENE subclass"}


@dataclass(frozen=True, slots=True)
class SharedTerm:
    """A term with several most specific terms of a level above it; its cells are counted once.

    Attributes
    ----------
    term
        Its index.
    place
        Index of the level's term that it is counted under.
    others
        Indices of those that it is not counted under, most specific first.
    """

    term: int
    place: int
    others: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Level:
    """A level of the ontology.

    Attributes
    ----------
    name
        As it was asked for: ``term``, or what `load_slim` takes; of a file its name.
    title
        As readers see it, e.g. ``CELLxGENE class``.
    slim
        Its terms, and which of them every term is counted under; None = every called term is a row of its own.
    shared
        Terms that belong under several terms of the level, by index; they go where `make_slim` puts them: under the one
        that is first in the reducer's order (highest information content, then longest path, then smallest id), and under
        too-general terms of the CELLxGENE lists only where there is no other.
    """

    name: str
    title: str
    slim: Slim | None
    shared: tuple[SharedTerm, ...]

    def rollup(self, ontology: CellOntology) -> NDArray[np.int32]:
        """Return the place of every term, int32 (n_terms,); -1 = no term of the level is at or above it."""
        return np.arange(len(ontology), dtype=np.int32) if self.slim is None else self.slim.rollup


def load_levels(ontology: CellOntology, names: Sequence[str | Path] = DEFAULT_LEVELS) -> tuple[Level, ...]:
    """Load levels, in the order of their names; what is named twice is one level.

    Parameters
    ----------
    names
        ``term``, or what `celljury.ontology.slims.load_slim` takes: ``cell_class``, ``cell_subclass``, ``subset:NAME``,
        ``depth:N``, or a file of ids. A file that is called like one of these is named with a folder: ``./term``.

    Raises
    ------
    OntologyError, UnreadableFileError, UnknownTermError
        See `celljury.ontology.slims.load_slim`.
    ConfigError
        If there is no name, or two different levels would be called the same in tables and files.
    """
    if isinstance(names, str) or not names:
        message = f"expected a list of levels such as {', '.join(DEFAULT_LEVELS)}, got {names!r}"
        raise ConfigError(message)
    found: dict[str, Level] = {}
    asked: dict[str, str] = {}
    for name in names:
        level = _load(ontology, str(name))
        stem = level_file_stem(level).casefold()
        if stem in found and not _same(found[stem], level):
            message = (
                f"levels {asked[stem]!r} and {str(name)!r} are different lists of terms, but tables would call both"
                f" {stem!r}. Rename one of the files."
            )
            raise ConfigError(message)
        found.setdefault(stem, level)
        asked.setdefault(stem, str(name))
    return tuple(found.values())


def level_file_stem(level: Level) -> str:
    """Return a level's name as part of a file name: letters, digits, points, hyphens and underscores."""
    name = re.sub(r"\.(txt|tsv|csv)$", "", level.name, flags=re.IGNORECASE)
    return re.sub(r"[^A-Za-z0-9.-]+", "_", name).strip("_.-") or "level"


def _load(ontology: CellOntology, name: str) -> Level:
    if name == TERM:
        return Level(TERM, _TITLES[TERM], None, ())
    # depth:04 is depth:4.
    name = f"depth:{int(depth[1])}" if (depth := re.fullmatch(r"depth:([0-9]{1,9})", name)) else name
    try:
        slim = load_slim(ontology, name)
    except UnreadableFileError as error:
        if Path(name).exists() or name in CURATED:
            raise
        message = (
            f"no level {name!r}: expected {TERM}, {', '.join(CURATED)}, subset:NAME, depth:N or a file of ids, and there is"
            f" no such file ({Path.cwd()})."
        )
        raise UnreadableFileError(message) from error
    return Level(slim.name, _title(name, slim), slim, _shared(ontology, slim))


def _title(name: str, slim: Slim) -> str:
    kind, _, rest = name.partition(":")
    if name in _TITLES:
        return _TITLES[name]
    return {"depth": f"depth at most {rest}", "subset": f"subset {rest}"}.get(kind, f"terms of {slim.name}")


def _shared(ontology: CellOntology, slim: Slim) -> tuple[SharedTerm, ...]:
    term, other = other_places(ontology, slim)
    terms, start = np.unique(term, return_index=True)
    rows = np.split(other, start[1:]) if len(terms) else []
    places = slim.rollup[terms].tolist()
    return tuple(
        SharedTerm(t, place, tuple(row.tolist())) for t, place, row in zip(terms.tolist(), places, rows, strict=True)
    )


def _same(a: Level, b: Level) -> bool:
    if a.slim is None or b.slim is None:
        return a.slim is b.slim
    return np.array_equal(a.slim.terms, b.slim.terms) and np.array_equal(a.slim.rollup, b.slim.rollup)
