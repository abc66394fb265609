"""A query as blocks in the reference's genes, and the bounded sample of it that members adapt on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_matrix, vstack

from celljury.genes import Alignment, GeneTable, align_genes
from celljury.members.base import Block
from celljury.ontology.taxa import known_organism, lineage
from celljury.proteins import ProteinAlignment, align_proteins

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from celljury.cells import Cells
    from celljury.config import Config


@dataclass(frozen=True, slots=True)
class Query:
    """An opened query, aligned to a jury's genes.

    Attributes
    ----------
    cells
        The opened table.
    genes
        The jury's genes.
    alignment
        How the query's genes lie in them.
    batch
        Index into ``batches``, int32 (n_cells,).
    batches
        Names of the query's batches.
    block_size
        Cells read at once.
    proteins
        How the query's proteins lie in the jury's; None where the jury has none.
    """

    cells: Cells
    genes: GeneTable
    alignment: Alignment
    batch: NDArray[np.int32]
    batches: tuple[str, ...]
    block_size: int
    proteins: ProteinAlignment | None = None

    @classmethod
    def of(
        cls,
        cells: Cells,
        genes: GeneTable,
        *,
        batch: str | None,
        min_shared: int,
        block_size: int,
        proteins: tuple[str, ...] = (),
    ) -> Query:
        """Align an opened table; raises GenesError where too few genes are shared, BatchError for a bad batch column.

        ``proteins`` are the names of the jury's proteins.
        """
        codes, names = cells.batches(batch)
        alignment = align_genes(cells.var, genes, where=cells.where, min_shared=min_shared)
        tags = align_proteins(cells.proteins, proteins) if proteins else None
        return cls(cells, genes, alignment, codes, names, block_size, tags)

    @property
    def n_blocks(self) -> int:
        """Number of blocks."""
        return -(-self.cells.n_cells // self.block_size)

    def span(self, i_block: int) -> slice:
        """Return the rows of a block."""
        start = i_block * self.block_size
        return slice(start, min(start + self.block_size, self.cells.n_cells))

    def block(self, i_block: int) -> Block:
        """Read one block."""
        return self.read(i_block)[1]

    def read(self, i_block: int) -> tuple[csr_matrix, Block]:
        """Read one block: raw counts over all genes of the query, and as the jury sees it."""
        rows = self.span(i_block)
        counts = self.cells.rows(rows.start, rows.stop)
        return counts, self._as_block(counts, self.batch[rows], self._tags(rows.start, rows.stop))

    def _as_block(self, counts: csr_matrix, batch: NDArray[np.int32], tags: NDArray[np.float32] | None) -> Block:
        proteins = None if self.proteins is None else self.proteins.apply(tags, len(batch))
        return Block(
            self.alignment.apply(counts), self.genes.names, self.alignment.present, batch, self.batches, proteins
        )

    def _tags(self, start: int, stop: int) -> NDArray[np.float32] | None:
        """Read protein counts as the query has them; None where the jury or the query has none."""
        table = self.cells.proteins
        return None if self.proteins is None or table is None else table.rows(start, stop)

    def sample(self, *, per_batch: int) -> Block:
        """Read at most ``per_batch`` cells of each batch.

        Cells are chosen, and stand, in the order of a hash of their names: the sample does not depend on the order of
        the rows, nor on how they are cut into blocks.
        """
        chosen = sample_rows(self.cells.cell_ids, self.batch, per_batch=per_batch)
        rows = np.sort(chosen)
        parts, tagged = [], []
        for start, stop in self._spans_with(rows):
            here = rows[(rows >= start) & (rows < stop)]
            parts.append(self.cells.rows(start, stop)[here - start])
            if (tags := self._tags(start, stop)) is not None:
                tagged.append(tags[here - start])
        counts = csr_matrix(vstack(parts, format="csr", dtype=np.float32))
        order = np.searchsorted(rows, chosen)
        return self._as_block(counts[order], self.batch[chosen], np.concatenate(tagged)[order] if tagged else None)

    def _spans_with(self, rows: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
        for i_block in np.unique(rows // self.block_size):
            span = self.span(int(i_block))
            yield span.start, span.stop


def sample_of(cells: Cells, config: Config) -> dict[str, str | None]:
    """Return the samples' ``organism`` and ``tissue``: as set, else where a column of CELLxGENE's schema has one value.

    Raises
    ------
    ConfigError
        If the organism that was set is unknown.
    """
    found: dict[str, str | None] = {}
    for name in ("organism", "tissue"):
        given = getattr(config, name)
        column = f"{name}_ontology_term_id"
        if given is None and column in cells.obs.columns:
            values = cells.obs[column].dropna().astype(str).unique()
            given = str(values[0]) if len(values) == 1 else None
            if name == "organism" and given is not None and not known_organism(given):
                given = None
        elif name == "organism" and given is not None:
            lineage(given)
        found[name] = given
    return found


def sample_rows(cell_ids: NDArray[np.str_], batch: NDArray[np.int32], *, per_batch: int) -> NDArray[np.int64]:
    """Return rows of at most ``per_batch`` cells of each batch, in the order of a hash of their names."""
    from pandas.util import hash_array

    hashed = hash_array(cell_ids.astype(object))
    order = np.lexsort((cell_ids, hashed, batch))
    starts = np.searchsorted(batch[order], np.arange(batch.max(initial=-1) + 1))
    rank = np.arange(len(order)) - starts[batch[order]]
    chosen = order[rank < per_batch]
    return chosen[np.lexsort((cell_ids[chosen], hashed[chosen]))]
