# What Seurat itself says: FindTransferAnchors and TransferData on the whole query, written as text.
#
#   Rscript transfer_data.R FOLDER
#
# FOLDER holds reference.mtx and query.mtx (genes x cells), genes.txt, labels.txt. For every line "name reduction" of
# ask.txt it gains name-anchors.csv, name-default.csv (k.weight of the third column) and name-all.csv (k.weight = all cells
# with anchors: then Seurat's approximate search misses none), and name/ref.Rds with the reference as Azimuth lays it out.
# The reduction "azimuth" is supervised principal components of SCTransform's residuals.
suppressMessages(library(Seurat))
future::plan("sequential")
folder <- commandArgs(TRUE)[1]
at <- function(...) file.path(folder, paste0(...))

counts_of <- function(name, prefix) {
  counts <- methods::as(Matrix::readMM(at(name, ".mtx")), "CsparseMatrix")
  dimnames(counts) <- list(readLines(at("genes.txt")), paste0(prefix, seq_len(ncol(counts))))
  counts
}

write_transfer <- function(anchors, labels, name, k) {
  anchors_found <- methods::slot(anchors, "anchors")
  write.csv(anchors_found, at(name, "-anchors.csv"), row.names = FALSE)
  for (which in c("default", "all")) {
    k_weight <- if (which == "all") length(unique(anchors_found[, "cell2"])) else k
    found <- TransferData(anchors, refdata = labels, k.weight = k_weight, verbose = FALSE)
    scores <- found[, paste0("prediction.score.", sort(unique(labels)))]
    write.csv(scores, at(name, "-", which, ".csv"), row.names = FALSE)
  }
}

reference <- CreateSeuratObject(counts_of("reference", "r"))
query <- NormalizeData(CreateSeuratObject(counts_of("query", "q")), verbose = FALSE)
labels <- readLines(at("labels.txt"))
genes <- rownames(reference)
ask <- read.table(at("ask.txt"), col.names = c("name", "reduction", "k"))

write_reference <- function(object, assay, reduction, name) {
  object$celltype <- labels
  object <- suppressWarnings(do.call(RenameAssays, setNames(list(object, "refAssay"), c("object", assay))))
  object[["refDR"]] <- object[[reduction]]
  DefaultAssay(object) <- "refAssay"
  object <- DietSeurat(object, assays = "refAssay", dimreducs = "refDR", scale.data = TRUE)
  dir.create(at(name))
  saveRDS(object, at(name, "/ref.Rds"))
  object
}

for (row in seq_len(nrow(ask))) {
  name <- ask$name[row]
  reduction <- ask$reduction[row]
  if (reduction == "azimuth") {
    object <- SCTransform(reference, variable.features.n = 600, verbose = FALSE)
    object <- RunPCA(object, npcs = 20, verbose = FALSE)
    object <- FindNeighbors(object, dims = 1:20, verbose = FALSE)
    object <- RunSPCA(object, npcs = 20, graph = "SCT_snn", assay = "SCT", verbose = FALSE)
    object <- write_reference(object, "SCT", "spca", name)
    anchors <- FindTransferAnchors(
      object, query, normalization.method = "SCT", reference.assay = "refAssay", query.assay = "RNA",
      reference.reduction = "refDR", features = rownames(Loadings(object[["refDR"]])), dims = 1:20, k.filter = NA,
      verbose = FALSE
    )
  } else {
    object <- ScaleData(NormalizeData(reference, verbose = FALSE), features = genes, verbose = FALSE)
    object <- RunPCA(object, features = genes, npcs = 30, seed.use = 0, verbose = FALSE)
    used <- "pca"
    if (reduction == "spca") {
      object <- FindNeighbors(object, dims = 1:30, verbose = FALSE)
      object <- RunSPCA(object, features = genes, npcs = 30, graph = "RNA_snn", seed.use = 0, verbose = FALSE)
      used <- "spca"
    }
    anchors <- FindTransferAnchors(
      object, query, reference.reduction = used, features = genes, dims = 1:30, k.filter = NA, verbose = FALSE
    )
    write_reference(object, "RNA", used, name)
  }
  write_transfer(anchors, labels, name, ask$k[row])
}
