"""What a paper on a run cites: only what its methods text names, as BibTeX and as lines of references.

The list is ``data/citations.json``. DOIs were checked against the publishers' entries as others cite them; a reference
that could not be checked is not in it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from celljury import __version__
from celljury.report.methods_draft import draft

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SOFTWARE = "celljury"
_MARK = re.compile(r"@([a-z]+\d*)")
_FIELDS = ("where", "volume", "number", "pages", "doi", "url", "version", "note")


@dataclass(frozen=True, slots=True)
class Citation:
    """A reference.

    Attributes
    ----------
    key
        Key in BibTeX.
    kind
        ``article``, ``inproceedings`` or ``misc``.
    authors
        "Family, Given" each; the last may be ``others``.
    year, title
        As published.
    where
        Journal, proceedings or archive; empty of software.
    volume, number, pages, doi, url, version, note
        Empty where there is none; pages with an en dash as ``--``.
    """

    key: str
    kind: str
    authors: tuple[str, ...]
    year: int
    title: str
    where: str = ""
    volume: str = ""
    number: str = ""
    pages: str = ""
    doi: str = ""
    url: str = ""
    version: str = ""
    note: str = ""

    @property
    def short(self) -> str:
        """How a text cites it: ``Wolf et al. 2018``."""
        family = [name.split(",")[0] for name in self.authors]
        if len(family) == 1:
            return f"{family[0]} {self.year}"
        return f"{family[0]} and {family[1]} {self.year}" if len(family) == 2 else f"{family[0]} et al. {self.year}"


@cache
def published() -> dict[str, Citation]:
    """Return all references by key."""
    text = resources.files("celljury.data").joinpath("citations.json").read_text(encoding="utf-8")
    return {row["key"]: Citation(**(row | {"authors": tuple(row["authors"])})) for row in json.loads(text)}


def citations_of(
    record: Mapping[str, Any],
    *,
    evaluation: Mapping[str, Any] | None = None,
    review: Mapping[str, Any] | None = None,
    embedding: str | None = None,
) -> tuple[Citation, ...]:
    """Return what the methods text of a run cites, by key; parameters as of `celljury.report.methods.methods_text`."""
    text = "\n".join(draft(record, evaluation=evaluation, review=review, embedding=embedding))
    keys = sorted(set(_MARK.findall(text)))
    return tuple(software(record) if key == SOFTWARE else published()[key] for key in keys)


def software(record: Mapping[str, Any]) -> Citation:
    """Return celljury itself, as its licence and package name it: there is no paper and no DOI to cite."""
    return Citation(
        SOFTWARE, "misc", ("the celljury authors",), 2026,
        "celljury: ensemble consensus cell types on the Cell Ontology",
        version=_version(record), note="Software, BSD-3-Clause",
    )  # fmt: skip


def _version(record: Mapping[str, Any]) -> str:
    return str((record.get("versions") or {}).get("celljury") or __version__)


def cited(text: str, record: Mapping[str, Any]) -> str:
    """Return a draft with its marks ``[@key]`` as "(Author Year)"."""

    def name(found: re.Match[str]) -> str:
        key = found.group(1)
        if key == SOFTWARE:
            return f"version {_version(record)}"
        return published()[key].short

    marked = re.sub(r"\[([^\[\]]*@[^\[\]]*)\]", r"(\1)", text)
    return _MARK.sub(name, marked)


# Lines ------------------------------------------------------------------------------------------------------------------


def reference_line(citation: Citation) -> str:
    """Return a reference as a line of plain text."""
    names = ["et al." if name == "others" else name for name in citation.authors]
    who = ", ".join(name.replace(",", "") for name in names[:6]) + (", et al." if len(names) > 6 else "")
    volume = f" {citation.volume}" + (f"({citation.number})" if citation.number else "") if citation.volume else ""
    pages = f":{citation.pages.replace('--', '-')}" if citation.pages else ""
    place = f" {citation.where}{volume}{pages}." if citation.where else ""
    version = f" Version {citation.version}." if citation.version else ""
    note = f" {citation.note}." if citation.note else ""
    link = f" https://doi.org/{citation.doi}" if citation.doi else f" {citation.url}" if citation.url else ""
    return f"{who} ({citation.year}). {citation.title}.{place}{version}{note}{link}"


# BibTeX -----------------------------------------------------------------------------------------------------------------


def bibtex(citations: Iterable[Citation]) -> str:
    """Return references as BibTeX, an entry each, accents as LaTeX so that any BibTeX reads them."""
    return "\n".join(_entry(citation) for citation in citations)


def _entry(citation: Citation) -> str:
    place = {"article": "journal", "inproceedings": "booktitle"}.get(citation.kind, "howpublished")
    # A name that is no person's stands in braces: BibTeX would take "authors" for a family.
    authors = " and ".join(name if "," in name or name == "others" else f"{{{name}}}" for name in citation.authors)
    fields = {"author": authors, "title": f"{{{citation.title}}}", "year": str(citation.year)}
    fields |= {(place if name == "where" else name): getattr(citation, name) for name in _FIELDS}
    lines = [f"  {name} = {{{_escaped(value)}}}" for name, value in fields.items() if value]
    return f"@{citation.kind}{{{citation.key},\n" + ",\n".join(lines) + "\n}\n"


_ACCENTS = {"\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0308": '"', "\u030c": "v", "\u0327": "c"}


def _escaped(text: str) -> str:
    """Return a value with accents as LaTeX commands in braces; braces that are there stay."""
    import unicodedata

    made = ""
    for sign in unicodedata.normalize("NFD", text):
        if (accent := _ACCENTS.get(sign)) is not None and made:
            base = r"\i" if made[-1] == "i" else made[-1]
            made = f"{made[:-1]}{{\\{accent}{{{base}}}}}"
        else:
            made += {"&": r"\&", "%": r"\%", "#": r"\#"}.get(sign, sign)
    return made
