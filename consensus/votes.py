"""What every member said of every cell, in memory and as a parquet part."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from scipy.sparse import csr_matrix

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from celljury.members.base import MemberVotes
    from celljury.ontology.graph import CellOntology

# Probabilities below this are dropped and the rest rescaled: a part file then holds a few numbers a cell, and no
# decision turns on a ten-thousandth.
MASS_FLOOR = 1e-4


@dataclass(frozen=True, slots=True)
class MemberRecord:
    """One member of a run: what it was, what it cost, or why it is absent.

    Attributes
    ----------
    name
        As in the configuration.
    version
        Library and version behind it.
    settings
        The resolved settings.
    seconds, cpu_seconds
        Wall and processor time per step (``fit``, ``adapt``, ``predict``).
    absent
        Why it does not vote; None where it does.
    """

    name: str
    version: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    cpu_seconds: dict[str, float] = field(default_factory=dict)
    absent: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Votes:
    """Votes of all members on some cells.

    Attributes
    ----------
    cell_ids
        Names of the cells, str (n_cells,).
    members
        Names of the members (n_members,), absent ones included.
    terms
        Top term of each member, int32 (n_cells, n_members), -1 = it abstained or is absent.
    mass
        Per member a CSR float32 (n_cells, n_ontology_terms): probability over terms, rows sum to 1, or 0 where it
        abstained; None where only top terms are known.
    strange
        Out-of-reference score, float32 (n_cells, n_members), larger is stranger, NaN = none.
    signals
        Further such scores by (kind, member), float32 (n_cells,) each, NaN = none: what the test of belonging uses.
    """

    cell_ids: NDArray[np.str_]
    members: tuple[str, ...]
    terms: NDArray[np.int32]
    mass: tuple[csr_matrix, ...] | None
    strange: NDArray[np.float32]
    signals: Mapping[tuple[str, str], NDArray[np.float32]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = (len(self.cell_ids), len(self.members))
        if self.terms.shape != shape or self.strange.shape != shape:
            message = f"votes of {shape} (cells, members) got terms {self.terms.shape} and strange {self.strange.shape}"
            raise ValueError(message)

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return len(self.cell_ids)

    @property
    def n_votes(self) -> NDArray[np.int16]:
        """Votes cast per cell, int16 (n_cells,)."""
        return (self.terms >= 0).sum(axis=1).astype(np.int16)

    def rows(self, rows: slice | NDArray[Any]) -> Self:
        """Return some of the cells."""
        mass = self.mass and tuple(matrix[rows] for matrix in self.mass)
        signals = {key: values[rows] for key, values in self.signals.items()}
        return type(self)(self.cell_ids[rows], self.members, self.terms[rows], mass, self.strange[rows], signals)

    def without(self, absent: Sequence[str]) -> Self:
        """Return the same votes with all of these members silenced: who failed on some cells votes on none."""
        lost = np.isin(self.members, list(absent))
        if not lost.any():
            return self
        mass = self.mass and tuple(
            csr_matrix(matrix.shape, dtype=np.float32) if gone else matrix
            for matrix, gone in zip(self.mass, lost, strict=True)
        )
        return type(self)(
            self.cell_ids,
            self.members,
            np.where(lost, np.int32(-1), self.terms),
            mass,
            np.where(lost, np.float32(np.nan), self.strange),
            {key: values for key, values in self.signals.items() if key[1] not in absent},
        )


def votes_of_members(
    cell_ids: NDArray[np.str_],
    members: Sequence[str],
    found: dict[str, tuple[MemberVotes, NDArray[np.int32]]],
    *,
    n_terms: int,
) -> Votes:
    """Put members' probabilities side by side.

    Parameters
    ----------
    members
        All names; those not in ``found`` are absent.
    found
        Per member its votes and the ontology index of each of its columns.
    n_terms
        Terms of the ontology.
    """
    n_cells = len(cell_ids)
    terms = np.full((n_cells, len(members)), -1, np.int32)
    strange = np.full((n_cells, len(members)), np.nan, np.float32)
    masses = []
    signals: dict[tuple[str, str], NDArray[np.float32]] = {}
    for j, name in enumerate(members):
        if name not in found:
            masses.append(csr_matrix((n_cells, n_terms), dtype=np.float32))
            continue
        votes, index = found[name]
        # Columns in ontology order: argmax takes the first of equals, which is then the more informative term.
        order = np.argsort(index)
        mass = np.where(votes.mass[:, order] < MASS_FLOOR, 0, votes.mass[:, order])
        total = mass.sum(axis=1, keepdims=True)
        mass = np.divide(mass, total, out=np.zeros_like(mass), where=total > 0)
        voted = total.ravel() > 0
        top = index[order][np.round(mass, 6).argmax(axis=1)]
        terms[voted, j] = top[voted]
        strange[:, j] = votes.strange
        signals |= {(kind, name): values for kind, values in votes.signals.items()}
        row, column = np.nonzero(mass)
        masses.append(
            csr_matrix((mass[row, column], (row, index[order][column])), shape=(n_cells, n_terms), dtype=np.float32)
        )
    return Votes(cell_ids, tuple(members), terms, tuple(masses), strange, signals)


def on_ontology(
    votes: MemberVotes, terms: Sequence[str], ontology: CellOntology
) -> tuple[MemberVotes, NDArray[np.int32]]:
    """Return a member's votes and the ontology index of each of their columns, for `votes_of_members`.

    A member may vote for terms that the reference lacks, and know them from another release: mass on a term that
    ``ontology`` does not have is left out, and the rest rescaled; a cell with nothing left abstains.
    """
    there = np.array([term in ontology for term in terms], bool)
    index = ontology.indices([term for term, known in zip(terms, there.tolist(), strict=True) if known])
    if there.all():
        return votes, index
    mass = votes.mass[:, there]
    total = mass.sum(axis=1, keepdims=True)
    rescaled = np.divide(mass, total, out=np.zeros_like(mass), where=total > 0)
    return replace(votes, mass=rescaled), index


def name_column(index: NDArray[np.int32], names: Sequence[str]) -> pa.DictionaryArray:
    """Return ids or labels of terms as a dictionary column, null where the index is -1."""
    import pyarrow as pa

    none = index < 0
    used, codes = np.unique(index[~none], return_inverse=True)
    every = np.zeros(len(index), np.int32)
    every[~none] = codes.ravel()
    found = pa.array([names[i] for i in used.tolist()], pa.string())
    return pa.DictionaryArray.from_arrays(pa.array(every, mask=none), found)


def votes_to_table(votes: Votes, ontology: CellOntology) -> pa.Table:
    """Return the votes as an arrow table: ``cell_id`` and, per member, its votes, scores and masses."""
    import pyarrow as pa

    columns: dict[str, Any] = {"cell_id": pa.array(votes.cell_ids.tolist(), pa.string())}
    used: dict[str, list[str]] = {}
    for j, name in enumerate(votes.members):
        columns[f"vote_{name}"] = name_column(votes.terms[:, j], ontology.ids).cast(pa.string())
        columns[f"strange_{name}"] = pa.array(votes.strange[:, j])
        if votes.mass is not None:
            matrix = votes.mass[j]
            present, local = np.unique(matrix.indices, return_inverse=True)
            offsets = pa.array(matrix.indptr.astype(np.int32))
            columns[f"mass_terms_{name}"] = pa.ListArray.from_arrays(offsets, pa.array(local.astype(np.int16)))
            columns[f"mass_{name}"] = pa.ListArray.from_arrays(offsets, pa.array(matrix.data))
            used[name] = [ontology.ids[i] for i in present.tolist()]
    for (kind, name), values in votes.signals.items():
        columns[f"signal_{kind}_{name}"] = pa.array(values)
    metadata = {"celljury_members": json.dumps(votes.members), "celljury_terms": json.dumps(used),
                "celljury_signals": json.dumps(list(votes.signals))}  # fmt: skip
    return pa.table(columns).replace_schema_metadata(metadata)


def votes_from_table(table: pa.Table, ontology: CellOntology) -> Votes:
    """Read what `votes_to_table` made."""
    metadata = {
        key.decode(): json.loads(value) for key, value in table.schema.metadata.items() if key.startswith(b"celljury_")
    }
    members, used = tuple(metadata["celljury_members"]), metadata["celljury_terms"]
    n_cells = table.num_rows
    terms = np.full((n_cells, len(members)), -1, np.int32)
    strange = np.empty((n_cells, len(members)), np.float32)
    masses = []
    for j, name in enumerate(members):
        coded = table[f"vote_{name}"].combine_chunks().dictionary_encode()
        index = ontology.indices([str(value) for value in coded.dictionary.to_pylist()])
        codes = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        terms[:, j] = np.append(index, -1)[codes]
        strange[:, j] = table[f"strange_{name}"].to_numpy()
        if f"mass_{name}" in table.column_names:
            column = table[f"mass_{name}"].combine_chunks()
            local = table[f"mass_terms_{name}"].combine_chunks().values.to_numpy()
            index = ontology.indices(used[name])
            masses.append(
                csr_matrix(
                    (column.values.to_numpy(), index[local], column.offsets.to_numpy()),
                    shape=(n_cells, len(ontology)),
                )
            )
    cell_ids = np.array(table["cell_id"].to_pylist(), dtype=str)
    signals = {
        (kind, name): table[f"signal_{kind}_{name}"].to_numpy().astype(np.float32)
        for kind, name in metadata.get("celljury_signals", [])
    }
    return Votes(cell_ids, members, terms, tuple(masses) if masses else None, strange, signals)
