# Written from the papers' equations and the manual's list of arguments and slots; see DESCRIPTION.

LOOSE <- 1 # ridge of the batches; the intercept has none
ROUNDS <- 4 # of clustering and correcting; Harmony goes on until nothing changes

unit_columns <- function(Z) sweep(Z, 2, pmax(sqrt(colSums(Z^2)), 1e-12), "/")

# Soft clusters of cells (columns): softmax over clusters of -2 (1 - cosine) / sigma.
soft_clusters <- function(Z, centroids, sigma) {
  logit <- -2 * (1 - crossprod(centroids, unit_columns(Z))) / sigma
  R <- exp(sweep(logit, 2, apply(logit, 2, max)))
  sweep(R, 2, colSums(R), "/")
}

scaled <- function(exprs, mean, stddev) {
  z <- (as.matrix(exprs) - mean) / stddev
  pmin(pmax(z, -10), 10)
}

# One row an intercept, one row a batch.
design <- function(batch) {
  levels <- sort(unique(batch))
  rbind(1, 1 * outer(levels, batch, "=="))
}

# Cells less what a ridge regression, weighted by each cluster, lays to their batch. Nr and C bring in the cells of a
# reference, which has an intercept and no batch.
corrected <- function(Z, R, X, Nr = 0, C = 0) {
  penalty <- diag(c(0, rep(LOOSE, nrow(X) - 1)))
  start <- Z
  for (k in seq_len(nrow(R))) {
    XR <- sweep(X, 2, R[k, ], "*")
    left <- tcrossprod(XR, X) + penalty
    right <- tcrossprod(XR, start)
    if (length(Nr) > 1) {
      left[1, 1] <- left[1, 1] + Nr[k]
      right[1, ] <- right[1, ] + C[k, ]
    }
    effect <- solve(left, right)
    effect[1, ] <- 0
    Z <- Z - crossprod(effect, XR)
  }
  Z
}

buildReference <- function(exp_ref, metadata_ref, vars = NULL, K = 100, verbose = FALSE, do_umap = TRUE,
                           do_normalize = TRUE, vargenes_method = "vst", vargenes_groups = NULL, topn = 2000, tau = 0,
                           theta = 2, save_uwot_path = NULL, d = 20, additional_genes = NULL, umap_min_dist = 0.1,
                           seed = 111) {
  stopifnot(!do_umap, !do_normalize, inherits(exp_ref, "dgCMatrix"), nrow(metadata_ref) == ncol(exp_ref))
  set.seed(seed)
  mean <- Matrix::rowMeans(exp_ref)
  stddev <- sqrt(pmax(Matrix::rowMeans(exp_ref^2) - mean^2, 0) * ncol(exp_ref) / (ncol(exp_ref) - 1))
  chosen <- order(stddev / (mean + 1e-3), decreasing = TRUE)
  chosen <- utils::head(chosen[stddev[chosen] > 0], topn)
  vargenes <- data.frame(symbol = rownames(exp_ref)[chosen], mean = mean[chosen], stddev = stddev[chosen])
  parts <- svd(scaled(exp_ref[chosen, ], vargenes$mean, vargenes$stddev), nu = d, nv = d)
  Z_orig <- parts$d[seq_len(d)] * t(parts$v)
  means <- stats::kmeans(t(unit_columns(Z_orig)), K, nstart = 5, iter.max = 50)
  R <- soft_clusters(Z_orig, unit_columns(t(means$centers)), 0.1)
  Z_corr <- Z_orig
  if (!is.null(vars)) {
    X <- design(as.character(metadata_ref[[vars]]))
    share <- rowMeans(X)[-1]
    for (round in seq_len(ROUNDS)) {
      R <- soft_clusters(Z_corr, unit_columns(tcrossprod(Z_corr, R)), 0.1)
      expected <- outer(rowSums(R), share)
      observed <- tcrossprod(R, X[-1, , drop = FALSE])
      R <- R * (((expected + 1) / (observed + 1))^theta) %*% X[-1, , drop = FALSE] # few batches, less weight
      R <- sweep(R, 2, colSums(R), "/")
      Z_corr <- corrected(Z_orig, R, X)
    }
  }
  loadings <- parts$u
  rownames(loadings) <- vargenes$symbol
  list(
    meta_data = metadata_ref, vargenes = vargenes, loadings = loadings, R = R, Z_orig = Z_orig, Z_corr = Z_corr,
    centroids = unit_columns(tcrossprod(Z_corr, R)), cache = list(rowSums(R), tcrossprod(R, Z_corr)), umap = NULL
  )
}

mapQuery <- function(exp_query, metadata_query, ref_obj, vars = NULL, verbose = TRUE, do_normalize = TRUE, do_umap = TRUE,
                     sigma = 0.1) {
  stopifnot(!do_umap, !do_normalize, nrow(metadata_query) == ncol(exp_query))
  shared <- which(ref_obj$vargenes$symbol %in% rownames(exp_query))
  z <- scaled(
    exp_query[ref_obj$vargenes$symbol[shared], , drop = FALSE], ref_obj$vargenes$mean[shared], ref_obj$vargenes$stddev[shared]
  )
  Zq_pca <- crossprod(ref_obj$loadings[shared, , drop = FALSE], z)
  R <- soft_clusters(Zq_pca, ref_obj$centroids, sigma)
  X <- if (is.null(vars)) matrix(1, 2, ncol(z)) else design(as.character(metadata_query[[vars]]))
  Z <- corrected(Zq_pca, R, X, Nr = ref_obj$cache[[1]], C = ref_obj$cache[[2]])
  list(exp = exp_query, meta_data = metadata_query, Z = Z, Zq_pca = Zq_pca, R = R, Xq = X, umap = NULL)
}
