"""scHPL: linear SVMs along a tree of terms, which stop where none of them accepts the cell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from celljury.members.about import About
from celljury.members.base import Block, Reference
from celljury.members.remote import RemoteMember, RemoteSettings
from celljury.members.subsample import cap_per_term
from celljury.members.term_tree import TOP, TermTree, term_tree
from celljury.ontology.load import load_ontology

if TYPE_CHECKING:
    from celljury.members.base import MemberSettings


class ScHplSettings(RemoteSettings):
    """Settings of `ScHpl`.

    Attributes
    ----------
    components
        Principal components (Pareto scaling) that the SVMs see. Accuracy on P1 and three cross pairs (technologies,
        donors, another laboratory with 231 of 1,767 genes): 30 components .937, .925, .870, .773; 50 .960, .935, .890,
        .824; 100 .970, .908, .885, .769; the genes themselves .967, .927, .879, .769.
    reject_share
        Share of the reference's cells that may be strange enough to be rejected before the walk, scHPL's first test (it
        uses 0.005); None = no such test, and the strangeness is only reported. At 0.005 it rejects .55 of the natural
        killer cells that a reference lacks and .007 of the known cells of a like data set, but .59 of all cells from
        another laboratory with 231 of 1,767 genes.
    cells_per_term, max_cells
        Caps on the reference cells learned from.
    """

    components: int = Field(default=50, ge=2, le=500)
    reject_share: float | None = Field(default=None, gt=0, lt=1)
    cells_per_term: int = Field(default=1_000, ge=1)
    max_cells: int = Field(default=20_000, ge=1)


class ScHpl(RemoteMember):
    """scHPL's hierarchical classifier on a tree cut from the Cell Ontology.

    The tree is that of `celljury.members.term_tree`; its inner nodes are terms too, so what the SVMs of a node's
    children all reject is a vote for the node's own term, and what is rejected at the root is an abstention. The
    library trains; all cells walk down at once, to the same labels as its own loop over cells gives.

    Of scHPL's three classifiers the linear SVM is used: accuracy on P1 and the cross pairs of `ScHplSettings`, with 50
    components, .960, .935, .890, .824; kNN .940, .804, .606, .604; one-class SVM .886, .787, .500, .519. It rarely
    rejects: two sisters' SVMs are near mirror images. None of 20 unseen natural killer cells was rejected, .05 of the
    cells from another laboratory were.

    Where several children accept a cell, scHPL 1.0.5 follows the one whose boundary is nearest (an SVM's sign is that
    of the class with the larger number, here the negative one). That is kept: it concerns .00 to .02 of cells, and the
    surest child instead would change accuracy by .000 to .007.

    Probability is a softmax of margins at each node, with one temperature fitted on held-out cells of the reference.
    Log loss on P1 and the cross pairs .199, .394, .359, .632; a certain label instead would have .364, .595, 1.014,
    1.193. Expected calibration error .036, .058, .050, .129.

    A gene that the query lacks takes the reference's mean.
    """

    name: ClassVar[str] = "schpl"
    environment: ClassVar[str] = "schpl"
    worker: ClassVar[str] = "schpl_worker"
    distribution: ClassVar[str] = "scHPL"
    classifier: ClassVar[bool] = True
    strangeness: ClassVar[str] = "root mean square of scaled expression that the reference's principal components leave"
    about: ClassVar[About] = About(
        what=(
            "A tree of classifiers: each cell walks down a tree cut from the Cell Ontology, one linear SVM a node, and"
            " stays where no child accepts it."
        ),
        score=(
            "The share of a cell that ends at a term when each node splits it by how far inside its children's boundaries"
            " it lies. A vote for a term above the reference's means: of this family, none of its known types."
        ),
        right="Types nest in families, and a coarse answer is better than a wrong fine one.",
        fails=(
            "A tree that does not follow expression sends errors down its branches, and an error near the root cannot be"
            " mended below. Its SVMs rarely reject: a population that the reference lacks mostly gets a leaf."
        ),
        licence="MIT",
        cite=(
            "scHPL: Michielsen 2021, doi:10.1038/s41467-021-23196-8",
            "treeArches: Michielsen 2023, doi:10.1093/nargab/lqad070",
        ),
    )
    Settings: ClassVar[type[MemberSettings]] = ScHplSettings

    tree: TermTree | None = None  # while it is fitted; the fitted state keeps it as columns of the terms

    def options(self) -> dict[str, Any]:
        """Return the tree: each node's parent, and its term's place among the member's terms."""
        if self.tree is None:
            return {}
        columns = [-1 if term == TOP else self.terms.index(term) for term in self.tree.terms]
        return {"tree": {"parents": list(self.tree.parents), "columns": columns}}

    def _fit(self, reference: Reference) -> None:
        self.tree = term_tree(reference.terms, load_ontology())
        self.terms = reference.terms + self.tree.beside(reference.terms)
        kept = cap_per_term(
            reference.label,
            per_term=self.settings.cells_per_term,
            total=self.settings.max_cells,
            seed=self.seed,
        )
        cells = reference.cells
        some = Block(cells.counts[kept], cells.genes, cells.present, cells.batch[kept], cells.batches)
        super()._fit(Reference(some, reference.label[kept].astype(np.int32), reference.terms))
        self.tree = None
