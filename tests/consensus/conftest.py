"""Toy cells of three blood types in memory and on disk, and a jury of one quick member fitted on them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from celljury.config import Config
from celljury.jury import Jury
from celljury.ontology.load import load_ontology

if TYPE_CHECKING:
    from celljury.ontology.graph import CellOntology

# B cell; CD4-positive, alpha-beta T cell; CD8-positive, alpha-beta T cell.
TYPES = ("CL:0000236", "CL:0000624", "CL:0000625")
MARKERS_A_TYPE = 20


class ToyAdata(Protocol):
    """Makes toy cells: raw counts in X, types in obs['cell_type'], samples in obs['sample']."""

    def __call__(
        self, *, n_cells: int = 120, n_genes: int = 200, seed: int = 0, prefix: str = "cell", start: int = 0
    ) -> ad.AnnData: ...


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """No test reads or writes the user's cache, also not in a process that it starts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CELLJURY_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def toy_adata() -> ToyAdata:
    """Factory of toy cells.

    Cell i is of type i mod 3 and of sample i mod 2. Genes ``G0`` to ``G19`` are high in B cells, the next 20 in CD4, the
    next 20 in CD8 T cells; all others are alike. ``start`` numbers the cells on from there.
    """

    def make(
        *, n_cells: int = 120, n_genes: int = 200, seed: int = 0, prefix: str = "cell", start: int = 0
    ) -> ad.AnnData:
        kind = np.arange(n_cells) % len(TYPES)
        rate = np.full((len(TYPES), n_genes), 0.6)
        for i in range(len(TYPES)):
            rate[i, i * MARKERS_A_TYPE : (i + 1) * MARKERS_A_TYPE] = 6
        counts = np.random.default_rng(seed).poisson(rate[kind])
        obs = pd.DataFrame(
            {
                "cell_type": pd.Categorical(np.array(TYPES)[kind]),
                "sample": pd.Categorical(np.array(["s1", "s2"])[np.arange(n_cells) % 2]),
            },
            index=[f"{prefix}{start + i}" for i in range(n_cells)],
        )
        var = pd.DataFrame(index=[f"G{i}" for i in range(n_genes)])
        return ad.AnnData(csr_matrix(counts, dtype=np.float32), obs=obs, var=var)

    return make


@pytest.fixture(scope="session")
def toy_reference(toy_adata: ToyAdata, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 labelled cells as h5ad. Read only: copy it before a change."""
    path = tmp_path_factory.mktemp("reference") / "reference.h5ad"
    toy_adata(seed=1, prefix="ref").write_h5ad(path)
    return path


@pytest.fixture(scope="session")
def toy_query(toy_adata: ToyAdata, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 cells of the same types as h5ad. Read only: copy it before a change."""
    path = tmp_path_factory.mktemp("query") / "query.h5ad"
    toy_adata(n_cells=60, seed=2, prefix="query").write_h5ad(path)
    return path


@pytest.fixture(scope="session")
def toy_config() -> Config:
    """One light member in this process."""
    return Config(members=("logistic",), engine="local", embedding="pca")


@pytest.fixture(scope="session")
def toy_jury(toy_reference: Path, toy_config: Config, tmp_path_factory: pytest.TempPathFactory) -> Jury:
    """A jury fitted on the toy reference. Read only: copy its folder before a change."""
    out = tmp_path_factory.mktemp("jury") / "toy.jury"
    return Jury.fit(toy_reference, labels="cell_type", batch="sample", out=out, config=toy_config)


@pytest.fixture(scope="session")
def cl() -> CellOntology:
    """CL 2026-03-26 from the installed guide."""
    return load_ontology(release="2026-03-26", cache=False)


@pytest.fixture(scope="session")
def sha256_of() -> Any:
    """Hash of a file, to hold that it was left as it was."""
    return lambda path: hashlib.sha256(Path(path).read_bytes()).hexdigest()
