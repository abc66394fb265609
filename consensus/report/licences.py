"""Licences of the libraries behind the members."""

from __future__ import annotations

from typing import Final

# As the libraries' own licence files and package metadata state them (versions in docs/members.md).
LICENCES: Final = {
    "scikit-learn": "BSD-3-Clause",
    "celltypist": "MIT",
    "symphonypy": "MIT by its metadata, GPL-3 by the text that it ships; uses harmonypy (GPL-3)",
    "singler": "MIT",
    "scvi-tools": "BSD-3-Clause",
}


def licence_of(version: str) -> str:
    """Return the licence of a library, named with its version as members name it (``scikit-learn 1.9.1``)."""
    return LICENCES.get(version.rpartition(" ")[0], "see its package")
