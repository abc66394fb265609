"""The numbers of a report's first page, and the same in few lines for a terminal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from celljury.report.card_words import tier_in_words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from celljury.report.counted import Counted
    from celljury.report.levels import Level
    from celljury.report.review_counts import ReviewCounts
    from celljury.report.tally import Tally

STATUSES: Final = ("resolved", "backed_off", "unresolved", "unseen")


@dataclass(frozen=True, slots=True)
class Glance:
    """The numbers of the first page.

    Attributes
    ----------
    levels
        Each level with the rows of its `celljury.report.tally.Tally` without groups.
    n_cells
        All cells.
    source
        What counts: ``calls``, or ``final``, decisions over them.
    n_by_status
        Cells by status.
    review
        What review has come to.
    sure
        Column that says how sure calls are: ``mean_support`` where it is calibrated, else ``mean_agreement``.
    steps
        What to do next: why, and the command, empty = none.
    """

    levels: tuple[tuple[Level, pd.DataFrame], ...]
    n_cells: int
    source: str
    n_by_status: Mapping[str, int]
    review: ReviewCounts
    sure: str
    steps: tuple[tuple[str, str], ...]

    @property
    def main(self) -> tuple[Level, pd.DataFrame]:
        """The first level that tells cells apart, with its rows: several labels occur at it."""
        several = ((level, rows) for level, rows in self.levels if (rows["place"] >= 0).sum() > 1)
        return next(several, self.levels[0])

    @property
    def n_open(self) -> int:
        """Cells that wait for a curator."""
        return self.review.n_review - self.review.n_decided


def glance_of(
    counted: Counted, tallies: Sequence[Tally], review: ReviewCounts, steps: Sequence[tuple[str, str]]
) -> Glance:
    """Return the numbers of the first page from one tally a level, without groups."""
    found = counted.query("SELECT counted_status::VARCHAR AS status, count(*) AS n FROM cells GROUP BY ALL")
    n_by_status = dict(zip(found["status"], found["n"].astype(int), strict=True))
    return Glance(
        levels=tuple((one.level, one.rows) for one in tallies),
        n_cells=counted.n_cells,
        source=counted.source,
        n_by_status={status: n_by_status.get(status, 0) for status in STATUSES},
        review=review,
        sure="mean_support" if is_calibrated(counted.run.record) else "mean_agreement",
        steps=tuple(steps),
    )


def is_calibrated(record: Mapping[str, Any]) -> bool:
    """Return whether a run's support is a calibrated probability, and not a share of votes or of plain mass."""
    return bool(record.get("calibration")) and record.get("tier", "none") != "none"


SURE: Final = {
    "mean_support": ("support", "mean calibrated probability, 0 to 1, that a cell is of the term it is called or a kind of it"),
    "mean_agreement": ("agreement", "mean share of members, 0 to 1, whose vote is the called term or a kind of it; this run"
                       " has no calibrated probability"),
}  # fmt: skip


# For a terminal ---------------------------------------------------------------------------------------------------------


def first_lines(glance: Glance, record: Mapping[str, Any]) -> list[str]:
    """Return the first page in few lines."""
    sure, _ = SURE[glance.sure]
    level, rows = glance.main
    terms = rows.to_dict("records")
    shown = terms[:8] if len(terms) > 9 else terms
    width = max((len(_cut(row["label"])) for row in shown), default=5)
    lines = [f"{glance.n_cells:,} cells, {level.title}:"]
    for row in shown:
        value = row[glance.sure]
        said = "" if row["place"] < -1 or value != value else f"  {sure} {value:.2f}"
        lines.append(f"  {_cut(row['label']):<{width}}  {row['n_cells']:>10,}  {100 * row['fraction']:>5.1f} %{said}")
    if len(terms) > len(shown):
        lines.append(f"  and {len(terms) - len(shown)} more rows")
    statuses = ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in glance.n_by_status.items() if n)
    lines.append(
        f"{statuses}. {glance.review.n_review:,} need review; of these {glance.review.n_decided:,} are decided."
    )
    alpha = "" if record.get("alpha") is None else f", alpha {record['alpha']:g}"
    lines.append(f"Tier {record['tier']}{alpha}: {tier_in_words(record['tier'], record.get('calibration'))}.")
    return lines


def _cut(text: str, most: int = 48) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
