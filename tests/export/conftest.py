"""A reviewed run of made cells, queries that go with it, and the archives' validators where they are installed."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from review_pack import made_run
from scipy.sparse import csr_matrix

from celljury.review import errands
from celljury.review.apply import apply_decisions
from celljury.run import Run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    MakeQuery = Callable[[NDArray[np.str_], list[str]], ad.AnnData]

N_CELLS, N_GENES = 400, 30


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or writes the user's cache, also not in a process that it starts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CELLJURY_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of 400 cells through the real reducer: called, backed off, unresolved and unseen ones; not to be written to."""
    folder = tmp_path_factory.mktemp("export") / "run"
    made_run(folder, n_cells=N_CELLS, n_items=40, n_review=150, n_genes=20, n_terms=20, n_samples=2, seed=3)
    found = Run.open(folder)
    assert set(found.calls["status"]) == {"resolved", "backed_off", "unresolved", "unseen"}
    # Unseen under a node, and without one.
    assert set(found.calls["term"].isna()[found.calls["status"] == "unseen"]) == {True, False}
    return found


@pytest.fixture(scope="session")
def reviewed(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The same run with decisions applied: the first item is a monocyte, the second unseen."""
    folder = tmp_path_factory.mktemp("reviewed") / "run"
    shutil.copytree(run.folder, folder)
    sheet = folder.parent / "sheet.tsv"
    errands.write_sheet(folder, sheet)
    with sheet.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    for row, decision in zip(rows, ("CL:0000576", "unseen"), strict=False):
        row["decision"] = decision
    with sheet.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    errands.read_sheet(folder, sheet, reviewer="mk")
    apply_decisions(folder)
    return Run.open(folder)


@pytest.fixture(scope="session")
def names(run: Run) -> NDArray[np.str_]:
    """The names of the cells, in another order than the run's."""
    return np.random.default_rng(5).permutation(run.calls.index.to_numpy(dtype=str))


@pytest.fixture(scope="session")
def make_query() -> MakeQuery:
    """What makes the counts of some cells."""
    return _made_query


def _made_query(names: NDArray[np.str_], genes: list[str]) -> ad.AnnData:
    """Counts of some cells, no two alike, with a column of each kind in obs."""
    rng = np.random.default_rng(3)
    counts = rng.poisson(2.0, (len(names), len(genes))).astype(np.float32)
    counts[:, 0] = 1 + np.arange(len(names))
    obs = pd.DataFrame(
        {
            "sample": pd.Categorical(np.where(np.arange(len(names)) % 2, "left", "right")),
            "n_umi": counts.sum(axis=1),
            "is_first": np.arange(len(names)) < 10,
        },
        index=pd.Index(names.astype(object)),
    )
    adata = ad.AnnData(csr_matrix(counts), obs=obs, var=pd.DataFrame(index=pd.Index(genes, dtype=object)))
    adata.obsm["X_umap"] = rng.normal(size=(len(names), 2)).astype(np.float32)
    adata.layers["counts"] = adata.X.copy()
    return adata


@pytest.fixture
def query(names: NDArray[np.str_], tmp_path: Path) -> Path:
    """An h5ad of the run's cells in another order."""
    path = tmp_path / "query.h5ad"
    _made_query(names, [f"GENE{i}" for i in range(N_GENES)]).write_h5ad(path)
    return path


@dataclass(frozen=True)
class Validators:
    """An environment with the archives' validators."""

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def cellxgene(self) -> Path:
        return self.folder / "bin" / "cellxgene-schema"

    def run(self, code: str, *arguments: object) -> str:
        """What a program in that environment prints; anndata there is 0.11."""
        done = subprocess.run(
            [str(self.python), "-W", "error", "-c", code, *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def genes(self, n: int) -> list[str]:
        """Some human genes of the list that cellxgene-schema takes."""
        code = (
            "import gzip, sys, cellxgene_schema, pathlib\n"
            "path = pathlib.Path(cellxgene_schema.__file__).parent / 'gencode_files' / 'genes_homo_sapiens.csv.gz'\n"
            "with gzip.open(path, 'rt') as file: rows = [next(file).split(',')[0] for _ in range(int(sys.argv[1]))]\n"
            "print('\\n'.join(rows))"
        )
        return self.run(code, n).split()


@pytest.fixture(scope="session")
def validators(root: Path) -> Validators:
    """The environment that $CELLJURY_VALIDATORS names, or `.validators` in the checkout."""
    named = os.environ.get("CELLJURY_VALIDATORS")
    folder = Path(named) if named else root / ".validators"
    if not (folder / "bin" / "cellxgene-schema").is_file():
        pytest.skip(f"needs the archives' validators in {folder}: make .validators/.installed")
    return Validators(folder)
