"""Organisms and their lineages, as far as statements about cells need them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from celljury.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

# Ids of the NCBI Taxonomy: cellular life down to the animal classes that constraints in CL and UBERON are stated on.
_ANIMAL: Final = (131567, 2759, 33154, 33208, 6072, 33213)
_VERTEBRATE: Final = (*_ANIMAL, 33511, 7711, 89593, 7742, 7776, 117570, 117571)
_AMNIOTE: Final = (*_VERTEBRATE, 8287, 32523, 32524)
_PLACENTAL: Final = (*_AMNIOTE, 40674, 32525, 9347)
_PRIMATE: Final = (*_PLACENTAL, 314146, 9443, 376913, 314293)
_MURINE: Final = (*_PLACENTAL, 314146, 314147, 9989, 337687, 10066, 39107)

LINEAGES: Final[Mapping[str, tuple[int, ...]]] = {
    "Homo sapiens": (*_PRIMATE, 9526, 9604, 9605, 9606),
    "Macaca mulatta": (*_PRIMATE, 9526, 9527, 9539, 9544),
    "Macaca fascicularis": (*_PRIMATE, 9526, 9527, 9539, 9541),
    "Callithrix jacchus": (*_PRIMATE, 9479, 9480, 9481, 9483),
    "Mus musculus": (*_MURINE, 10088, 862507, 10090),
    "Rattus norvegicus": (*_MURINE, 10114, 10116),
    "Sus scrofa": (*_PLACENTAL, 314145, 9821, 9822, 9823),
    "Gallus gallus": (*_AMNIOTE, 8782, 9030, 9031),
    "Danio rerio": (*_VERTEBRATE, 7898, 32443, 7954, 7955),
    "Drosophila melanogaster": (*_ANIMAL, 33317, 1206794, 6656, 50557, 7147, 7215, 7227),
    "Caenorhabditis elegans": (*_ANIMAL, 33317, 1206794, 6231, 6237, 6239),
}
"""Species -> ids from the root down to the species."""

COMMON_NAMES: Final[Mapping[str, str]] = {
    "human": "Homo sapiens",
    "rhesus macaque": "Macaca mulatta",
    "crab-eating macaque": "Macaca fascicularis",
    "marmoset": "Callithrix jacchus",
    "mouse": "Mus musculus",
    "rat": "Rattus norvegicus",
    "pig": "Sus scrofa",
    "chicken": "Gallus gallus",
    "zebrafish": "Danio rerio",
    "fruit fly": "Drosophila melanogaster",
}

# How labels end that name their organism, all that CL 2026-03-26 has of these species.
_IN_LABEL: Final[Mapping[str, int]] = {
    "human": 9606,
    "Homo sapiens": 9606,
    "mouse": 10090,
    "Mus musculus": 10090,
    "Mmus": 10090,
    "sensu Mus": 10088,
    "Callithrix jacchus": 9483,
    "Primate": 9443,
    "mammalian": 40674,
}
_LABEL_END: Final = re.compile(rf"(?:, (?P<bare>human|mouse|mammalian)| \((?P<named>{'|'.join(_IN_LABEL)})\))$")


def taxon_in_label(label: str) -> str | None:
    """Return the taxon that a label ends on, e.g. ``NCBITaxon:9606`` of "CD14-positive cell, human"; else None."""
    match = _LABEL_END.search(label)
    return f"NCBITaxon:{_IN_LABEL[match['bare'] or match['named']]}" if match else None


def lineage(organism: str) -> frozenset[str]:
    """Return the ids of an organism and of all taxa above it.

    Parameters
    ----------
    organism
        Latin or common name in any case, or the id of a species, e.g. ``human``, ``Mus musculus``, ``NCBITaxon:9606``.

    Raises
    ------
    ConfigError
        If the organism is not on the list; those that are get named.
    """
    wanted = organism.strip().casefold()
    common = {name.casefold(): latin for name, latin in COMMON_NAMES.items()}
    latin = {name.casefold(): name for name in LINEAGES} | common
    latin |= {f"ncbitaxon:{ids[-1]}": name for name, ids in LINEAGES.items()}
    if wanted not in latin:
        message = f"unknown organism {organism!r}. Known: {', '.join(LINEAGES)}, their common names and NCBITaxon ids."
        raise ConfigError(message)
    return frozenset(f"NCBITaxon:{number}" for number in LINEAGES[latin[wanted]])


def known_organism(organism: str) -> bool:
    """Return whether `lineage` knows an organism."""
    try:
        lineage(organism)
    except ConfigError:
        return False
    return True
