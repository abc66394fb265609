"""Seurat's part of `seurat_transfer`: components of the reference, anchors to a query, a reference made for Azimuth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import r_session

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

INSTALL = "apt-get install r-cran-seurat (Debian, Ubuntu), or in R: install.packages('Seurat')"

# Coordinates stand in for genes when anchors are looked for. Seurat cuts scaled genes at 10: they are kept far below it,
# and the loadings undo that.
SHRINK = 1e-6

COMPONENTS = (
    "local({"
    + r_session.SPARSE
    + """
function(i, p, x, n_genes, variable, n_components, supervised, neighbors, seed) {
  counts <- sparse(i, p, x, n_genes)
  genes <- rownames(counts)
  object <- Seurat::CreateSeuratObject(Seurat::CreateAssayObject(counts = counts), assay = "RNA")
  object <- Seurat::NormalizeData(object, verbose = FALSE)
  if (length(genes) > variable) {
    object <- Seurat::FindVariableFeatures(object, nfeatures = variable, verbose = FALSE)
    genes <- Seurat::VariableFeatures(object)
  }
  few <- 2 * n_components < min(length(genes), ncol(counts))  # what irlba is made for
  object <- Seurat::ScaleData(object, features = genes, verbose = FALSE)
  object <- Seurat::RunPCA(
    object, features = genes, npcs = n_components, approx = few, seed.use = seed, verbose = FALSE
  )
  name <- "pca"
  if (supervised) {
    dims <- seq_len(n_components)
    object <- Seurat::FindNeighbors(object, dims = dims, k.param = neighbors, verbose = FALSE)
    object <- Seurat::RunSPCA(
      object, features = genes, npcs = n_components, graph = "RNA_snn", seed.use = seed, verbose = FALSE
    )
    name <- "spca"
  }
  found <- Seurat::Loadings(object[[name]])
  loadings <- matrix(0, nrow(counts), ncol(found), dimnames = list(rownames(counts), NULL))
  loadings[rownames(found), ] <- found
  list(loadings = loadings, points = Seurat::Embeddings(object[[name]]))
}})"""
)

ANCHORS = """
function(reference, query, shrink, k_anchor, k_score, seed) {
  set.seed(seed)
  n_dims <- ncol(reference)
  dims <- paste0("d", seq_len(n_dims))
  components <- paste0("PC_", seq_len(n_dims))
  dimnames(reference) <- list(paste0("r", seq_len(nrow(reference))), components)
  rownames(query) <- paste0("q", seq_len(nrow(query)))
  object <- function(values) {
    sparse <- methods::as(methods::as(values, "CsparseMatrix"), "generalMatrix")
    dimnames(sparse) <- list(dims, colnames(values))
    Seurat::CreateSeuratObject(Seurat::CreateAssayObject(data = sparse), assay = "RNA")
  }
  from <- object(0 * t(reference))  # means of 0: nothing is taken off the query's coordinates
  loadings <- diag(1 / shrink, n_dims)
  dimnames(loadings) <- list(dims, components)
  from[["pca"]] <- Seurat::CreateDimReducObject(reference, loadings = loadings, assay = "RNA", key = "PC_")
  found <- Seurat::FindTransferAnchors(
    reference = from, query = object(t(query) * shrink), features = dims, reduction = "pcaproject",
    reference.reduction = "pca", scale = FALSE, dims = seq_len(n_dims), k.anchor = k_anchor, k.filter = NA,
    k.score = k_score, verbose = FALSE
  )
  anchors <- methods::slot(found, "anchors")
  list(reference = anchors[, "cell1"], query = anchors[, "cell2"], score = anchors[, "score"])
}"""

AZIMUTH = """
function(path, annotation) {
  object <- readRDS(path)
  if (!methods::is(object, "Seurat")) return(list(problem = "is no Seurat object"))
  components <- methods::slot(object, "reductions")[["refDR"]]
  assay <- methods::slot(object, "assays")[["refAssay"]]
  if (is.null(components) || is.null(assay)) return(list(problem = "has no reduction refDR or no assay refAssay"))
  about <- methods::slot(object, "meta.data")
  if (!annotation %in% colnames(about)) return(list(columns = colnames(about)))
  points <- methods::slot(components, "cell.embeddings")
  loadings <- methods::slot(components, "feature.loadings")
  found <- list(
    points = points, loadings = loadings, genes = rownames(loadings),
    label = as.character(about[rownames(points), annotation])
  )
  found$label[is.na(found$label)] <- ""
  if (methods::is(assay, "SCTAssay")) {
    models <- methods::slot(assay, "SCTModel.list")
    if (length(models) != 1) return(list(problem = "has more or fewer than one SCT model in refAssay"))
    formula <- methods::slot(models[[1]], "model")
    if (formula != "y ~ log_umi") return(list(problem = paste("has an SCT model of another formula:", formula)))
    of_gene <- methods::slot(models[[1]], "feature.attributes")
    found$sct_genes <- rownames(of_gene)
    found$sct <- as.matrix(of_gene[, c("(Intercept)", "log_umi", "theta", "residual_mean")])
    clip <- methods::slot(models[[1]], "clips")$sct
    found$clip <- if (is.null(clip)) c(-Inf, Inf) else clip
    return(found)
  }
  values <- methods::slot(assay, "data")
  if (!length(values)) return(list(problem = "has neither an SCT model nor expression values in refAssay"))
  values <- values[rownames(loadings), , drop = FALSE]
  found$mean <- Matrix::rowMeans(values)
  found$scale <- sqrt(pmax(Matrix::rowMeans(values^2) - found$mean^2, 0) * ncol(values) / (ncol(values) - 1))
  found
}"""


def versions() -> dict[str, str]:
    """Return the versions of Seurat and R."""
    found = r_session.version_of("Seurat")
    if found is None:
        message = f"R has no package Seurat. Install: {INSTALL}"
        raise RuntimeError(message)
    return {"Seurat": found, "R": r_session.r_version()}


def fit(cells: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """Return ``loadings`` (n_genes, n_components), ``points`` (n_cells, n_components), and genes' ``mean`` and ``scale``."""
    settings = options["settings"]
    n_cells, n_genes = cells["counts"].shape
    rank = min(settings["components"], n_cells - 1, n_genes - 1, settings["variable_genes"] - 1)
    if rank < 2:
        message = f"{n_cells} cells x {n_genes} genes are too few for two principal components"
        raise ValueError(message)
    found = seurat(COMPONENTS)(
        **r_session.sparse_arguments(cells["counts"]),
        variable=settings["variable_genes"],
        n_components=rank,
        supervised=settings["reduction"] == "spca",
        neighbors=min(20, n_cells - 1),
        seed=options["seed"],
    )
    mean, scale = _moments(r_session.log1p_cp10k(cells))
    return {**found, "mean": mean, "scale": scale}


def adapt(state: dict[str, Any], cells: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """Return anchors between ``from_points`` of the reference and ``to_points`` of a query: cells (from 0) and scores."""
    settings = options["settings"]
    reference, query = cells["from_points"], cells["to_points"]
    # Seurat fails where it is asked for as many neighbours as there are cells.
    most = min(len(reference), len(query)) - 1
    found = seurat(ANCHORS)(
        reference=reference,
        query=query,
        shrink=SHRINK,
        k_anchor=max(1, min(settings["k_anchor"], most)),
        k_score=max(1, min(settings["k_score"], most)),
        seed=options["seed"],
    )
    there = found["reference"] > 0  # it writes down cell 0 where it finds none
    return {
        "reference": found["reference"][there].astype(np.int32) - 1,
        "query": found["query"][there].astype(np.int32) - 1,
        # Few anchors can all overlap alike, and Seurat divides by the range of that.
        "score": np.nan_to_num(found["score"][there], nan=1.0),
    }


def azimuth(state: dict[str, Any], cells: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """Read ``ref.Rds`` of a reference made for Azimuth: reading it can run code, which the caller has allowed."""
    path = options["azimuth_file"]
    found = seurat(AZIMUTH)(path=path, annotation=options["settings"]["annotation"] or "")
    if columns := found.get("columns"):
        named = options["settings"]["annotation"]
        message = f"{path} has no annotation {named!r}; it has {', '.join(columns)}. Set annotation to one of them."
        raise ValueError(message)
    if problem := found.get("problem"):
        (why,) = problem
        message = f"{path} cannot serve: it {why}"
        raise ValueError(message)
    return dict(found)


def seurat(source: str) -> Callable[..., Any]:
    """Return a function of R that runs with Seurat loaded, in one process."""
    function = r_session.define_with("Seurat", source, install=INSTALL)
    r_session.define("""function() {future::plan("sequential"); NULL}""")()
    return function


def _moments(expression: csr_matrix) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation (n - 1) of each gene; 1 for a gene that never varies."""
    n_cells = expression.shape[0]
    mean = np.asarray(expression.sum(axis=0)).ravel() / n_cells
    rest = expression.copy()
    rest.data = (rest.data - mean[rest.indices]) ** 2
    zeros = n_cells - np.bincount(expression.indices, minlength=expression.shape[1])
    scale = np.sqrt((np.asarray(rest.sum(axis=0)).ravel() + zeros * mean**2) / (n_cells - 1))
    return mean, np.where(scale > 1e-12, scale, 1.0)
