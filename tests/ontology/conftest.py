"""A toy ontology whose answers are seen by eye, and the real one from both of its sources."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from celljury.ontology.load import load_ontology, ontology_from_edges

if TYPE_CHECKING:
    from pathlib import Path

    from celljury.ontology.graph import CellOntology


@pytest.fixture(autouse=True)
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test reads or writes the user's cache."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("CELLJURY_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def toy() -> CellOntology:
    r"""Nine terms with a diamond.

    ::

                 cell T:0
                /        \
         blood T:1      motile T:7
        /   |    \       /
     T T:2  B T:6  mono T:8
     /    \
    CD4 T:3  memory T:4
     \    /
    CD4 memory T:5
    """
    return ontology_from_edges(
        {
            "T:0": "cell",
            "T:1": "blood cell",
            "T:2": "T cell",
            "T:3": "CD4-positive T cell",
            "T:4": "memory T cell",
            "T:5": "CD4-positive memory T cell",
            "T:6": "B cell",
            "T:7": "motile cell",
            "T:8": "monocyte",
        },
        {
            "T:1": ["T:0"],
            "T:2": ["T:1"],
            "T:3": ["T:2"],
            "T:4": ["T:2"],
            "T:5": ["T:3", "T:4"],
            "T:6": ["T:1"],
            "T:7": ["T:0"],
            "T:8": ["T:1", "T:7"],
        },
        synonyms={"T:2": ["T lymphocyte", "T-cell"], "T:6": ["shared name"], "T:8": ["shared name", "mono-nuclear"]},
        replaced={"T:90": "T:91", "T:91": "T:2", "T:92": "PO:1", "T:93": "T:94", "T:94": "T:93"},
        obsolete={"T:91": "obsolete T lymphocyte line", "T:92": "obsolete pollen cell"},
        subsets={"upper": ["T:1", "T:7"]},
        release="toy",
    )


@pytest.fixture(scope="session")
def cl() -> CellOntology:
    """CL 2026-03-26 from the installed guide."""
    return load_ontology(release="2026-03-26", cache=False)


@pytest.fixture(scope="session")
def cl_obo(shared_data: Path) -> CellOntology:
    """The same release from its OBO file."""
    pytest.importorskip("pronto")
    return load_ontology(shared_data / "cl.obo", cache=False)
