"""Random forest on log expression, its shares of trees turned into probabilities on cells left out of each tree."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
from pydantic import Field

from celljury.members.about import About
from celljury.members.arrays import load_arrays, save_arrays
from celljury.members.base import Block, Member, MemberSettings, MemberVotes, Reference
from celljury.members.singler import fit_temperature
from celljury.members.subsample import cap_per_term
from celljury.members.trees import Tree, Trees

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

FLOOR: Final = 1e-3  # of a share of trees: what none of them says is not impossible


class RandomForestSettings(MemberSettings):
    """Settings of `RandomForest`.

    Attributes
    ----------
    trees
        Trees in the forest; popV's and scikit-learn's default is 100.
    genes_per_split
        Genes among which a split is sought. Accuracy / log loss of popV's 200 and of the root of all (42 of 1,767):
        .956/.165 and .926/.266 (3' v1 -> 5'), .921/.182 and .915/.184 (3' v1 and 5' -> 3' v2), .905/.269 and
        .894/.305 (donors).
    cells_per_leaf
        Least cells of a leaf. With 1 and 3: .956/.165 and .958/.178, .921/.182 and .933/.177, .905/.269 and .916/.223.
    cells_per_term, max_cells
        Caps on the reference cells learned from: 10,000 cells of 3,000 genes and 20 types took 39 CPU s.
    """

    trees: int = Field(default=100, ge=10)
    genes_per_split: int = Field(default=200, ge=1)
    cells_per_leaf: int = Field(default=3, ge=1)
    cells_per_term: int = Field(default=300, ge=1)
    max_cells: int = Field(default=6_000, ge=1)


class RandomForest(Member):
    """scikit-learn's random forest, types weighted to count alike.

    popV weighs types anew in each tree's sample (``balanced_subsample``), which drowns a type of two cells where it was
    drawn: accuracy .937, .925 and .822 against .956, .921 and .905 here (pairs as in `RandomForestSettings`).

    The share of trees that name a type is far below its probability. Here that is softmax(log(share + 0.001) / T), T
    with the least log loss on the shares that each reference cell gets of the trees that did not learn from it: log
    loss .178, .177 and .223 in place of the shares' .493, .422 and .405.

    The forest is kept as arrays (`Trees`); they give scikit-learn's shares and, at genes that the query lacks, go both
    ways.
    """

    name = "random_forest"
    modules = ("sklearn",)
    classifier: ClassVar[bool] = True
    about: ClassVar[About] = About(
        what="A random forest on log1p counts per 10,000: many decision trees, each on a draw of cells and genes.",
        score=(
            "The share of trees that name each type, at a temperature learned on cells that those trees did not see:"
            " how sure the forest is among the reference's types, nothing about whether the cell is of one."
        ),
        right=(
            "A second opinion of another kind than the linear members: it asks whether genes are on or off, together,"
            " and does not mind how large large values are."
        ),
        fails=(
            "Types told apart by many small differences; a deeper or shallower query, where genes cross the thresholds"
            " of many trees at once."
        ),
        licence="BSD-3-Clause (scikit-learn)",
        cite=(
            "Random forests: Breiman 2001, doi:10.1023/A:1010933404324",
            "scikit-learn: Pedregosa 2011, J Mach Learn Res 12:2825",
            "popV: Ergen 2024, doi:10.1038/s41588-024-01993-3",
        ),
    )
    Settings: ClassVar[type[MemberSettings]] = RandomForestSettings

    trees: Trees
    temperature: float

    def _fit(self, reference: Reference) -> None:
        from sklearn.ensemble import RandomForestClassifier

        kept = cap_per_term(
            reference.label,
            per_term=self.settings.cells_per_term,
            total=self.settings.max_cells,
            seed=self.seed,
        )
        expression, label = self.normalized(reference.cells)[kept], reference.label[kept]
        forest = RandomForestClassifier(
            n_estimators=self.settings.trees,
            max_features=min(self.settings.genes_per_split, len(self.genes)),
            min_samples_leaf=self.settings.cells_per_leaf,
            class_weight="balanced",
            oob_score=True,
            n_jobs=self.threads,
            random_state=self.seed % 2**32,
        )
        with warnings.catch_warnings():
            # A cell that every tree learned from counts for nothing below.
            warnings.filterwarnings("ignore", message="Some inputs do not have OOB scores")
            forest.fit(expression.toarray(), label)
        self.trees = Trees.join([_tree(grown.tree_, n_trees=len(forest)) for grown in forest.estimators_])
        self.temperature = self._temperature(np.asarray(forest.oob_decision_function_, np.float64), label)

    def _temperature(self, share: NDArray[np.float64], label: NDArray[np.int32]) -> float:
        """Fit T on the shares of trees that did not learn from a cell, (n_cells, n_terms), NaN where all did."""
        # A type of one cell is unknown to the trees that did not learn from the cell.
        alone = np.bincount(label, minlength=len(self.terms)) == 1
        rows = np.flatnonzero(np.isfinite(share).all(axis=1) & ~alone[label])
        return fit_temperature(np.log(share[rows] + FLOOR), label[rows]) if rows.size else 1.0

    def shares(self, block: Block) -> NDArray[np.float64]:
        """Return the share of trees that name each term, float64 (n_cells, n_terms): scikit-learn's probabilities."""
        return self.trees.vote(self.normalized(block), present=block.present)

    def _predict(self, block: Block) -> MemberVotes:
        from scipy.special import softmax

        mass = softmax(np.log(self.shares(block) + FLOOR) / self.temperature, axis=1).astype(np.float32)
        return MemberVotes(mass, np.full(block.n_cells, np.nan, np.float32))

    def _save(self, folder: Path) -> None:
        save_arrays(folder / "random_forest.npz", temperature=np.array(self.temperature), **self.trees.arrays())

    def _load(self, folder: Path) -> None:
        arrays = load_arrays(folder / "random_forest.npz")
        self.trees = Trees.from_arrays(arrays, n_terms=len(self.terms))
        self.temperature = float(np.asarray(arrays["temperature"], np.float64))


def _tree(grown: Any, *, n_trees: int) -> Tree:
    """Return one of scikit-learn's trees, which adds to each term its share of the leaf over the number of trees."""
    from scipy.sparse import csr_matrix

    share = np.asarray(grown.value, np.float64)[:, 0, :]
    share /= share.sum(axis=1, keepdims=True) * n_trees
    share[np.asarray(grown.children_left) >= 0] = 0.0
    return Tree(
        left=np.asarray(grown.children_left),
        right=np.asarray(grown.children_right),
        gene=np.asarray(grown.feature),
        threshold=np.asarray(grown.threshold, np.float64),
        weight=np.asarray(grown.weighted_n_node_samples, np.float64),
        value=csr_matrix(share),
    )
