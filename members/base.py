"""What a member is: fit on a reference, adapt to a query, predict blocks of it, save and load."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from celljury.errors import ConfigError, GenesError, InputError, MemberError, MemberUnavailableError
from celljury.members.arrays import load_arrays, save_arrays
from celljury.members.normalize import gene_shares, log1p_cp10k
from celljury.members.strangeness import KINDS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

    from celljury.members.about import About

# Row sums of a member's probabilities may differ from 1 by rounding only.
SUM_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class Proteins:
    """Surface proteins of some cells (CITE-seq), in the reference's order.

    Attributes
    ----------
    counts
        Raw counts of antibody tags, float32 (n_cells, n_proteins); a protein that the query lacks is a column of zeros.
    names
        Names of the reference's proteins (n_proteins,).
    present
        Which proteins the query measured, bool (n_proteins,).
    """

    counts: NDArray[np.float32]
    names: tuple[str, ...]
    present: NDArray[np.bool_]

    def take(self, rows: NDArray[np.integer]) -> Proteins:
        """Return those of some of the cells."""
        return Proteins(self.counts[rows], self.names, self.present)


@dataclass(frozen=True, slots=True)
class Block:
    """Some cells, with genes in the reference's order: the whole query, a sample of it, or a block of rows.

    Attributes
    ----------
    counts
        Raw counts, CSR float32 (n_cells, n_genes); a gene that the query lacks is an empty column.
    genes
        Names of the reference's genes (n_genes,).
    present
        Which genes the query measured, bool (n_genes,).
    batch
        Index into ``batches``, int32 (n_cells,).
    batches
        Names of all batches of the query (or reference), not only of those in this block.
    proteins
        The cells' surface proteins; None where the reference has none.
    """

    counts: csr_matrix
    genes: tuple[str, ...]
    present: NDArray[np.bool_]
    batch: NDArray[np.int32]
    batches: tuple[str, ...]
    proteins: Proteins | None = None

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return int(self.counts.shape[0])


@dataclass(frozen=True, slots=True)
class Reference:
    """The labelled cells that members learn from.

    Attributes
    ----------
    cells
        Their counts and batches; every gene is present.
    label
        Index into ``terms``, int32 (n_cells,); every cell has one.
    terms
        Cell Ontology ids (n_terms,), sorted, each with at least one cell.
    """

    cells: Block
    label: NDArray[np.int32]
    terms: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MemberVotes:
    """What one member says of some cells.

    Attributes
    ----------
    mass
        Probability over the member's ``terms``, float32 (n_cells, n_terms); rows sum to 1, or to 0 where it abstains.
        These are the reference's terms, in their order, and behind them such as only the member knows.
    strange
        Out-of-reference score, float32 (n_cells,): larger is stranger, NaN where the member has none.
    signals
        Further such scores by kind (`celljury.members.strangeness.KINDS`), float32 (n_cells,) each; they are what the
        test of belonging is made of. Empty where the member has none.
    """

    mass: NDArray[np.float32]
    strange: NDArray[np.float32]
    signals: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)


class MemberSettings(BaseModel):
    """Settings of a member; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Member(ABC):
    """A predictor of Cell Ontology terms.

    The public methods check, the private ``_fit``, ``_adapt`` and ``_predict`` work. After ``adapt``, what
    ``predict`` says of a cell depends on that cell alone, so blocks of any size and order give the same votes.

    Parameters
    ----------
    seed
        Seeds every random choice.
    threads
        Threads the member may use; recorded, since one and two threads differ in the last bits.
    settings
        Keys of the member's ``Settings``.
    """

    name: ClassVar[str]
    kind: ClassVar[Literal["light", "torch", "remote"]] = "light"  # members of one kind share a worker process
    modules: ClassVar[tuple[str, ...]] = ()  # what must be importable
    distribution: ClassVar[str] = "scikit-learn"  # whose version is recorded
    extra: ClassVar[str] = ""  # pip install 'celljury[extra]'
    strangeness: ClassVar[str] = ""  # what the out-of-reference score is; empty = none
    classifier: ClassVar[bool] = False  # its probability is a claim about types, not a share of neighbours
    heavy: ClassVar[bool] = False  # training again takes minutes: cross-fitted in few folds, not predicted again
    about: ClassVar[About | None] = None  # what `celljury members describe` says of it
    Settings: ClassVar[type[MemberSettings]] = MemberSettings

    def __init__(self, *, seed: int = 0, threads: int = 1, **settings: Any) -> None:
        self.seed = seed
        self.threads = threads
        try:
            self.settings: Any = self.Settings(**settings)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"])
            known = ", ".join(self.Settings.model_fields) or "none"
            message = f"[settings.{self.name}] {key}: {first['msg']}, got {first['input']!r}. Known settings: {known}."
            raise ConfigError(message) from error
        self.terms: tuple[str, ...] = ()
        self.genes: tuple[str, ...] = ()
        self.gene_share = np.empty(0, np.float64)

    # What is installed ------------------------------------------------------------------------------------------

    @classmethod
    def missing(cls) -> tuple[str, ...]:
        """Modules this member needs and that are not installed."""
        return tuple(module for module in cls.modules if find_spec(module) is None)

    @classmethod
    def require(cls) -> None:
        """Raise MemberUnavailableError where a needed module is missing."""
        if missing := cls.missing():
            raise MemberUnavailableError.for_member(cls.name, missing=missing, extra=cls.extra)

    @classmethod
    def library_version(cls) -> str:
        """Version of the library behind the member, e.g. ``celltypist 1.7.1``."""
        try:
            return f"{cls.distribution} {version(cls.distribution)}"
        except PackageNotFoundError:
            return f"{cls.distribution} unknown"

    def ready(self) -> None:
        """Raise MemberUnavailableError where this member, with its settings, lacks what it needs."""
        self.require()

    def version_used(self) -> str:
        """Return the version that is recorded: of the library, unless the member knows more."""
        return self.library_version()

    # The contract -----------------------------------------------------------------------------------------------

    def fit(self, reference: Reference) -> Self:
        """Learn from a reference and return self.

        ``terms`` are the reference's; a member with a model or a tree of its own may add others behind them in ``_fit``,
        which then stand in the votes as cast (see `celljury.pool.agreement` for what they are worth).

        Raises
        ------
        InputError
            If the reference has fewer than two terms or no cells.
        MemberUnavailableError
            If the member's library is not installed.
        """
        self.ready()
        if len(reference.terms) < 2:
            only = ", ".join(reference.terms) or "none"
            message = f"a reference needs at least two cell types to learn from, got: {only}"
            raise InputError(message)
        self.terms = reference.terms
        self.genes = reference.cells.genes
        self.gene_share = gene_shares(reference.cells.counts)
        self._fit(reference)
        return self

    def adapt(self, query: Block) -> Self:
        """Fit what depends on the query's batches, from a bounded sample of its cells, and return self.

        Adapting starts from the fitted state, so a second call replaces the first.
        """
        self._check_genes(query)
        if query.n_cells:
            self._adapt(query)
        return self

    def predict(self, block: Block) -> MemberVotes:
        """Vote on a block of query cells. Cells without any count abstain.

        Raises
        ------
        MemberError
            If the member's own output breaks the contract of `MemberVotes`.
        """
        self._check_genes(block)
        shape = (block.n_cells, len(self.terms))
        if not block.n_cells:
            return MemberVotes(np.zeros(shape, np.float32), np.zeros(0, np.float32))
        votes = self._predict(block)
        mass = np.array(votes.mass, dtype=np.float32)
        strange = np.array(votes.strange, dtype=np.float32)
        signals = {kind: np.array(values, dtype=np.float32) for kind, values in votes.signals.items()}
        lengths = {strange.shape, *(values.shape for values in signals.values())}
        if mass.shape != shape or lengths != {(block.n_cells,)}:
            message = f"member {self.name!r} returned mass {mass.shape} and scores {sorted(lengths)}, expected {shape}"
            raise MemberError(message)
        if unknown := sorted(set(signals) - set(KINDS)):
            message = f"member {self.name!r} gave signals {', '.join(unknown)}; known kinds: {', '.join(KINDS)}"
            raise MemberError(message)
        empty = np.asarray(block.counts.sum(axis=1)).ravel() == 0
        mass[empty] = 0.0
        for scores in (strange, *signals.values()):
            scores[empty] = np.nan
        total = mass.sum(axis=1, dtype=np.float64)
        valid = np.isfinite(total) & ((total == 0) | (np.abs(total - 1) <= SUM_TOLERANCE)) & (mass.min(axis=1) >= 0)
        if not valid.all():
            row = int(np.flatnonzero(~valid)[0])
            message = (
                f"member {self.name!r} gave probabilities that sum to {total[row]:.4g} (min {mass[row].min():.4g})"
            )
            raise MemberError(message)
        return MemberVotes(mass, strange, signals)

    def save(self, folder: Path) -> None:
        """Write the member, with its adaptation if it has one, as JSON and npz files into ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        state = {
            "member": self.name,
            "library": self.version_used(),
            "seed": self.seed,
            "threads": self.threads,
            "settings": self.settings.model_dump(mode="json"),
            "terms": list(self.terms),
            "genes": list(self.genes),
        }
        (folder / "member.json").write_text(json.dumps(state, indent=1), encoding="utf-8")
        save_arrays(folder / "member.npz", gene_share=self.gene_share)
        self._save(folder)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a member that `save` wrote; no file of it can run code."""
        state = json.loads((folder / "member.json").read_text(encoding="utf-8"))
        member = cls(seed=state["seed"], threads=state["threads"], **state["settings"])
        member.ready()
        member.terms = tuple(state["terms"])
        member.genes = tuple(state["genes"])
        member.gene_share = np.asarray(load_arrays(folder / "member.npz")["gene_share"], np.float64)
        member._load(folder)
        return member

    # What members share -----------------------------------------------------------------------------------------

    def normalized(self, block: Block) -> csr_matrix:
        """log1p counts per 10,000, CSR float32 (n_cells, n_genes), on the reference's scale (see `log1p_cp10k`)."""
        return log1p_cp10k(block.counts, share=float(self.gene_share[block.present].sum()))

    def _check_genes(self, block: Block) -> None:
        if block.genes != self.genes:
            message = (
                f"member {self.name!r} was fitted on {len(self.genes):,} genes and got a block of {len(block.genes):,}"
                " other or differently ordered ones. Align the query with celljury.genes.align_genes."
            )
            raise GenesError(message)

    # What a member writes ---------------------------------------------------------------------------------------

    @abstractmethod
    def _fit(self, reference: Reference) -> None: ...

    def _adapt(self, query: Block) -> None:  # noqa: B027 - most members have nothing to adapt
        pass

    @abstractmethod
    def _predict(self, block: Block) -> MemberVotes: ...

    @abstractmethod
    def _save(self, folder: Path) -> None: ...

    @abstractmethod
    def _load(self, folder: Path) -> None: ...
