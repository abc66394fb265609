"""The embedding as the screen draws it: packed points, and the names of areas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from celljury.review.texts import label_of
from celljury.review.views import Embedding

if TYPE_CHECKING:
    from celljury.review.pack import Pack

N_AREAS: Final = 10


def drawn_points(pack: Pack) -> bytes:
    """Return background cells: all x, y as little-endian float32, then all terms as int16; b"" without an embedding."""
    if pack.drawn_xy is None or pack.drawn_term is None:
        return b""
    return np.asarray(pack.drawn_xy, "<f4").tobytes() + np.asarray(pack.drawn_term, "<i2").tobytes()


def item_points(pack: Pack, part_id: str) -> bytes:
    """Return x, y of an item's or part's cells as little-endian float32; raises UnknownItemError."""
    rows = pack.rows_of(part_id)
    return b"" if pack.xy is None else np.asarray(pack.xy[rows], "<f4").tobytes()


def embedding_of(pack: Pack) -> Embedding | None:
    """Return what the embedding is, and where its largest types lie: the middle of their drawn cells' upper edge."""
    if not pack.about["embedding"] or pack.drawn_xy is None or pack.drawn_term is None:
        return None
    xy, term = np.asarray(pack.drawn_xy), np.asarray(pack.drawn_term)
    n = np.bincount(term[term >= 0], minlength=len(pack.about["drawn_terms"]))
    labels = []
    for i in np.argsort(-n, kind="stable")[:N_AREAS].tolist():
        there = xy[(term == i) & np.isfinite(xy).all(axis=1)]
        if len(there):
            # Above the cells, not on them; a few strays do not lift it.
            x, y = float(np.median(there[:, 0])), float(np.quantile(there[:, 1], 0.97))
            labels.append((x, y, label_of(pack.about["drawn_terms"][i], pack.ontology)))
    return Embedding(str(pack.about["embedding"]["name"]), int(pack.about["n_cells"]), len(term), tuple(labels))
