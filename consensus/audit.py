"""The reference audit: what stands behind each term, and which labels held-out votes speak against.

A reference is the whole world of its jury, so the card says first where it is thin. Labels are questioned by confident
learning (Northcutt 2021 doi:10.1613/jair.1.12125).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

    from celljury.ontology.graph import CellOntology

    Bools = NDArray[np.bool_]
    Ints = NDArray[np.int32]

# Suspicious cells that are named.
MAX_NAMED = 50
# A share of a term's held-out votes on other branches that deserves a sentence, of at least so many voted cells: with
# fewer, one cell makes the share.
NOISY_SHARE = 0.2
NOISY_CELLS = 10
# One donor with so much of a term is what the members learn the term from.
LARGE_DONOR = 0.9
# Rows of float64 tables (cells x terms) worked on at once.
CHUNK_CELLS = 50_000


@dataclass(frozen=True, slots=True)
class HeldOut:
    """What the jury says of reference cells that its members were not fitted on (n_cells, in the reference's order).

    Attributes
    ----------
    top
        Pooled top term as an ontology index, int32 (n_cells,), -1 = nobody voted or the cell was never held out.
    pooled
        Pooled probabilities, CSR (n_cells, n_ontology_terms); None where members gave top terms only. Without it no
        single label is called suspicious.
    agreed
        Whether all members that voted said ``top``, bool (n_cells,); None = unknown, and not asked for.
    """

    top: Ints
    pooled: csr_matrix | None = None
    agreed: Bools | None = None


@dataclass(frozen=True, slots=True)
class Audit:
    """The audit; plain values only.

    Attributes
    ----------
    rows
        One a term, in the order of the reference's terms: ``term``, ``label``, ``n_cells``, ``n_donors``, ``n_batches``,
        ``largest_donor``, ``largest_donor_share`` (of the term's cells), ``rare``; and, None without held-out votes:
        ``n_voted`` (cells with a held-out vote), ``n_other_branch`` (vote neither at, above nor below the label),
        ``other_branch_share`` (of those voted), ``confused_with``, ``confused_label``, ``n_confused`` (the most
        frequent of these votes), ``n_suspicious``.
    suspicious
        At most `MAX_NAMED` cells whose label is most in doubt, worst first: ``cell_id``, ``donor``, ``term``,
        ``label``, ``voted_term``, ``voted_label``, ``mass_label`` (pooled mass on the label's line), ``mass_voted``.
    n_suspicious
        All of them.
    warnings
        Sentences for whoever chose the reference.
    """

    rows: tuple[dict[str, Any], ...]
    suspicious: tuple[dict[str, Any], ...]
    n_suspicious: int
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "rows": list(self.rows),
            "suspicious": list(self.suspicious),
            "n_suspicious": self.n_suspicious,
            "warnings": list(self.warnings),
        }


def audit_reference(
    label: Ints,
    ontology: CellOntology,
    *,
    terms: Ints,
    cell_ids: NDArray[np.str_],
    donor: Ints,
    donors: tuple[str, ...],
    batch: Ints,
    batches: tuple[str, ...],
    held_out: HeldOut | None = None,
    rare_cells: int = 10,
    rare_donors: int = 2,
) -> Audit:
    """Audit a labelled reference.

    Parameters
    ----------
    label
        Index into ``terms``, int32 (n_cells,).
    terms
        Ontology index of each reference term, int32 (n_terms,).
    cell_ids
        Names (n_cells,).
    donor, batch
        Index into ``donors`` and ``batches``, int32 (n_cells,); the same array where donors are not known apart.
    held_out
        Cross-validated votes; without them labels are not questioned.
    rare_cells, rare_donors
        A term with fewer cells, or, in a reference of so many donors, with fewer donors is rare.
    """
    by_donor = _crosstab(label, donor, len(terms), len(donors))
    by_batch = _crosstab(label, batch, len(terms), len(batches))
    n_cells, n_donors = by_donor.sum(axis=1), (by_donor > 0).sum(axis=1)
    largest = by_donor.argmax(axis=1)
    rare = n_cells < rare_cells
    if (by_donor.sum(axis=0) > 0).sum() >= rare_donors:
        rare |= n_donors < rare_donors
    votes, suspects, n_suspicious = None, None, np.zeros(len(terms), np.int64)
    if held_out is not None:
        votes = _Votes.count(label, ontology, terms=terms, top=held_out.top)
        suspects = _suspects(label, ontology, terms=terms, held_out=held_out).worst_first(cell_ids)
        n_suspicious = np.bincount(label[suspects.cells], minlength=len(terms))
    rows = tuple(
        {
            "term": ontology.ids[i], "label": ontology.labels[i], "n_cells": int(n_cells[t]),
            "n_donors": int(n_donors[t]), "n_batches": int((by_batch[t] > 0).sum()),
            "largest_donor": donors[largest[t]] if n_cells[t] else None,
            "largest_donor_share": float(by_donor[t].max() / n_cells[t]) if n_cells[t] else 0.0,
            "rare": bool(rare[t]),
            **(_NO_VOTES if votes is None else {**votes.row(t, ontology), "n_suspicious": int(n_suspicious[t])}),
        }
        for t, i in enumerate(terms.tolist())
    )  # fmt: skip
    suspicious = []
    if suspects is not None:
        for at, cell in enumerate(suspects.cells[:MAX_NAMED].tolist()):
            said, voted = int(terms[label[cell]]), int(suspects.voted[at])
            suspicious.append(
                {
                    "cell_id": str(cell_ids[cell]), "donor": donors[donor[cell]],
                    "term": ontology.ids[said], "label": ontology.labels[said],
                    "voted_term": ontology.ids[voted], "voted_label": ontology.labels[voted],
                    "mass_label": round(float(suspects.mass_label[at]), 4),
                    "mass_voted": round(float(suspects.mass_voted[at]), 4),
                }
            )  # fmt: skip
    n_doubtful = int(n_suspicious.sum())
    warnings = (
        *_warn_of_donors(by_donor, donors),
        *_warn_of_terms(rows, several=bool((by_donor.sum(axis=0) > 0).sum() > 1)),
        *_warn_of_batches(by_batch, batches, rows),
        *_warn_of_labels(rows, n_suspicious=n_doubtful, n_voted=0 if votes is None else int(votes.n_voted.sum())),
    )
    return Audit(rows, tuple(suspicious), n_doubtful, warnings)


def _crosstab(a: Ints, b: Ints, n_a: int, n_b: int) -> NDArray[np.int64]:
    """Cells of each pair, int64 (n_a, n_b)."""
    return np.bincount(a.astype(np.int64) * n_b + b, minlength=n_a * n_b).reshape(n_a, n_b)


# Labels against held-out votes ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Votes:
    """Held-out votes against labels, per term.

    Voted cells, those voted onto another branch, the most frequent such vote (-1 = none) and how often it was.
    """

    n_voted: NDArray[np.int64]
    n_other: NDArray[np.int64]
    confused: Ints
    n_confused: NDArray[np.int64]

    @classmethod
    def count(cls, label: Ints, ontology: CellOntology, *, terms: Ints, top: Ints) -> Self:
        other = ~_on_line(ontology, top, terms[label])
        # -1, an abstention, is on no line and is dropped with the votes on the label's.
        used, code = np.unique(np.where(other, top, -1), return_inverse=True)
        table = _crosstab(label, code.astype(np.int32), len(terms), len(used))
        table[:, used < 0] = 0
        # Of equally frequent votes the first, which is the more informative term.
        most = table.argmax(axis=1)
        n_most = table[np.arange(len(terms)), most]
        n_voted = np.bincount(label[top >= 0], minlength=len(terms))
        return cls(n_voted, table.sum(axis=1), np.where(n_most > 0, used[most], -1).astype(np.int32), n_most)

    def row(self, t: int, ontology: CellOntology) -> dict[str, Any]:
        """Return the part of a term's row that held-out votes fill."""
        n, i = int(self.n_voted[t]), int(self.confused[t])
        return {
            "n_voted": n, "n_other_branch": int(self.n_other[t]),
            "other_branch_share": float(self.n_other[t] / n) if n else None,
            "confused_with": ontology.ids[i] if i >= 0 else None,
            "confused_label": ontology.labels[i] if i >= 0 else None, "n_confused": int(self.n_confused[t]),
        }  # fmt: skip


_NO_VOTES = dict.fromkeys(
    ("n_voted", "n_other_branch", "other_branch_share", "confused_with", "confused_label", "n_confused", "n_suspicious")
)


@dataclass(frozen=True, slots=True)
class _Suspects:
    """Cells whose label is in doubt: row, the term against it, the mass on the label's line and on that term."""

    cells: NDArray[np.int64]
    voted: Ints
    mass_label: NDArray[np.float64]
    mass_voted: NDArray[np.float64]

    def take(self, rows: NDArray[Any]) -> Self:
        return type(self)(*(getattr(self, name)[rows] for name in self.__slots__))

    def worst_first(self, cell_ids: NDArray[np.str_]) -> Self:
        # Rounded, so that ties do not hang on the last bits.
        margin = np.round(self.mass_voted - self.mass_label, 6)
        return self.take(np.lexsort((cell_ids[self.cells], -margin)))


def _on_line(ontology: CellOntology, a: Ints, b: Ints) -> Bools:
    """Whether one lies at or above the other."""
    return ontology.is_ancestor(a, b) | ontology.is_ancestor(b, a)


def _suspects(label: Ints, ontology: CellOntology, *, terms: Ints, held_out: HeldOut) -> _Suspects:
    """Return cells whose label is in doubt by confident learning (Northcutt 2021), the off-diagonal of its table.

    A term's threshold is the mean mass at or below it over the cells labelled with it: a term that members find hard
    asks for less. A label is in doubt where some term on another branch reaches its own threshold and has more mass
    than the label's whole line; of several, the one with most mass, of equals the more informative.
    """
    n_terms, voted = len(terms), held_out.top >= 0
    found = [_Suspects(np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(0), np.zeros(0))]
    if held_out.pooled is None:
        return found[0]
    below = ontology.is_ancestor(terms[:, None], terms[None, :])  # column lies at or below row
    line = below | below.T
    # Informative terms first, so that argmax takes the more informative of equals.
    first = np.argsort(terms, kind="stable")
    mass = held_out.pooled[:, terms]
    chunks = [slice(start, start + CHUNK_CELLS) for start in range(0, len(label), CHUNK_CELLS)]
    sums = np.zeros(n_terms)
    for rows in chunks:
        support = mass[rows].toarray().astype(np.float64) @ below.T
        own = support[np.arange(len(support)), label[rows]]
        sums += np.bincount(label[rows], weights=own * voted[rows], minlength=n_terms)
    n_voted = np.bincount(label[voted], minlength=n_terms)
    threshold = np.divide(sums, n_voted, out=np.full(n_terms, np.inf), where=n_voted > 0)
    for rows in chunks:
        here = mass[rows].toarray().astype(np.float64)
        on_label = (here * line[label[rows]]).sum(axis=1)
        # Rounded: a mass that equals its threshold reaches it, however the sums were made.
        support = np.round(here @ below.T, 6)
        passes = (support >= np.round(threshold, 6)) & ~line[label[rows]]
        rival = np.where(passes, support, -1.0)[:, first]
        best = rival.argmax(axis=1)
        on_rival = rival[np.arange(len(best)), best]
        doubtful = voted[rows] & (on_rival > np.round(on_label, 6))
        if held_out.agreed is not None:
            doubtful &= held_out.agreed[rows]
        at = np.flatnonzero(doubtful)
        found.append(_Suspects(at + rows.start, terms[first][best[at]].astype(np.int32), on_label[at], on_rival[at]))
    return _Suspects(*(np.concatenate([getattr(part, name) for part in found]) for name in _Suspects.__slots__))


# Sentences ------------------------------------------------------------------------------------------------------------


def _name(row: dict[str, Any]) -> str:
    return f"{row['label']} ({row['term']})"


def _counted(n: int, what: str) -> str:
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"


def _warn_of_donors(by_donor: NDArray[np.int64], donors: tuple[str, ...]) -> list[str]:
    with_cells = np.flatnonzero(by_donor.sum(axis=0))
    if len(with_cells) != 1:
        return []
    return [
        f"All {_counted(int(by_donor.sum()), 'cell')} come from one donor ({donors[with_cells[0]]}): what differs between"
        " people cannot be told from what differs between types, and nothing held out here says how the jury does on"
        " another donor."
    ]


def _warn_of_terms(rows: tuple[dict[str, Any], ...], *, several: bool) -> list[str]:
    """Say which terms are rare, or rest on one donor of several."""
    found = []
    for row in rows:
        cells, of_donors = _counted(row["n_cells"], "cell"), _counted(row["n_donors"], "donor")
        if row["n_cells"] == 0:
            found.append(f"No cell stands behind {_name(row)}.")
        elif row["rare"]:
            stands = "stands" if row["n_cells"] == 1 else "stand"
            found.append(f"Only {cells} of {of_donors} {stands} behind {_name(row)}.")
        elif several and row["n_donors"] == 1:
            found.append(f"All {cells} of {_name(row)} come from donor {row['largest_donor']}.")
        elif several and row["largest_donor_share"] >= LARGE_DONOR:
            found.append(
                f"{100 * row['largest_donor_share']:.0f} % of the {cells} of {_name(row)} come from donor"
                f" {row['largest_donor']}."
            )
    alone = [row for row in rows if several and row["n_donors"] == 1]
    if alone:
        which = "it is" if len(alone) == 1 else "they are"
        found.append(
            f"{_counted(len(alone), 'type')} of {len(rows)} {'occurs' if len(alone) == 1 else 'occur'} in one donor only:"
            f" that donor's own traits are learned as the type, and {which} never judged on another donor."
        )
    return found


def _warn_of_batches(
    by_batch: NDArray[np.int64], batches: tuple[str, ...], rows: tuple[dict[str, Any], ...]
) -> list[str]:
    """Say which batches hold a single type: a correction of that batch may take the type away with it."""
    if (by_batch.sum(axis=0) > 0).sum() < 2:
        return []
    found = []
    for b in np.flatnonzero((by_batch > 0).sum(axis=0) == 1).tolist():
        cells, row = _counted(int(by_batch[:, b].sum()), "cell"), rows[int(by_batch[:, b].argmax())]
        found.append(
            f"Batch {batches[b]} holds only {_name(row)} ({cells}): batch and type cannot be told apart there."
        )
    return found


def _warn_of_labels(rows: tuple[dict[str, Any], ...], *, n_suspicious: int, n_voted: int) -> list[str]:
    found = [
        f"Held out, {row['n_other_branch']:,} of {row['n_voted']:,} cells labelled {_name(row)} are voted onto another"
        f" branch, most often {row['confused_label']} ({row['confused_with']}, {row['n_confused']:,}): the labels are"
        " noisy there, or these members cannot tell the two."
        for row in rows
        if row["n_voted"] and row["n_voted"] >= NOISY_CELLS and row["other_branch_share"] >= NOISY_SHARE
    ]
    if n_suspicious:
        found.append(
            f"{_counted(n_suspicious, 'label')} of {n_voted:,} held-out cells ({100 * n_suspicious / n_voted:.1f} %) may be"
            " wrong: the votes lie confidently on another branch. Look at them before you trust the rarest types."
        )
    return found
