# Reads an h5ad as zellkonverter's own R reader does (its .read_dim_data and .convert_element, over rhdf5): categoricals as
# factors, booleans from their enum, the index from its attribute, columns in their order. Prints one line a finding.
library(rhdf5)

file <- commandArgs(trailingOnly = TRUE)[1]

options(warn = 2) # a warning is an error

attributes_of <- function(path) {
  # anndata says with an enum whether categories are ordered; rhdf5 2.42 reads no enum from an attribute, and warns.
  withCallingHandlers(h5readAttributes(file, path), warning = function(w) {
    if (grepl("type 'ENUM' not yet implemented", conditionMessage(w))) invokeRestart("muffleWarning")
  })
}

column <- function(path) {
  found <- h5read(file, path)
  said <- attributes_of(path)
  if (identical(said[["encoding-type"]], "categorical")) {
    code <- as.vector(found[["codes"]]) + 1L
    code[code == 0L] <- NA
    names <- as.vector(found[["categories"]])
    return(factor(names[code], levels = names))
  }
  if (is.factor(found) && identical(levels(found), c("FALSE", "TRUE"))) return(as.logical(found))
  as.vector(found)
}

table <- function(where) {
  said <- attributes_of(where)
  wanted <- as.vector(said[["column-order"]])
  columns <- lapply(wanted, function(name) column(paste0(where, "/", name)))
  names(columns) <- wanted
  made <- as.data.frame(columns, check.names = FALSE, stringsAsFactors = FALSE)
  rownames(made) <- column(paste0(where, "/", said[["_index"]]))
  made
}

say <- function(...) cat(paste(..., sep = "\t"), "\n", sep = "")

obs <- table("obs")
say("dim", nrow(obs), ncol(obs))
for (name in colnames(obs)) {
  values <- obs[[name]]
  say("column", name, class(values)[1], sum(is.na(values)))
}
first <- rownames(obs)[1]
say("first", first)
for (name in c("celljury_term", "celljury_status", "celljury_agreement", "celljury_needs_review", "celljury_n_votes")) {
  say("value", name, format(obs[first, name], digits = 6))
}
counts <- as.data.frame(base::table(obs$celljury_status))
for (i in seq_len(nrow(counts))) say("status", counts[i, 1], counts[i, 2])

X <- attributes_of("X")
data <- h5read(file, "X/data")
say("X", paste(as.vector(X[["shape"]]), collapse = "x"), sum(data))
uns <- h5read(file, "uns/celljury")
say("uns", "calls", as.vector(uns[["calls"]]))
say("uns", "n_cells", as.vector(uns[["n_cells"]]))
