"""What a reference made for Azimuth brings along: how cells are placed in its components, and the terms of its cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from celljury.errors import ConfigError, GenesError
from celljury.members.label_terms import terms_of_labels
from celljury.members.seurat_projection import LogProjection, Projection, SctProjection, expected_total

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def projection_of(found: dict[str, Any], genes: Sequence[str], *, where: str) -> Projection:
    """Return the projection on its components, restricted to the jury's ``genes``.

    Parameters
    ----------
    found
        ``loadings`` of its ``genes``, and of these either ``mean`` and ``scale`` of log1p CP10k, or ``sct``: intercept,
        slope, theta and mean residual of its ``sct_genes``, with the ``clip`` range of residuals.
    genes
        The jury's genes, in its order.
    where
        What to call it in a message.
    """
    row = _rows(found["genes"], genes)
    if (row < 0).all():
        message = (
            f"{where} has none of the reference's {len(genes):,} genes; it names them like"
            f" {', '.join(found['genes'][:3])}, the reference like {', '.join(genes[:3])}"
        )
        raise GenesError(message)
    loadings = _spread(found["loadings"], row)
    if "sct" not in found:
        mean, scale = _spread(found["mean"], row), _spread(found["scale"], row)
        return LogProjection(mean, np.where(scale > 0, scale, 1.0), loadings)
    model = found["sct"]
    intercept, slope, theta, offset = _spread(model, _rows(found["sct_genes"], genes), empty=np.nan).T
    whole = expected_total(model[:, 0], model[:, 1])
    return SctProjection(intercept, slope, theta, offset, whole, found["clip"], loadings)


def terms_and_labels(
    labels: Sequence[str], known: tuple[str, ...], *, label_map: str | None, where: str
) -> tuple[tuple[str, ...], NDArray[np.int32]]:
    """Return the terms that its cells vote for, the jury's ``known`` ones first, and each cell's, -1 where it has none.

    Parameters
    ----------
    labels
        Its annotation of each cell.
    label_map
        SSSOM table from these to terms; None = ids, names and exact synonyms only.
    where
        What to call it in a message.
    """
    names = sorted(set(labels))
    term_of = dict(zip(names, terms_of_labels(names, label_map), strict=True))
    if not any(term_of.values()):
        message = (
            f"none of the {len(names)} labels of {where} ({', '.join(names[:3])}, ...) is a Cell Ontology term. Map them"
            " with label_map."
        )
        raise ConfigError(message)
    terms = (*known, *sorted({term for term in term_of.values() if term is not None} - {*known}))
    place = {term: row for row, term in enumerate(terms)}
    code = {name: -1 if term is None else place[term] for name, term in term_of.items()}
    return terms, np.array([code[name] for name in labels], np.int32)


def _rows(names: Sequence[str], wanted: Sequence[str]) -> NDArray[np.intp]:
    """Return where each wanted name stands among ``names``, -1 = nowhere."""
    place = {name: row for row, name in enumerate(names)}
    return np.array([place.get(name, -1) for name in wanted], np.intp)


def _spread(values: NDArray[np.float64], row: NDArray[np.intp], *, empty: float = 0.0) -> NDArray[np.float64]:
    """Return ``values[row]``, with ``empty`` where a row is -1."""
    found = np.full((row.size, *values.shape[1:]), empty)
    found[row >= 0] = values[row[row >= 0]]
    return found
