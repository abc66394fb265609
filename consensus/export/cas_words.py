"""What a cell annotation says in words: what was called, how well the members agree, what is promised."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST: Final = 2000
"""Characters of a rationale (general_schema.json, Annotation.rationale.maxLength)."""
LONGEST_TITLE: Final = 200
"""Characters of a title (general_schema.json, description of title)."""


@dataclass(frozen=True, slots=True)
class GroupCounts:
    """What is known of the cells of one annotation.

    Attributes
    ----------
    n_cells
        Cells.
    n_backed_off, n_unseen, n_unresolved
        Of these, called with that status; the rest is resolved.
    n_review
        Flagged for a curator by the run.
    n_curated
        Whose term a curator decided.
    agreement, support
        Means over the cells that the run called, 0 to 1; None where curators decided all of them.
    """

    n_cells: int
    n_backed_off: int
    n_unseen: int
    n_unresolved: int
    n_review: int
    n_curated: int
    agreement: float | None
    support: float | None

    def fields(self) -> dict[str, Any]:
        """Return the numbers that are known, under plain names."""
        said = {name: getattr(self, name) for name in self.__slots__ if name.startswith("n_")}
        means = {"mean_agreement": self.agreement, "mean_support": self.support}
        return said | {name: round(value, 4) for name, value in means.items() if value is not None}


def rationale(counts: GroupCounts, record: Mapping[str, Any], *, kind: str, label: str) -> str:
    """Return why some cells have their label, at most `LONGEST` characters.

    Parameters
    ----------
    kind
        ``called``, ``unseen`` (under the term ``label``) or ``unknown``.
    """
    parts = [_opening(counts, kind=kind, label=label)]
    if counts.agreement is not None and kind == "called":
        parts.append(f"Agreement (share of the cast votes at or below the term): mean {counts.agreement:.2f}.")
        calibrated = "calibrated probability" if record.get("rule") == "calibrated" else "share of the votes or mass"
        parts.append(f"Support ({calibrated} at or below the term): mean {counts.support:.2f}.")
    counted = {
        "Backed off to it from a more specific term": counts.n_backed_off, "Flagged for a curator": counts.n_review,
        "Decided by curators": counts.n_curated,
    }  # fmt: skip
    parts += [f"{what}: {n:,}." for what, n in counted.items() if n]
    if counts.n_curated == counts.n_cells:  # a promise speaks of calls
        return cut(" ".join(parts), LONGEST)
    if counts.n_curated:
        parts.append("What follows speaks of the calls before review.")
    alpha = record.get("alpha")
    parts.append(f"Tier: {record['tier']}{f', alpha {alpha:g}' if isinstance(alpha, (int, float)) else ''}.")
    return cut(" ".join([*parts, str(record["promise"])]), LONGEST)


def _opening(counts: GroupCounts, *, kind: str, label: str) -> str:
    n = f"{counts.n_cells:,} cell{'s' if counts.n_cells != 1 else ''}"
    if counts.n_curated == counts.n_cells:
        place = {"called": label, "unseen": f"unseen, under {label}", "unknown": "without a term"}[kind]
        return f"{n}: decided by curators to be {place}."
    if kind == "called" and counts.n_curated:
        return f"{n}: consensus of a jury of classifiers on the Cell Ontology, and of these {counts.n_curated:,} by curators."
    if kind == "called":
        return f"{n}: consensus of a jury of classifiers on the Cell Ontology."
    if kind == "unseen":
        return (
            f"{n} unlike every type of the reference, placed under {label}: the most specific term that still fits. Nothing is"
            " promised about that place."
        )
    parts = [f"{counts.n_unresolved:,} on which too few members agree"] if counts.n_unresolved else []
    parts += [f"{counts.n_unseen:,} unlike every type of the reference"] if counts.n_unseen else []
    return f"{n} without a term: {', '.join(parts)}."


def cut(text: str, longest: int) -> str:
    """Return a text, without its last sentences where it is too long."""
    if len(text) <= longest:
        return text
    ends = [match.start() + 1 for match in re.finditer(r"[.;](?=\s)", text[:longest])]
    return text[: ends[-1]] if ends else text[: longest - 3] + "..."
