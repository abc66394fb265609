"""Members that run without R say what R says: SingleR's own package, and Symphony's equations in base R.

R's symphony cannot be had where this runs, and no numbers of it are stored in a form that could be used here, so its
mapping is held against the paper's equations in R (``symphony_stand_in``), written apart from ours: normal equations
solved whole, a cluster at a time. That is not the package itself.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from on_p1 import p1
from scipy.io import mmwrite

from celljury.members.base import Block
from celljury.members.r_packages import package_version
from celljury.members.singler import SingleR
from celljury.members.soft_clusters import unit
from celljury.members.symphony import Symphony

if TYPE_CHECKING:
    from numpy.typing import NDArray

HERE = Path(__file__).parent

SINGLER = """
suppressMessages(library(SingleR))
expression <- function(name) {
  values <- methods::as(Matrix::readMM(paste0(name, ".mtx")), "CsparseMatrix")
  dimnames(values) <- list(paste0("g", seq_len(nrow(values))), paste0(name, seq_len(ncol(values))))
  values
}
labels <- readLines("labels.txt")
trained <- trainSingleR(expression("reference"), labels, genes = "de", de.method = "classic", de.n = 25)
found <- classifySingleR(expression("query"), trained, quantile = 0.8, fine.tune = TRUE, tune.thresh = 0.05, prune = FALSE)
writeLines(found$labels, "called.txt")
write.csv(found$scores[, sort(unique(labels))], "scores.csv", row.names = FALSE)
"""

SYMPHONY = """
arguments <- commandArgs(TRUE)
source(arguments[1])
matrix_of <- function(name) as.matrix(read.csv(paste0(name, ".csv"), header = FALSE))
expression <- methods::as(Matrix::readMM("query.mtx"), "CsparseMatrix")
symbol <- paste0("g", seq_len(nrow(expression)))
rownames(expression) <- symbol
loadings <- matrix_of("loadings")
rownames(loadings) <- symbol
moments <- matrix_of("moments")
reference <- list(
  vargenes = data.frame(symbol = symbol, mean = moments[, 1], stddev = moments[, 2]), loadings = loadings,
  centroids = matrix_of("centroids"), cache = list(as.vector(matrix_of("Nr")), matrix_of("C"))
)
about <- data.frame(batch = readLines("batch.txt"))
vars <- if (length(unique(about$batch)) > 1) "batch" else NULL
found <- mapQuery(expression, about, reference, vars = vars, do_normalize = FALSE, do_umap = FALSE)
# Once more from coordinates that were not rounded to single precision on their way.
plain <- t(matrix_of("plain"))
R <- soft_clusters(plain, reference$centroids, 0.1)
Z <- corrected(plain, R, found$Xq, Nr = reference$cache[[1]], C = reference$cache[[2]])
write_t <- function(values, name) write.table(t(values), name, sep = ",", row.names = FALSE, col.names = FALSE)
for (name in c("Zq_pca", "R", "Z")) write_t(found[[name]], paste0("whole-", name, ".csv"))
write_t(R, "given-R.csv")
write_t(Z, "given-Z.csv")
"""


@pytest.fixture(scope="module")
def members() -> tuple[SingleR, Symphony]:
    for kind in (SingleR, Symphony):
        if missing := kind.missing():
            pytest.skip(f"needs {', '.join(missing)}")
    reference, query, _ = p1()
    every = {"cells_per_term": 100_000, "max_cells": 100_000}
    return SingleR(prune=False, **every).fit(reference).adapt(query), Symphony(scaling="unit").fit(reference)


def run_r(code: str, folder: Path, *arguments: str) -> None:
    (folder / "run.R").write_text(code, encoding="utf-8")
    done = subprocess.run(["Rscript", "run.R", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def needs_package(name: str, how: str) -> None:
    if package_version(name) is None:
        pytest.skip(f"needs R's {name}: {how}")


@pytest.mark.slow
def test_singler_calls_and_scores_every_cell_as_r_does(members, tmp_path) -> None:
    needs_package("SingleR", "apt-get install r-bioc-singler")
    member, _ = members
    reference, query, _ = p1()
    for name, cells in (("reference", reference.cells), ("query", query)):
        mmwrite(tmp_path / f"{name}.mtx", member.normalized(cells).T.astype(np.float64))
    (tmp_path / "labels.txt").write_text("".join(f"c{code}\n" for code in reference.label))
    run_r(SINGLER, tmp_path)
    called = np.array([int(line[1:]) for line in (tmp_path / "called.txt").read_text().split()])
    assert_array_equal(member.predict(query).mass.argmax(axis=1), called)
    scores = np.loadtxt(tmp_path / "scores.csv", delimiter=",", skiprows=1)
    assert_allclose(member._score(query.counts, member._index).score, scores, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("names", [("one",), ("one", "two", "three")], ids=["one_batch", "three_batches"])
def test_symphony_maps_as_the_equations_in_r(members, tmp_path, names) -> None:
    needs_package("Matrix", "apt-get install r-base-core r-cran-matrix")
    _, member = members
    _, cells, _ = p1()
    code = (np.arange(cells.n_cells, dtype=np.int32) * 7) % len(names)
    query = Block(cells.counts, cells.genes, cells.present, code.astype(np.int32), names)
    member.adapt(query)
    plain = member._coordinates(query)
    membership = member.compressed.membership(plain, bandwidth=0.1)
    moved = member.corrected(plain, membership, query)

    mmwrite(tmp_path / "query.mtx", member.normalized(query).T.astype(np.float64))
    (tmp_path / "batch.txt").write_text("".join(f"{names[batch]}\n" for batch in query.batch))
    arrays: dict[str, NDArray[np.generic]] = {
        "loadings": member.components.axes.T,
        "moments": np.column_stack([member.components.mean, member.components.scale]),
        "centroids": unit(member.compressed.total).T,
        "Nr": member.compressed.weight,
        "C": member.compressed.total,
        "plain": plain,
    }
    for name, array in arrays.items():
        np.savetxt(tmp_path / f"{name}.csv", array, delimiter=",", fmt="%.17g")
    run_r(SYMPHONY, tmp_path, str(HERE / "symphony_stand_in" / "R" / "symphony.R"))

    def said(name: str) -> NDArray[np.float64]:
        return np.loadtxt(tmp_path / f"{name}.csv", delimiter=",")

    # Ours are single precision, R's are double: a rounding of 1e-7 of coordinates up to 50.
    assert_allclose(plain, said("whole-Zq_pca"), atol=1e-4)
    assert_allclose(membership, said("whole-R"), atol=1e-4)
    assert_allclose(moved, said("whole-Z"), atol=1e-3)
    assert_allclose(membership, said("given-R"), atol=1e-6)
    assert_allclose(moved, said("given-Z"), atol=1e-6)
    assert np.abs(moved - plain).max() > 1  # there is something to move
