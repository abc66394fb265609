"""The queue as a table that a spreadsheet opens, and decisions read back from it: all of them, or none and why."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from celljury.errors import InputError, MissingColumnError, OutputError, UnreadableFileError
from celljury.ontology.abbreviations import normalized
from celljury.ontology.names import NameIndex
from celljury.review.drafts import MAX_NOTE, Draft, check_name
from celljury.review.events import DECIDING, PART, Action, Outcome, item_of
from celljury.review.texts import outcome_above, outcome_of_call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import pandas as pd

    from celljury.ontology.graph import CellOntology
    from celljury.review.ledger import Ledger

SHOWN: Final = ("term", "label", "status", "reasons", "sentence", "candidates")
COLUMNS: Final = ("item_id", "evidence", "n_cells", *SHOWN, "decision", "note")
_READ: Final = ("item_id", "evidence", "decision", "note")
_WORDS: Final = {"accept": Action.ACCEPT, "up": Action.UP, "unseen": Action.UNSEEN, "skip": Action.SKIP}

# What a spreadsheet would take for a formula (owasp.org/www-community/attacks/CSV_Injection), and ids of digits that it
# would make a number of: 412e28371612 becomes 4.12E+28371614.
_MISREAD = re.compile(r"'*(?:[=+\-@\t\r]|[0-9]+(?:[eE][0-9]+)?$)")


def export_sheet(
    items: pd.DataFrame, ledger: Ledger, path: Path, *, n_cells: Callable[[str], int] | None = None
) -> None:
    """Write a TSV with one row an item, or part of a split one; reviewers fill ``decision`` and ``note``.

    ``decision`` takes ``accept``, ``up``, ``unseen``, ``skip``, or a term's id or label. A cell that a spreadsheet would
    take for a formula or number begins with an apostrophe, which `import_sheet` takes off again.

    Parameters
    ----------
    items
        The queue with ``evidence``.
    n_cells
        Returns the number of cells of a part; without it, that column is empty for parts.

    Raises
    ------
    OutputError
        If the file cannot be written; what was there before is still there.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
            writer.writerow(COLUMNS)
            for row in items[["n_cells", "item_id", "evidence", *SHOWN]].to_numpy(dtype=object).tolist():
                n_of_item, item_id, evidence, *shown = map(str, row)
                for leaf in ledger.leaves(item_id):
                    count = n_of_item if leaf == item_id else str(n_cells(leaf)) if n_cells else ""
                    texts = map(_guarded, (leaf, ledger.evidence_of(leaf) or evidence, *shown))
                    writer.writerow((next(texts), next(texts), count, *texts, "", ""))
        partial.replace(path)
    except OSError as error:
        message = f"cannot write to {path}: {error.strerror}. Name another place, or make this one writable."
        raise OutputError(message) from error
    finally:
        with suppress(OSError):
            partial.unlink()


def _guarded(text: str) -> str:
    return "'" + text if _MISREAD.match(text) else text


def _plain(text: str) -> str:
    return text[1:] if text.startswith("'") and _MISREAD.match(text) else text


def import_sheet(
    path: Path, items: pd.DataFrame, ledger: Ledger, ontology: CellOntology, *, reviewer: str
) -> tuple[Draft, ...]:
    """Return the decisions that a sheet holds, in its order.

    A row without a decision is left alone; its note, if it has one, becomes a note. The draft of a row that says what the
    reviewer's last decision on it says, with the same note, is that decision over again: it has its key, and adds
    nothing. Any other adds a line, also one that returns to an earlier opinion or repeats what was undone since; its key
    follows from what it says and from the reviewer's last event on the item, so that one sheet read twice at once is
    logged once.

    Raises
    ------
    InputError
        If a row does not fit; all that do not are listed, with what was expected. Then nothing is to be imported.
    MissingColumnError
        If a column is missing.
    UnreadableFileError
        If it is missing or no table of text.
    """
    check_name(reviewer)
    rows = list(_rows(path))
    reader = _Reader(items, ledger, ontology, reviewer)
    drafts = [draft for row in rows if (draft := reader.draft(row)) is not None]
    if reader.misfits:
        message = (
            f"{path} has {len(reader.misfits)} fault(s), and nothing was imported:\n"
            + "\n".join(f"  {line}" for line in reader.misfits)
            + "\nCorrect them and import the file again; celljury review RUN --export writes the queue as it is now."
        )
        raise InputError(message)
    return tuple(drafts)


@dataclass(frozen=True, slots=True)
class _Row:
    """A row with its number in the spreadsheet; the header is row 1."""

    number: int
    item_id: str
    evidence: str
    decision: str
    note: str


def _rows(path: Path) -> Iterator[_Row]:
    reader = csv.reader(io.StringIO(_text(path), newline=""), delimiter="\t")
    try:
        header = [name.strip() for name in next(reader, [])]
        for name in _READ:
            if header.count(name) != 1:
                where = f"{path} (row 1; a tab-separated table is expected)"
                raise MissingColumnError.for_column(name, where=where, have=header)
        at = [header.index(name) for name in _READ]
        for number, cells in enumerate(reader, 2):
            # A spreadsheet may leave empty cells out at a row's end, and empty rows at the table's.
            cells = [*cells, *[""] * (len(header) - len(cells))]
            if any(cell.strip() for cell in cells):
                yield _Row(number, *(_plain(cells[i].strip()) for i in at))
    except csv.Error as error:
        message = f"{path} is no tab-separated table: {error} (near row {reader.line_num}). Save it as TSV again."
        raise UnreadableFileError(message) from error


def _text(path: Path) -> str:
    try:
        found = path.read_bytes()
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror}. Expected a table that celljury review RUN --export wrote."
        raise UnreadableFileError(message) from error
    # Excel's "Unicode text" is UTF-16 with a mark.
    encoding = "utf-16" if found[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return found.decode(encoding)
    except UnicodeDecodeError as error:
        message = (
            f"{path} is no {encoding[:6].rstrip('-')} text (byte {error.start:,}). Expected a tab-separated table: save it as"
            " TSV with the encoding UTF-8, or as Unicode text."
        )
        raise UnreadableFileError(message) from error


class _Reader:
    """Rows to drafts; what does not fit is gathered in ``misfits``."""

    def __init__(self, items: pd.DataFrame, ledger: Ledger, ontology: CellOntology, reviewer: str) -> None:
        self.ledger, self.ontology, self.reviewer = ledger, ontology, reviewer
        self.names = NameIndex(ontology)
        calls = zip(items["item_id"], items["evidence"], items["term"], items["status"], strict=True)
        self.call = {item_id: (evidence, term, status) for item_id, evidence, term, status in calls}
        self.misfits: list[str] = []
        self._row_of: dict[str, int] = {}
        self._unknown: dict[str, str] = {}

    def draft(self, row: _Row) -> Draft | None:
        fits = [self._has_item(row), len(row.note) <= MAX_NOTE]
        if not fits[1]:
            self._misfit(row, "note", f"{len(row.note):,} characters", f"at most {MAX_NOTE:,}")
        action, after = self._decision(row) if fits[0] else (None, None)
        if action is None or not all(fits):
            return None
        standing = self.ledger.state(row.item_id).by_reviewer.get(self.reviewer)
        return Draft(
            key=self._key(row, action, after),
            reviewer=self.reviewer,
            item_id=row.item_id,
            action=action,
            evidence=row.evidence,
            before=standing.after if standing else None,
            after=after,
            note=row.note,
        )

    def _key(self, row: _Row, action: Action, after: Outcome | None) -> str:
        """Return the key of what says the same already, else a new one; the same for the same row and log."""
        own = [event for event in self.ledger.history(row.item_id) if event.reviewer == self.reviewer]
        standing = [event for event in own if event.evidence == row.evidence and self.ledger.stands(event)]
        notes = [event for event in standing if event.action is Action.NOTE]
        decisions = [event for event in standing if event.action in DECIDING or event.action is Action.SKIP]
        # Notes all stand beside each other; of decisions the last one counts.
        for event in notes if action is Action.NOTE else decisions[-1:]:
            if (event.action, event.after, event.note) == (action, after, row.note):
                return event.key
        last = str(own[-1].number if own else 0)
        said = "\x1f".join((self.reviewer, row.item_id, row.evidence, row.decision, row.note, last))
        return "sheet-" + hashlib.sha256(said.encode()).hexdigest()

    def _misfit(self, row: _Row, column: str, got: str, expected: str) -> None:
        self.misfits.append(f"row {row.number}, {column}: got {got}, expected {expected}.")

    def _has_item(self, row: _Row) -> bool:
        first = self._row_of.setdefault(row.item_id, row.number)
        evidence = self.ledger.evidence_of(row.item_id)
        if first != row.number:
            self._misfit(row, "item_id", f"{row.item_id!r} again", f"each item once (it is in row {first})")
        elif item_of(row.item_id) not in self.call:
            self._misfit(row, "item_id", repr(row.item_id), "an item of this run's queue")
        elif row.evidence != evidence:
            self._misfit(row, "evidence", repr(row.evidence), f"{evidence!r}: the item changed since, look at it again")
        elif row.item_id not in (leaves := self.ledger.leaves(item_of(row.item_id))):
            part = "a part whose split was taken back" if PART in row.item_id else "an item that was split since"
            self._misfit(row, "item_id", f"{row.item_id!r}, {part}", " or ".join(map(repr, leaves)))
        else:
            return True
        return False

    def _decision(self, row: _Row) -> tuple[Action | None, Outcome | None]:
        if not row.decision:
            return (Action.NOTE if row.note else None), None
        _, term, status = self.call[item_of(row.item_id)]
        action = _WORDS.get(row.decision.casefold())
        if action is Action.SKIP:
            return action, None
        if action is Action.ACCEPT:
            return action, outcome_of_call(term, status)
        if action is Action.UNSEEN:
            return action, Outcome(term, "unseen")
        if action is Action.UP:
            parent = self._parent(row, term)
            return (action, outcome_above(parent, status)) if parent else (None, None)
        match = self.names.lookup(row.decision)
        if match is None:
            self._misfit(row, "decision", repr(row.decision), self._expected(row.decision))
            return None, None
        return Action.CHOOSE, Outcome(self.ontology.ids[match.i_term], "resolved")

    def _parent(self, row: _Row, term: str) -> str:
        parents = self.ontology.parents(self.ontology.index(term)).tolist() if term else []
        if len(parents) == 1:
            return self.ontology.ids[parents[0]]
        expected = f"one of several steps up by name: {', '.join(map(self._named, parents))}"
        self._misfit(row, "decision", "'up'", expected if parents else f"another: nothing is above {term or 'no term'}")
        return ""

    def _named(self, i_term: int) -> str:
        return f"{self.ontology.ids[i_term]} {self.ontology.labels[i_term]!r}"

    def _expected(self, text: str) -> str:
        if text not in self._unknown:
            near = [i_term for i_term, _ in self.names.search(text[:200], limit=3)]
            holders = [i for i in near if normalized(text) in map(normalized, self._names_of(i))]
            self._unknown[text] = (
                f"one term; several carry this name: {', '.join(map(self._named, holders))}"
                if len(holders) > 1
                else "accept, up, unseen, skip, or a term's id or label; nearest: "
                + (", ".join(map(self._named, near)) or "nothing similar")
            )
        return self._unknown[text]

    def _names_of(self, i_term: int) -> tuple[str, ...]:
        return self.ontology.labels[i_term], *self.ontology.synonyms[i_term]
