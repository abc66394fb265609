"""The `symphony` package's part of `symphony_r`: build a reference, map a sample of the query onto it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import r_session

if TYPE_CHECKING:
    from collections.abc import Callable

INSTALL = "in R, install.packages('symphony')"

REFERENCE = (
    "local({"
    + r_session.SPARSE
    + """
function(i, p, x, n_genes, batch, several, clusters, components, theta, seed) {
  expression <- sparse(i, p, x, n_genes)
  about <- data.frame(batch = batch, row.names = colnames(expression))
  found <- symphony::buildReference(
    expression, about, vars = if (several) "batch" else NULL, K = clusters, d = components, theta = theta,
    topn = nrow(expression), do_umap = FALSE, do_normalize = FALSE, seed = seed
  )
  list(
    symbol = as.character(found$vargenes$symbol), mean = found$vargenes$mean, stddev = found$vargenes$stddev,
    loadings = unname(as.matrix(found$loadings)), R = unname(as.matrix(found$R)),
    Z_orig = unname(as.matrix(found$Z_orig)), Z_corr = unname(as.matrix(found$Z_corr)),
    centroids = unname(as.matrix(found$centroids)),
    Nr = as.numeric(found$cache[[1]]), C = unname(as.matrix(found$cache[[2]]))
  )
}})"""
)

MAPPING = (
    "local({"
    + r_session.SPARSE
    + """
function(i, p, x, n_genes, gene, batch, several, mean, stddev, loadings, centroids, R, Z_orig, Z_corr, Nr, C, sigma) {
  expression <- sparse(i, p, x, n_genes)
  rownames(expression) <- gene
  about <- data.frame(batch = batch, row.names = colnames(expression))
  symbol <- paste0("g", seq_along(mean))
  rownames(loadings) <- symbol
  reference <- list(
    meta_data = data.frame(cell = seq_len(ncol(Z_orig))),
    vargenes = data.frame(symbol = symbol, mean = mean, stddev = stddev),
    loadings = loadings, R = R, Z_orig = Z_orig, Z_corr = Z_corr, centroids = centroids, cache = list(Nr, C)
  )
  found <- symphony::mapQuery(
    expression, about, reference, vars = if (several) "batch" else NULL, do_normalize = FALSE, do_umap = FALSE,
    sigma = sigma, verbose = FALSE
  )
  list(plain = t(as.matrix(found$Zq_pca)), membership = t(as.matrix(found$R)), corrected = t(as.matrix(found$Z)))
}})"""
)


def versions() -> dict[str, str]:
    """Return the versions of symphony and R."""
    found = r_session.version_of("symphony")
    if found is None:
        message = f"R has no package symphony. Install: {INSTALL}"
        raise RuntimeError(message)
    return {"symphony": found, "R": r_session.r_version()}


def fit(cells: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """Return the reference's slots; genes in the order of ``cells``, 0 in ``loadings`` for one that symphony left out."""
    found = symphony(REFERENCE)(
        **r_session.sparse_arguments(r_session.log1p_cp10k(cells)),
        batch=[f"b{code}" for code in cells["batch"]],
        several=np.unique(cells["batch"]).size > 1,
        clusters=int(options["clusters"]),
        components=int(options["components"]),
        theta=float(options["settings"]["theta"]),
        seed=options["seed"],
    )
    gene = np.array([int(symbol[1:]) - 1 for symbol in found.pop("symbol")])
    n_genes = cells["counts"].shape[1]
    mean, stddev = np.zeros(n_genes), np.ones(n_genes)
    loadings = np.zeros((n_genes, found["loadings"].shape[1]))
    mean[gene], stddev[gene], loadings[gene] = found["mean"], found["stddev"], found["loadings"]
    return {**found, "mean": mean, "stddev": stddev, "loadings": loadings}


def adapt(state: dict[str, Any], cells: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """Map a sample: coordinates before and after correction and soft clusters, a row a cell."""
    present = np.flatnonzero(cells["present"])
    reference = {
        name: cells[name] for name in ("R", "Z_orig", "Z_corr", "centroids", "Nr", "C", "mean", "stddev", "loadings")
    }
    return dict(
        symphony(MAPPING)(
            **r_session.sparse_arguments(r_session.log1p_cp10k(cells)[:, present]),
            gene=[f"g{gene + 1}" for gene in present],
            batch=[f"b{code}" for code in cells["batch"]],
            several=np.unique(cells["batch"]).size > 1,
            sigma=float(options["sigma"]),
            **reference,
        )
    )


def symphony(source: str) -> Callable[..., Any]:
    """Return a function of R that runs with symphony loaded."""
    return r_session.define_with("symphony", source, install=INSTALL)
