"""The queue in a spreadsheet and back: what is filled in becomes decisions, or the whole sheet is refused."""

from __future__ import annotations

import csv
import io
import random
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from celljury.errors import InputError, MissingColumnError, OutputError, UnreadableFileError
from celljury.ontology.load import ontology_from_edges
from celljury.review.decisions import Decisions, Draft, new_key
from celljury.review.ledger import Action, Ledger, Outcome, replay
from celljury.review.sheet import COLUMNS, _guarded, _plain, export_sheet, import_sheet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LABELS = {
    "T:1": "cell",
    "T:2": "T cell",
    "T:3": "CD4 T cell",
    "T:4": "CD8 T cell",
    "T:5": "B cell",
    "T:6": "NKT cell",
    "T:7": "NK cell",
}
PARENTS = {
    "T:2": ["T:1"], "T:3": ["T:2"], "T:4": ["T:2"], "T:5": ["T:1"], "T:6": ["T:2", "T:7"], "T:7": ["T:1"],
}  # fmt: skip
SYNONYMS = {"T:3": ["helper", "T4"], "T:5": ["helper"]}
ONTOLOGY = ontology_from_edges(LABELS, PARENTS, synonyms=SYNONYMS)
#        item, term, status
ITEMS = [("a1", "T:4", "resolved"), ("a2", "T:2", "unseen"), ("a3", "", "unresolved"), ("a4", "T:6", "backed_off")]


def queue(rows: list[tuple[str, str, str]] = ITEMS, **columns: Any) -> pd.DataFrame:
    item_ids, terms, statuses = zip(*rows, strict=True)
    found = {
        "item_id": item_ids, "evidence": [f"e-{item}" for item in item_ids], "n_cells": range(1, len(rows) + 1),
        "term": terms, "label": [LABELS.get(term, "") for term in terms], "status": statuses, "reasons": "backed_off",
        "sentence": 'Members "split".', "candidates": "T:3;T:4", "votes": "a=T:3",
    }  # fmt: skip
    return pd.DataFrame(found | columns)


def ledger_of(path: Path, drafts: list[Draft], items: pd.DataFrame | None = None) -> Ledger:
    items = queue() if items is None else items
    with Decisions.open(path) as decisions:
        decisions.append(drafts)
        return replay(decisions.events(), dict(zip(items["item_id"], items["evidence"], strict=True)))


EMPTY = replay((), {f"{item}": f"e-{item}" for item, _, _ in ITEMS})


def split(item: str = "a1", by: str = "cluster") -> Draft:
    return Draft(f"split-{item}", "ada", item, Action.SPLIT, f"e-{item}", by=by)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


def fill(path: Path, decisions: dict[str, tuple[str, str]], *, encoding: str = "utf-8") -> None:
    """Fill decision and note of some items, as a spreadsheet would save it."""
    rows = read(path)
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, COLUMNS, delimiter="\t", lineterminator="\r\n")
    writer.writeheader()
    for row in rows:
        decision, note = decisions.get(row["item_id"], ("", ""))
        writer.writerow(row | {"decision": decision, "note": note})
    path.write_bytes(stream.getvalue().encode(encoding))


def taken(path: Path, ledger: Ledger = EMPTY, items: pd.DataFrame | None = None, who: str = "ada") -> tuple[Draft, ...]:
    return import_sheet(path, queue() if items is None else items, ledger, ONTOLOGY, reviewer=who)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "queue.tsv"
    export_sheet(queue(), EMPTY, path)
    return path


# Export -----------------------------------------------------------------------------------------------------------


def test_sheet_has_a_row_an_item(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "item_id\tevidence\tn_cells\tterm\tlabel\tstatus\treasons\tsentence\tcandidates\tdecision\tnote"
    assert lines[1] == 'a1\te-a1\t1\tT:4\tCD8 T cell\tresolved\tbacked_off\t"Members ""split""."\tT:3;T:4\t\t'
    assert [row["item_id"] for row in read(path)] == ["a1", "a2", "a3", "a4"]


def test_split_item_has_a_row_a_part(tmp_path: Path, path: Path) -> None:
    ledger = ledger_of(tmp_path / "log.sqlite", [split()])
    export_sheet(queue(), ledger, path, n_cells=lambda part: 10 + int(part[-1]))
    rows = read(path)
    assert [(row["item_id"], row["n_cells"]) for row in rows[:3]] == [
        ("a1~cluster~0", "10"), ("a1~cluster~1", "11"), ("a2", "2"),
    ]  # fmt: skip
    assert rows[0]["evidence"] == "e-a1"
    export_sheet(queue(), ledger, path)
    assert read(path)[0]["n_cells"] == ""


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("'=1", "''=1"),
        ("412e28371612", "'412e28371612"),
        ("123456789012", "'123456789012"),
        ("a22350423c17", "a22350423c17"),
        ("it's", "it's"),
        ("'quoted'", "'quoted'"),
        ("", ""),
    ],
)
def test_cell_that_a_spreadsheet_would_misread_is_guarded(tmp_path: Path, text: str, written: str) -> None:
    items = queue(label=text)
    export_sheet(items, EMPTY, tmp_path / "queue.tsv")
    assert read(tmp_path / "queue.tsv")[0]["label"] == written
    assert _plain(written) == text


@given(st.text(st.sampled_from("'=+-@\t\r1ea "), max_size=6))
def test_guard_is_taken_off_again(text: str) -> None:
    assert _plain(_guarded(text)) == text
    assert not _guarded(text).startswith(("=", "+", "-", "@", "\t", "\r"))


def test_guarded_id_is_read_back(tmp_path: Path) -> None:
    items = queue([("412e28371612", "T:4", "resolved")])
    export_sheet(items, EMPTY, tmp_path / "queue.tsv")
    fill(tmp_path / "queue.tsv", {"'412e28371612": ("accept", "")})
    (draft,) = taken(
        tmp_path / "queue.tsv", replay((), dict(zip(items["item_id"], items["evidence"], strict=True))), items
    )
    assert draft.item_id == "412e28371612"


def test_export_that_fails_leaves_the_sheet_as_it_was(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(ZeroDivisionError):
        export_sheet(queue(), Splitting(EMPTY.evidence), path, n_cells=lambda _: 1 // 0)
    assert path.read_bytes() == before
    assert [item.name for item in path.parent.iterdir()] == [path.name]


class Splitting(Ledger):
    """A ledger in which everything is split."""

    def leaves(self, item_id: str) -> tuple[str, ...]:
        return (f"{item_id}~cluster~0",)


def test_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"cannot write to .*nowhere/queue.tsv: No such file or directory"):
        export_sheet(queue(), EMPTY, tmp_path / "nowhere" / "queue.tsv")


# Import -----------------------------------------------------------------------------------------------------------


def test_nothing_filled_in_is_nothing_decided(path: Path) -> None:
    assert taken(path) == ()


@pytest.mark.parametrize(
    ("item", "decision", "action", "after"),
    [
        ("a1", "accept", "accept", Outcome("T:4", "resolved")),
        ("a1", " Accept ", "accept", Outcome("T:4", "resolved")),
        ("a2", "accept", "accept", Outcome("T:2", "unseen")),
        ("a3", "accept", "accept", Outcome("", "unresolved")),
        ("a4", "accept", "accept", Outcome("T:6", "resolved")),
        ("a1", "up", "up", Outcome("T:2", "resolved")),
        ("a2", "up", "up", Outcome("T:1", "unseen")),
        ("a1", "unseen", "unseen", Outcome("T:4", "unseen")),
        ("a3", "unseen", "unseen", Outcome("", "unseen")),
        ("a1", "skip", "skip", None),
        ("a1", "T:5", "choose", Outcome("T:5", "resolved")),
        ("a1", "t_5", "choose", Outcome("T:5", "resolved")),
        ("a1", "b cell", "choose", Outcome("T:5", "resolved")),
        ("a1", "t4", "choose", Outcome("T:3", "resolved")),
    ],
)
def test_what_is_filled_in_becomes_a_decision(
    path: Path, item: str, decision: str, action: str, after: Outcome | None
) -> None:
    fill(path, {item: (decision, "- a note")})
    (draft,) = taken(path)
    assert (draft.item_id, draft.action, draft.after, draft.note) == (item, action, after, "- a note")
    assert (draft.reviewer, draft.evidence, draft.before, draft.group) == ("ada", f"e-{item}", None, "")


def test_note_without_a_decision_is_a_note(path: Path) -> None:
    fill(path, {"a1": ("", "=look at CD8B")})
    (draft,) = taken(path)
    assert (draft.action, draft.after, draft.note) == ("note", None, "=look at CD8B")


def test_part_is_decided_on_its_own(tmp_path: Path, path: Path) -> None:
    ledger = ledger_of(tmp_path / "log.sqlite", [split()])
    export_sheet(queue(), ledger, path)
    fill(path, {"a1~cluster~1": ("up", "")})
    (draft,) = taken(path, ledger)
    assert (draft.item_id, draft.evidence, draft.after) == ("a1~cluster~1", "e-a1", Outcome("T:2", "resolved"))


def test_same_sheet_twice_adds_nothing(tmp_path: Path, path: Path) -> None:
    fill(path, {"a1": ("accept", "sure"), "a2": ("skip", ""), "a3": ("", "hm")})
    with Decisions.open(tmp_path / "log.sqlite") as decisions:
        first = decisions.append(taken(path))
        ledger = replay(decisions.events(), EMPTY.evidence)
        assert decisions.append(taken(path, ledger)) == first
        fill(path, {"a1": ("up", "sure")})
        (again,) = decisions.append(taken(path, ledger))
        assert (again.number, again.before) == (4, Outcome("T:4", "resolved"))
        fill(path, {"a1": ("up", "sure")})
        assert len(decisions.append(taken(path, ledger, who="bob"))) == 1
        assert len(decisions.events()) == 5


class Team:
    """Sheets, and a browser, that write into one log."""

    def __init__(self, path: Path, decisions: Decisions) -> None:
        self.path, self.decisions = path, decisions

    @property
    def ledger(self) -> Ledger:
        return replay(self.decisions.events(), EMPTY.evidence)

    def sheet(self, decision: str, note: str = "", *, item: str = "a1", who: str = "ada") -> int:
        """Import a sheet with one row filled in; return how many events that added."""
        before = len(self.decisions.events())
        fill(self.path, {item: (decision, note)})
        assert len(self.decisions.append(taken(self.path, self.ledger, who=who))) == 1
        return len(self.decisions.events()) - before

    def does(self, action: Action, after: Outcome | None = None, **more: Any) -> None:
        self.decisions.append([Draft(new_key(), "ada", "a1", action, "e-a1", after=after, **more)])

    @property
    def outcome(self) -> Outcome | None:
        return self.ledger.state("a1").outcome


@pytest.fixture
def team(tmp_path: Path, path: Path) -> Iterator[Team]:
    with Decisions.open(tmp_path / "log.sqlite") as decisions:
        yield Team(path, decisions)


def test_return_to_an_earlier_opinion_counts(team: Team) -> None:
    for decision, after in (("accept", "resolved"), ("unseen", "unseen"), ("accept", "resolved"), ("unseen", "unseen")):
        assert (team.sheet(decision), team.sheet(decision)) == (1, 0)
        assert team.outcome == Outcome("T:4", after)


def test_import_after_an_undo_counts(team: Team) -> None:
    assert team.sheet("accept") == 1
    team.does(Action.UNDO, undoes=1)
    assert team.outcome is None
    assert (team.sheet("accept"), team.sheet("accept")) == (1, 0)
    assert team.outcome == Outcome("T:4", "resolved")


def test_import_after_another_decision_in_the_browser_counts(team: Team) -> None:
    assert team.sheet("accept", "sure") == 1
    team.does(Action.CHOOSE, Outcome("T:5", "resolved"))
    assert (team.sheet("accept", "sure"), team.sheet("accept", "sure")) == (1, 0)
    assert team.outcome == Outcome("T:4", "resolved")
    team.does(Action.NOTE, note="a note takes nothing back")
    assert team.sheet("accept", "sure") == 0
    assert team.sheet("accept", "very sure") == 1, "the note is another"


def test_skip_after_a_decision_is_added_once(team: Team) -> None:
    assert [team.sheet("accept"), team.sheet("skip"), team.sheet("skip")] == [1, 1, 0]
    assert team.outcome == Outcome("T:4", "resolved"), "a skip takes nothing back"


def test_note_is_added_once_and_again_after_its_undo(team: Team) -> None:
    assert [team.sheet("", "hm"), team.sheet("", "ah"), team.sheet("", "hm")] == [1, 1, 0]
    team.does(Action.UNDO, undoes=1)
    assert [team.sheet("", "hm"), team.sheet("", "hm")] == [1, 0]


def test_what_another_reviewer_said_is_still_to_be_said(team: Team) -> None:
    assert [team.sheet("accept", who=who) for who in ("ada", "bob", "ada", "bob")] == [1, 1, 0, 0]


def test_two_imports_of_one_sheet_at_once_add_it_once(team: Team) -> None:
    fill(team.path, {"a1": ("accept", ""), "a2": ("", "hm")})
    one, other = (taken(team.path, team.ledger) for _ in range(2))
    assert team.decisions.append(one) == team.decisions.append(other)


@pytest.mark.parametrize("seed", range(20))
def test_after_any_log_a_sheet_counts_and_the_same_again_adds_nothing(team: Team, seed: int) -> None:
    pick = random.Random(seed)
    for _ in range(25):
        own = [event.number for event in team.decisions.events()]
        what = pick.choice(["sheet", "decide", "undo", "skip"])
        if what == "sheet":
            decision, term, status = pick.choice(
                [
                    ("accept", "T:4", "resolved"),
                    ("unseen", "T:4", "unseen"),
                    ("T:5", "T:5", "resolved"),
                    ("up", "T:2", "resolved"),
                ]
            )
            note = pick.choice(["", "hm"])
            team.sheet(decision, note)
            assert team.outcome == Outcome(term, status)
            assert note in [event.note for event in team.ledger.state("a1").by_reviewer.values()]
            assert team.sheet(decision, note) == 0
        elif what == "decide":
            team.does(Action.CHOOSE, Outcome(pick.choice(["T:4", "T:5"]), "resolved"))
        elif what == "skip":
            team.does(Action.SKIP)
        elif own:
            team.does(Action.UNDO, undoes=pick.choice(own))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings_of_spreadsheets(path: Path, encoding: str) -> None:
    fill(path, {"a1": ("accept", "naïve? ☃")}, encoding=encoding)
    (draft,) = taken(path)
    assert draft.note == "naïve? ☃"


def test_columns_may_be_moved_rows_sorted_and_left_out(path: Path) -> None:
    path.write_text("note\tdecision\tevidence\titem_id\tmine\n\tskip\te-a3\ta3\tx\n\n\tup\te-a1\ta1\n\t\t\t\t\n")
    assert [(draft.item_id, draft.action) for draft in taken(path)] == [("a3", "skip"), ("a1", "up")]


# Refused ----------------------------------------------------------------------------------------------------------


def test_every_row_that_does_not_fit_is_listed_and_nothing_imported(path: Path) -> None:
    rows = [
        ("a1", "e-a1", "accept", ""),
        ("zz", "e-zz", "accept", ""),
        ("a2", "e-old", "accept", ""),
        ("a1", "e-a1", "up", ""),
        ("a3", "e-a3", "CD4 T-cells!", ""),
        ("a4", "e-a4", "helper", "x" * 4_001),
    ]
    head = "item_id\tevidence\tdecision\tnote\n"
    path.write_text(head + "".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        taken(path)
    first, *lines, last = str(caught.value).splitlines()
    assert first == f"{path} has 6 fault(s), and nothing was imported:"
    assert lines == [
        "  row 3, item_id: got 'zz', expected an item of this run's queue.",
        "  row 4, evidence: got 'e-old', expected 'e-a2': the item changed since, look at it again.",
        "  row 5, item_id: got 'a1' again, expected each item once (it is in row 2).",
        "  row 6, decision: got 'CD4 T-cells!', expected accept, up, unseen, skip, or a term's id or label; nearest: T:3 'CD4 T"
        " cell', T:2 'T cell', T:4 'CD8 T cell'.",
        "  row 7, note: got 4,001 characters, expected at most 4,000.",
        "  row 7, decision: got 'helper', expected one term; several carry this name: T:5 'B cell', T:3 'CD4 T cell'.",
    ]
    assert last.startswith("Correct them and import the file again")


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ("a3", "row 4, decision: got 'up', expected another: nothing is above no term"),
        ("a4", "row 5, decision: got 'up', expected one of several steps up by name: T:7 'NK cell', T:2 'T cell'"),
    ],
)
def test_step_up_that_is_none_or_several_is_refused(path: Path, item: str, said: str) -> None:
    fill(path, {item: ("up", "")})
    with pytest.raises(InputError, match=said):
        taken(path)


def test_item_split_since_and_part_put_together_since_are_refused(tmp_path: Path, path: Path) -> None:
    ledger = ledger_of(tmp_path / "log.sqlite", [split()])
    fill(path, {"a1": ("accept", "")})
    with pytest.raises(InputError, match="got 'a1', an item that was split since, expected 'a1~cluster~0' or 'a1~clus"):
        taken(path, ledger)
    export_sheet(queue(), ledger, path)
    fill(path, {"a1~cluster~0": ("accept", "")})
    with pytest.raises(InputError, match="got 'a1~cluster~0', a part whose split was taken back, expected 'a1'"):
        taken(path)


@pytest.mark.parametrize("column", ["item_id", "evidence", "decision", "note"])
def test_missing_column_is_named(path: Path, column: str) -> None:
    path.write_text(path.read_text(encoding="utf-8").replace(column, "other", 1), encoding="utf-8")
    with pytest.raises(
        MissingColumnError, match=f"row 1; a tab-separated table is expected.* has no column '{column}'"
    ):
        taken(path)


def test_commas_instead_of_tabs_are_said(path: Path) -> None:
    path.write_text("item_id,evidence,decision,note\na1,e-a1,accept,\n", encoding="utf-8")
    with pytest.raises(MissingColumnError, match="tab-separated table is expected"):
        taken(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"PK\x03\x04\xff\xff workbook", "is no utf-8 text .byte 4.. Expected a tab-separated table"),
        ("item_id\tevidence\tdecision\tnote\na1\te\tskip\tnaïve\n".encode("cp1252"), "is no utf-8 text"),
        (b"item_id\tevidence\tdecision\tnote\na1\te\tskip\t" + b"x" * 200_000, "is no tab-separated table"),
    ],
    ids=["a_workbook", "another_encoding", "a_cell_without_end"],
)
def test_file_that_is_no_table_is_refused(path: Path, content: bytes, said: str) -> None:
    path.write_bytes(content)
    with pytest.raises(UnreadableFileError, match=said):
        taken(path)


def test_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFileError, match=r"none.tsv cannot be read: No such file or directory"):
        taken(tmp_path / "none.tsv")


def test_reviewer_needs_a_name(path: Path) -> None:
    with pytest.raises(InputError, match="cannot be a reviewer's name"):
        taken(path, who="")
