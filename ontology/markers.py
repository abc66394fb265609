"""Markers that terms state: surface names to gene symbols, and a strict grammar of labels and phenotype lists.

"CD16-low", "dim" and "intermediate" are neither presence that counts must show nor absence: they are kept as ``low``,
so that a child with little CD14 does not inherit "has CD14". "Or" leaves it open, and a name that no human gene stands
behind (mouse alleles, carbohydrates, T cell receptor chains) is passed over.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from celljury.ontology.statements import State

STATE_BY_WORD: Final[dict[str, State]] = {
    "positive": "has", "high": "has", "bright": "has", "+": "has",
    "negative": "lacks", "-": "lacks",
    "low": "low", "dim": "low", "intermediate": "low",
}  # fmt: skip

# What "double negative" and "double-positive" leave out, from the definitions of CL:0002489 (lacks CD4 and CD8),
# CL:0000809 (both CD4 and CD8) and CL:0000981 (IgD-negative and CD27-negative).
DOUBLE: Final[tuple[tuple[re.Pattern[str], State, tuple[str, ...]], ...]] = (
    (re.compile(r"\bdouble[ -]negative (?:thymocyte|T )"), "lacks", ("CD4", "CD8")),
    (re.compile(r"\bdouble[ -]positive,? (?:alpha-beta )?thymocyte"), "has", ("CD4", "CD8")),
    (re.compile(r"\bdouble[ -]negative memory B "), "lacks", ("IgD", "CD27")),
)

_WORD: Final = r"(?:positive|negative|low|high|bright|dim|intermediate)\b(?! or\b)"
_ITEM: Final = re.compile(rf"(?:surface )?(?P<name>[\w/.-]+?(?: [\w-]+?){{0,2}})[- ](?P<word>{_WORD})")
_NEXT: Final = re.compile(r"(?:,\s*(?:and\s+)?|\s+and\s+)")


@dataclass(frozen=True, slots=True)
class MarkerGenes:
    """Genes behind a surface name: those a positive cell has, and those a negative cell lacks.

    The two differ where the name is of a complex (CD8: alpha alone makes a cell positive, a negative cell has neither
    chain), of a splice form (CD45RA: its absence says nothing of the gene), or of a class (IgG has four genes).
    """

    has: tuple[str, ...]
    lacks: tuple[str, ...]

    def of(self, state: State) -> tuple[str, ...]:
        """Return the genes that a statement is about."""
        return self.lacks if state == "lacks" else self.has


@cache
def genes_by_name() -> Mapping[str, MarkerGenes]:
    """Return the shipped table (data/marker_genes.tsv): surface name as labels write it -> HGNC symbols."""
    return {name: genes for names, genes, _ in _table() for name in names}


@cache
def genes_by_protein() -> Mapping[str, MarkerGenes]:
    """Return the shipped table by id of the Protein Ontology, e.g. ``PR:000001004`` -> CD4."""
    return {protein: genes for _, genes, proteins in _table() for protein in proteins}


def stated_in_name(name: str) -> set[tuple[str, State]]:
    """Return what a label or synonym states: (gene symbol, ``has``, ``lacks`` or ``low``).

    ``CD14-positive, CD16-negative classical monocyte`` has CD14 and lacks FCGR3A; ``CD14-low, CD16-positive monocyte``
    has FCGR3A, and CD14 low. A name of two kinds ("A OR B") states nothing. A gene stated both ways is left out.
    """
    if " OR " in name:
        return set()
    found = {
        (gene, state)
        for match in _stated().finditer(name)
        for state in [STATE_BY_WORD[match["word"] or match["sign"]]]
        for gene in genes_by_name()[match["name"]].of(state)
    }
    for pattern, state, names in DOUBLE:
        if pattern.search(name):
            found |= {(gene, state) for surface in names for gene in genes_by_name()[surface].of(state)}
    return _one_way(found)


def stated_as_phenotype(definition: str) -> set[tuple[str, State]]:
    """Return what the list after the word "phenotype" in a text definition states.

    ``... with the phenotype CCR7-positive, CD127-positive, CD45RA-negative, and CD25-negative.`` has CCR7 and IL7R and
    lacks IL2RA. The list is read item by item up to the first word that is none; all other prose is left alone.
    """
    found = {
        (gene, state)
        for name, word in _phenotype_items(definition)
        if name in genes_by_name()
        for state in [STATE_BY_WORD[word]]
        for gene in genes_by_name()[name].of(state)
    }
    return _one_way(found)


def _phenotype_items(definition: str) -> Iterator[tuple[str, str]]:
    for start in re.finditer(r"\bphenotype (?:of )?", definition):
        at = start.end()
        while item := _ITEM.match(definition, at):
            yield item["name"], item["word"]
            follows = _NEXT.match(definition, item.end())
            if follows is None:
                break
            at = follows.end()


def _one_way(found: set[tuple[str, State]]) -> set[tuple[str, State]]:
    states = Counter(gene for gene, _ in found)
    return {(gene, state) for gene, state in found if states[gene] == 1}


@cache
def _stated() -> re.Pattern[str]:
    # Longest first: "CD8-alpha-negative" is about CD8-alpha, not about CD8. A bare minus must end its item, since
    # hyphens also join words.
    names = "|".join(re.escape(name) for name in sorted(genes_by_name(), key=len, reverse=True))
    word = rf"(?:[- ](?:single[- ])?(?P<word>{_WORD})|(?P<sign>\+|-(?=[\s,]|$|CD\w+?(?:[+-]|bright|dim))))"
    return re.compile(rf"(?<![\w./])(?P<name>{names}){word}")


@cache
def _table() -> tuple[tuple[tuple[str, ...], MarkerGenes, tuple[str, ...]], ...]:
    text = files("celljury.data").joinpath("marker_genes.tsv").read_text(encoding="utf-8")
    return tuple(
        (_split(row["names"]), MarkerGenes(_split(row["has"]), _split(row["lacks"])), _split(row["protein"]))
        for row in csv.DictReader(text.splitlines(), delimiter="\t")
    )


def _split(joined: str) -> tuple[str, ...]:
    return tuple(part for part in joined.split("|") if part)
