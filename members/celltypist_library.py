"""CellTypist itself: imported without its side effects, asked quietly, its model files and their label maps."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from celljury.errors import UnreadableFileError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

LACKING = "(counts of genes that the query lacks)"  # a column beside the genes, in no model


def annotated(
    expression: csr_matrix, model: Any, *, genes: tuple[str, ...], present: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Sigmoids that `celltypist.annotate` gives, (n_cells, n_classes).

    ``expression`` is log1p CP10k on the reference's scale with empty columns for genes that are not present; the counts
    missing to 10,000 go into a column that no model knows, since CellTypist checks the sum.
    """
    from anndata import AnnData
    from pandas import DataFrame
    from scipy.sparse import csr_matrix, hstack

    celltypist = import_celltypist()
    measured = expression[:, present]
    counts = np.expm1(measured.data.astype(np.float64))
    per_cell = np.bincount(
        np.repeat(np.arange(measured.shape[0]), np.diff(measured.indptr)), weights=counts, minlength=measured.shape[0]
    )
    rest = csr_matrix(np.log1p(np.maximum(1e4 - per_cell, 0.0)).astype(np.float32)[:, np.newaxis])
    names = [*(gene for gene, there in zip(genes, present, strict=True) if there), LACKING]
    cells = AnnData(
        hstack([measured, rest], format="csr"),
        obs=DataFrame(index=[str(row) for row in range(measured.shape[0])]),
        var=DataFrame(index=names),
    )
    with _quiet():
        found = celltypist.annotate(cells, model=model)
    return np.asarray(found.probability_matrix.to_numpy(), dtype=np.float64)


def import_celltypist() -> Any:
    """Import celltypist without what importing it does besides.

    It configures the root logger, changes the warning filters and makes folders for downloaded models in the home
    directory, which may be read-only.
    """
    if "celltypist" in sys.modules:
        return sys.modules["celltypist"]
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    with warnings.catch_warnings(), _models_elsewhere():
        warnings.simplefilter("ignore")
        import celltypist
    root.setLevel(level)
    root.handlers[:] = handlers
    return celltypist


@contextmanager
def _quiet() -> Iterator[None]:
    # It logs nine lines a call, and there is a call for every block.
    chatty = logging.getLogger("celltypist.logger")
    level = chatty.level
    chatty.setLevel(logging.ERROR)
    try:
        yield
    finally:
        chatty.setLevel(level)


@contextmanager
def _models_elsewhere() -> Iterator[None]:
    name = "CELLTYPIST_FOLDER"
    if name in os.environ:
        yield
        return
    with tempfile.TemporaryDirectory() as folder:
        os.environ[name] = folder
        try:
            yield
        finally:
            del os.environ[name]


def load_model(path: Path) -> Any:
    """Unpickle a CellTypist model that the user trusts."""
    celltypist = import_celltypist()
    if not path.is_file():
        message = f"{path} is not a file; [settings.celltypist] model expects a CellTypist model (.pkl)"
        raise UnreadableFileError(message)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn's: the model is older than the installation
        try:
            return celltypist.models.Model.load(str(path.resolve()))
        except Exception as error:  # the library raises this class for whatever goes wrong
            message = f"{path} cannot be read as a CellTypist model: {error}"
            raise UnreadableFileError(message) from error
