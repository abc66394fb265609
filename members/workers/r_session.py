"""R in this process, through rpy2: started once, spoken to in numpy.

A cells x genes CSR matrix is byte for byte a genes x cells dgCMatrix, so counts go over as they are and are never dense.
"""

from __future__ import annotations

import os
import sys
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_matrix

if TYPE_CHECKING:
    from collections.abc import Callable

TARGET = 1e4  # as in celljury.members.normalize
AGAIN = "celljury members install r"

# Opens every piece of R code that takes counts: `SPARSE_ARGUMENTS` of `sparse_arguments`, as a genes x cells matrix.
SPARSE = """
sparse <- function(i, p, x, n_genes) {
  loadNamespace("Matrix")  # the class is not known before
  shape <- c(as.integer(n_genes), length(p) - 1L)
  names <- list(paste0("g", seq_len(shape[1])), paste0("c", seq_len(shape[2])))
  methods::new("dgCMatrix", i = i, p = p, x = x, Dim = shape, Dimnames = names)
}
"""

_session: Any = None


def session() -> Any:
    """Return `rpy2.rinterface` with R running in it.

    Raises
    ------
    RuntimeError
        If R cannot be started, whatever the reason: a version clash of rpy2 and R is an ``ffi.error``.
    """
    global _session
    if _session is None:
        if find_spec("_rinterface_cffi_api") is None:  # installed without a compiler
            os.environ.setdefault("RPY2_CFFI_MODE", "ABI")
        try:
            from rpy2 import rinterface
            from rpy2.rinterface_lib import callbacks

            callbacks.consolewrite_warnerror = _to_log
            callbacks.consolewrite_print = _to_log
            rinterface.initr()
        except Exception as error:
            message = (
                f"R cannot be started ({type(error).__name__}: {error}). Is R installed, and this environment made for its"
                f" version? Make it again with: {AGAIN}"
            )
            raise RuntimeError(message) from error
        _session = rinterface
    return _session


def define(source: str) -> Callable[..., Any]:
    """Return a function of R as one of Python; arguments and results go through `to_r` and `from_r`."""
    r = session()
    function = r.evalr(source)

    def call(**arguments: Any) -> Any:
        # By name, out of an environment: the values themselves would become part of the call, and Seurat writes down the
        # calls that led to it, 6 s of text for 2,000 cells.
        place = r.baseenv["new.env"](parent=r.baseenv)
        place["the_function"] = function
        for name, value in arguments.items():
            place[name] = to_r(value)
        return from_r(r.evalr(f"the_function({', '.join(f'{name} = {name}' for name in arguments)})", envir=place))

    return call


@cache
def define_with(package: str, source: str, *, install: str) -> Callable[..., Any]:
    """Return a function of R that stands on a package, whose remarks and warnings it keeps to itself.

    Raises
    ------
    RuntimeError
        If the package does not load; ``install`` is what the message says to do.
    """
    (problem,) = define(
        """function(package) tryCatch(
          {loadNamespace("Matrix"); loadNamespace(package); ""}, error = function(e) conditionMessage(e)
        )"""
    )(package=package)
    if problem:
        message = f"R cannot load {package}: {problem}. Install: {install}"
        raise RuntimeError(message)
    return define(f"(function(f) function(...) suppressWarnings(suppressMessages(f(...))))({source})")


def version_of(package: str) -> str | None:
    """Return the version of an installed package of R, None where it is not installed."""
    found = define(
        'function(name) if (nzchar(system.file(package = name))) as.character(utils::packageVersion(name)) else ""'
    )
    (version,) = found(name=package)
    return version or None


def r_version() -> str:
    """Return R's own version, e.g. ``4.2.2``."""
    (version,) = define("function() as.character(getRversion())")()
    return str(version)


def sparse_arguments(matrix: csr_matrix) -> dict[str, Any]:
    """Return the arguments of R's ``sparse`` (see `SPARSE`) for a cells x genes matrix."""
    matrix = matrix.sorted_indices()  # R refuses a matrix whose indices are not sorted
    return {
        "i": matrix.indices.astype(np.int32),
        "p": matrix.indptr.astype(np.int32),
        "x": matrix.data.astype(np.float64),
        "n_genes": matrix.shape[1],
    }


def log1p_cp10k(cells: dict[str, Any]) -> csr_matrix:
    """Return log1p CP10k of an order's cells; genes of a query that lacks some keep the values that they have beside all."""
    counts = cells["counts"]
    total = np.asarray(counts.sum(axis=1, dtype=np.float64)).ravel()
    target = TARGET * float(cells["share"][cells["present"]].sum())
    factor = np.divide(target, total, out=np.zeros_like(total), where=total > 0)
    values = np.log1p(counts.data.astype(np.float64) * np.repeat(factor, np.diff(counts.indptr)))
    return csr_matrix((values, counts.indices.copy(), counts.indptr.copy()), shape=counts.shape)


def to_r(value: Any) -> Any:
    """Return an array, number, text or list of texts as a vector of R; a 2-d array as a matrix."""
    r = session()
    if isinstance(value, np.ndarray) and value.ndim == 2:
        flat = to_r(np.asarray(value, np.float64).ravel(order="F"))
        return r.baseenv["matrix"](flat, nrow=to_r(value.shape[0]), ncol=to_r(value.shape[1]))
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        return r.FloatSexpVector.from_memoryview(np.ascontiguousarray(value, np.float64).data)
    if isinstance(value, np.ndarray):
        return r.IntSexpVector.from_memoryview(np.ascontiguousarray(value, np.int32).data)
    if isinstance(value, bool):
        return r.BoolSexpVector([value])
    if isinstance(value, int):
        return r.IntSexpVector([value])
    if isinstance(value, float):
        return r.FloatSexpVector([value])
    return r.StrSexpVector([value] if isinstance(value, str) else list(value))


def from_r(value: Any) -> Any:
    """Return numbers as an array (a matrix in its shape), texts as a list, a named list as a dictionary, NULL as None."""
    r = session()
    if isinstance(value, r.NULLType):
        return None
    if isinstance(value, r.ListSexpVector):
        return {str(name): from_r(entry) for name, entry in zip(value.names, value, strict=True)}
    if isinstance(value, r.StrSexpVector):
        return [str(text) for text in value]
    return np.array(value.memoryview())


def _to_log(text: str) -> None:
    sys.stderr.write(text)
