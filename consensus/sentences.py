"""Each reason in one sentence for a curator, with its numbers; a number that is not known is left out.

Where signals disagree the sentence says which one to trust. Distance outranks confidence: a softmax names one of its
classes also for a cell of none, and its probability corresponds poorly to confidence (Hendrycks & Gimpel 2017, arXiv
1610.02136). It outranks agreement too: members that learned from one reference share its gaps.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from celljury.members.strangeness import KINDS
from celljury.ontology.relations import common_descendants
from celljury.ontology.taxa import LINEAGES
from celljury.reasons import BORDERLINE, MEANING, Reason, judged_term, reasons_in
from celljury.reduce import Status
from celljury.signs import LowQuality, Signs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from celljury.ontology.graph import CellOntology
    from celljury.ontology.statements import Statement
    from celljury.reasons import Background
    from celljury.reduce import Reduced

KIND_IN_WORDS: Final[dict[str, str]] = dict(
    zip(
        KINDS,
        (
            "expression that the reference's components do not explain",
            "expression unlike that of the nearest type",
            "its distance to the nearest type",
            "its distance to the nearest type, beyond that to the reference as a whole",
            "its distance to the nearest cells, beyond what is usual among those",
        ),
        strict=True,
    )
)
SPECIES: Final = {f"NCBITaxon:{ids[-1]}": name for name, ids in LINEAGES.items()}
# Common descendants named in a sentence; all stand in the column of candidates.
N_NAMED: Final = 3


@dataclass(frozen=True, slots=True)
class Between:
    """What lies between the two largest camps of n rows.

    Attributes
    ----------
    meet
        Where they meet, int32 (n,), -1 = nowhere.
    transition
        Which develops from which, (later, earlier), int32 (n, 2), -1, -1 = neither.
    disjoint
        Terms above the first and above the second camp that exclude each other, int32 (n, 2), -1, -1 = none.
    both
        Most general terms that are kinds of both, largest first; empty where the camps exclude each other.
    """

    meet: NDArray[np.int32]
    transition: NDArray[np.int32]
    disjoint: NDArray[np.int32]
    both: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, reduced: Reduced, ontology: CellOntology, background: Background) -> Self:
        """Look at the camps of each row."""
        a, b, relations = reduced.camp_a, reduced.camp_b, background.relations
        pairs = np.stack([a, b], axis=1).astype(np.int32)
        none = np.full_like(pairs, -1)
        crossed = {tuple(pair) for pair in pairs[reduced.crossed].tolist()}
        both = {pair: tuple(common_descendants(ontology, *pair).tolist()) for pair in crossed}
        return cls(
            meet=np.where(b >= 0, ontology.lca_rows(pairs), np.int32(-1)),
            transition=none if relations is None else relations.pairs_joined(a, b),
            disjoint=none if relations is None else relations.pairs_disjoint(a, b),
            both=tuple(both.get(tuple(pair), ()) for pair in pairs.tolist()),
        )


def sentences(
    mask: int,
    reduced: Reduced,
    i: int,
    *,
    between: Between,
    votes: NDArray[np.int32],
    background: Background,
    ontology: CellOntology,
    signs: Signs | None = None,
    j: int | None = None,
    elsewhere: Mapping[Reason, int] | None = None,
) -> list[str]:
    """Say the reasons of row ``i`` to a curator, with their numbers, in the order of `reasons_in`.

    Parameters
    ----------
    between, j
        What lies between the camps, and which row of it is the cell's; ``i`` if None.
    votes
        The members' terms of this row, int32 (n_members,).
    signs
        The same cells as ``reduced``; nothing is known if None.
    elsewhere
        Rows of cells that a reason holds for where it does not for ``i``: cells with the same votes stand as one item, and
        it is said that the numbers are another cell's.
    """
    known = Signs.unknown(len(reduced.term)) if signs is None else signs
    elsewhere, j = elsewhere or {}, i if j is None else j
    said = []
    for reason in reasons_in(mask):
        cell = _Cell(reduced, elsewhere.get(reason, i), between, j, votes, background, ontology, known)
        line = _SAY[reason](cell) if reason in _SAY else ""
        line = line or f"{MEANING[reason][0].upper()}{MEANING[reason][1:]}."
        said.append(f"In others of these cells: {line}" if reason in elsewhere else line)
    return said


@dataclass(frozen=True, slots=True)
class _Cell:
    """One row and all that its sentences draw on; ``j`` is its row of ``between``."""

    reduced: Reduced
    i: int
    between: Between
    j: int
    votes: NDArray[np.int32]
    background: Background
    ontology: CellOntology
    signs: Signs

    def name(self, term: int) -> str:
        return f"{self.ontology.labels[term]} ({self.ontology.ids[term]})"

    def of(self, field: str) -> Any:
        """Return the row's value of a field of `Reduced`."""
        return getattr(self.reduced, field)[self.i].item()

    def sign(self, field: str) -> Any:
        """Return the row's value of a sign; None = not known."""
        value = getattr(self.signs, field)[self.i].item()
        return None if isinstance(value, float) and np.isnan(value) else value

    # Disagreement between members -------------------------------------------------------------------------------

    def camps(self) -> str:
        n = self.of("n_votes")
        n_a, n_b = round(self.of("size_a") * n), round(self.of("size_b") * n)
        rest = f", and {n - n_a - n_b} for neither" if n > n_a + n_b else ""
        return f"{n_a} of {n} votes for {self.name(self.of('camp_a'))}, {n_b} for {self.name(self.of('camp_b'))}{rest}"

    def sibling_conflict(self) -> str:
        meet, above = int(self.between.meet[self.j]), tuple(self.between.disjoint[self.j].tolist())
        where = f"the two meet at {self.name(meet)}" if meet >= 0 else "the two have no common ancestor"
        apart, term, ends = "", self.of("term"), (self.of("camp_a"), self.of("camp_b"))
        if above[0] >= 0:
            as_do = "" if above == ends else f", as all of {self.name(above[0])} and {self.name(above[1])} do"
            apart = f" They exclude each other by definition{as_do}."
        undecided = term < 0 or bool(self.ontology.is_ancestor(term, ends).all())
        advice = " The votes decide no further: do not force a leaf." if undecided else ""
        return f"Members split over branches: {self.camps()}; {where}.{apart}{advice}"

    def lineage_transition(self) -> str:
        later, earlier = self.between.transition[self.j].tolist()
        if later < 0:
            return ""
        return (
            f"Members split along a transition: {self.camps()}; {self.name(later)} develops from {self.name(earlier)}. The"
            " cell may be on its way: do not force it onto either."
        )

    def granularity(self) -> str:
        if self.of("crossed"):
            both = self.between.both[self.j]
            more = f" and {len(both) - N_NAMED} more" if len(both) > N_NAMED else ""
            named = f" What is both: {', '.join(map(self.name, both[:N_NAMED]))}{more}." if both else ""
            a, b = self.of("camp_a"), self.of("camp_b")
            return f"A cell can be both {self.name(a)} and {self.name(b)}: the two do not exclude each other.{named}"
        terms = Counter(term for term in self.votes.tolist() if term >= 0)
        said = "; ".join(
            f"{times} {'says' if times == 1 else 'say'} {self.ontology.labels[term]}"
            for term, times in sorted(terms.items())
        )
        return f"Members agree, but not on how far down: {said}."

    def backed_off(self) -> str:
        end, top, ontology = self.of("end"), self.of("top_term"), self.ontology
        if not ontology.is_ancestor(end, top):
            return (
                f"More votes lie at or below {self.name(end)} than on {self.name(top)}, the term with most votes, which lies"
                " beside it."
            )
        levels = int(ontology.depth[top] - ontology.depth[end])
        up = "1 level" if levels == 1 else f"{levels} levels"
        bits = ontology.ic[top] - ontology.ic[end]
        return f"Backed off from {self.name(top)} by {up} to {self.name(end)}, giving up {bits:.1f} bits."

    def too_general(self) -> str:
        return f"The votes agree on nothing finer than {self.name(self.of('end'))}, which is too general to be a label."

    def member_absent(self) -> str:
        who = "; ".join(f"{member} ({why.rstrip('. ')})" for member, why in self.background.absent.items())
        return f"Took no part in this run: {who}."

    def member_abstained(self) -> str:
        members = zip(self.background.members, self.votes.tolist(), strict=True)
        return f"Did not vote: {', '.join(m for m, vote in members if vote < 0 and m not in self.background.absent)}."

    # The reference and the ontology ------------------------------------------------------------------------------

    def low_genes(self) -> str:
        return f"Only {self.background.n_shared:,} of the jury's {self.background.n_genes:,} genes are in the query."

    def rare_in_reference(self) -> str:
        background, term = self.background, int(judged_term(self.reduced)[self.i])
        cells = None if background.n_reference is None else int(background.n_reference[term])
        donors = None if background.n_reference_donors is None else int(background.n_reference_donors[term])
        few_donors = donors is not None and donors < background.rare_donors
        if cells == 0:
            return f"No reference cell is {self.name(term)}."
        of_donors = f"{donors} donor{'' if donors == 1 else 's'}"
        if cells is None or (cells >= background.rare_cells and few_donors):
            how_many = "" if cells is None else f"{cells:,} "
            return f"The {how_many}reference cells that are {self.name(term)} come from only {of_donors}."
        come = f", from {of_donors}" if donors else ""
        if cells == 1:
            return f"Only 1 reference cell is {self.name(term)}."
        return f"Only {cells:,} reference cells are {self.name(term)}{come}."

    def marker_contradiction(self) -> str:
        at, table, value = self.sign("marker"), self.background.marker_table, self.sign("marker_value")
        if not 0 <= at < len(table):
            return ""
        row = table[at]
        level = "" if value is None else f" ({value:.1f})"
        cells = f"of its {row.n_cells:,} reference cells {100 * row.share:.0f} % express it"
        if row.state == "has":
            how, to_have = f"hardly expressed{level}" if value else "not expressed (0)", "has"
            usual = f"half of them at {row.usual:.1f} or more"
        else:
            how, to_have, usual = f"expressed{level}", "lacks", f"and 99 % stay at or below {row.top:.1f}"
        return (
            f"{row.gene} is {how}, though {self.name(row.term)} {to_have} it ({row.said_by}): {cells}, {usual} (log1p of"
            " counts per 10,000)."
        )

    def out_of_place(self) -> str:
        relations, term = self.background.relations, self.of("term")
        if relations is None or term < 0:
            return ""
        said = []
        if self.background.organism is not None:
            said.append((relations.excluded_by_taxon(term, self.background.organism), self.background.organism))
        if self.background.tissue is not None:
            said.append((relations.excluded_by_location(term, self.background.tissue), self.background.tissue))
        parts = [f"{self._stated(statement)}, and the sample is {sample}" for statement, sample in said if statement]
        return f"{self.name(term)} is out of place: {'; '.join(parts)}." if parts else ""

    def _stated(self, statement: Statement) -> str:
        relation = statement.relation.replace("_", " ")
        where = "" if statement.subject == self.ontology.ids[self.of("term")] else f" (stated of {statement.subject})"
        species = SPECIES.get(statement.object)
        return f"{relation} {statement.object}{f' ({species})' if species else ''}{where}"

    # Belonging to the reference ----------------------------------------------------------------------------------

    def p(self) -> str:
        """Return the p-value in parentheses, with a blank before; empty where it is not known."""
        value = self.sign("p_seen")
        return "" if value is None else f" (p {_p(value)})"

    def unseen(self) -> str:
        p, eps = self.sign("p_seen"), self.background.eps
        by = "" if p is None or eps is None or p > eps else f": p {_p(p)} (at most {eps:g} is out)"
        fits = ""
        if self.of("status") == Status.UNSEEN:
            term = self.of("term")
            fits = f"; last fits {self.name(term)}" if term >= 0 else "; fits no part of it"
        kind = self.sign("strange_kind")
        most = f" Strangest is {KIND_IN_WORDS[KINDS[kind]]}." if kind >= 0 else ""
        return f"Does not belong to the reference{by}{fits}.{most}"

    def borderline_unseen(self) -> str:
        p, eps = self.sign("p_seen"), self.background.eps
        if p is None or eps is None:
            return ""
        return (
            f"Barely belongs to the reference: p {_p(p)} (at most {eps:g} is out, up to {BORDERLINE * eps:g} is close)."
        )

    def confident_but_strange(self) -> str:
        sure = self.sign("confidence")
        how = "" if sure is None else f" (mean probability {sure:.2f})"
        return (
            f"Classifiers are sure{how}, yet the cell does not belong to the reference{self.p()}: trust the distance, the"
            " label may be forced."
        )

    def distance_only(self) -> str:
        out, belongs = self.sign("p_symphony"), self.sign("p_scanvi")
        first, second = ("" if value is None else f" (p {_p(value)})" for value in (out, belongs))
        return (
            f"Symphony's distance puts the cell outside the reference{first}, scANVI's latent does not{second}: prefer the"
            " distance, the latent may have been carved around the labels."
        )

    def shared_bias(self) -> str:
        a, n = self.of("camp_a"), self.of("n_votes")
        what = f"lie at or below {self.name(a)}" if self.of("mixed") else f"are for {self.name(a)}"
        return (
            f"All {n} votes {what}, yet the cell does not belong to the reference{self.p()}: agreement is no evidence where"
            " all members learned from the same cells."
        )

    # Quality and what is promised --------------------------------------------------------------------------------

    def low_quality(self) -> str:
        bits, says = LowQuality(self.sign("low_quality")), []
        for bit, field, what, plain in (
            (LowQuality.FEW_COUNTS, "counts", "counts over the shared genes", "few counts"),
            (LowQuality.FEW_GENES, "genes", "of the shared genes detected", "few genes detected"),
        ):
            if bit in bits:
                says.append(self._unusual(field, what, plain, lambda x: f"{x:,.0f}"))
        if LowQuality.HIGH_MITO in bits:
            what, plain = "of the counts are mitochondrial", "a high mitochondrial share"
            says.append(self._unusual("mito", what, plain, lambda x: f"{100 * x:.0f} %"))
        return f"Low quality: {'; '.join(says)}." if says else ""

    def _unusual(self, field: str, what: str, plain: str, show: Callable[[float], str]) -> str:
        value, usual = self.sign(field), self.sign(f"expected_{field}")
        if value is None:
            return plain
        return f"{show(value)} {what}" + ("" if usual is None else f", where {show(usual)} are usual")

    def possible_doublet(self) -> str:
        score, a, b = self.sign("doublet_score"), self.sign("split_a"), self.sign("split_b")
        says = []
        if self.sign("doublet"):
            says.append(
                "its doublet score" + ("" if score is None else f" of {score:.2f}") + " is above the batch's limit"
            )
        if b >= 0:
            says.append(f"its probability lies on two lineages, {self.name(a)} and {self.name(b)}")
        return f"May be two cells: {'; '.join(says)}." if says else ""

    def uncalibrated(self) -> str:
        if self.sign("unlike_batch"):
            why = "its batch is unlike the held-out donors that the threshold rests on"
        elif self.background.calibrated_run:
            why = "too few held-out cells stand behind a threshold for cells like this one"
        else:
            why = "the threshold was not calibrated on held-out cells"
        alpha = self.background.alpha
        wanted = "" if alpha is None else f" The wanted {100 * alpha:g} % of wrong calls may be exceeded."
        return f"No error rate is promised: {why}.{wanted}"


_SAY: Final[dict[Reason, Callable[[_Cell], str]]] = {
    reason: getattr(_Cell, reason.code) for reason in Reason if hasattr(_Cell, reason.code)
}


def _p(value: float) -> str:
    return "< 0.0001" if value < 1e-4 else f"= {value:.2g}"
