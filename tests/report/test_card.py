"""The jury's card: every number of card.json is on it, text never becomes markup, and what is not promised is said."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from celljury.api import fit
from celljury.config import Config
from celljury.report import page_style
from celljury.report.card import card_page, write_card_page
from celljury.report.card_words import all_warnings, card_text, in_sentences, statement_lines

if TYPE_CHECKING:
    from pathlib import Path

B, CD4, NK = "CL:0000236", "CL:0000624", "CL:0000623"
LABELS = {B: "B cell", CD4: "CD4-positive, alpha-beta T cell", NK: "natural killer cell"}
PROMISE = (
    "Promised: of cells like the 300 that were held out, at most 5 % get a wrong call, on average. Not promised: anything"
    " about a new donor. Estimate, no guarantee: 60 % were found unseen."
)
SECTIONS = [
    "2 warnings", "What is promised, and what is not", "Threshold", "Members and pool", "Recall by type",
    "Calls at these thresholds", "The reference", "Cells of types that the reference lacks", "Where this comes from",
]  # fmt: skip


def member(name: str, accuracy: float | None, recall: dict[str, float | None], **more: Any) -> dict[str, Any]:
    return {
        "name": name, "method": "temperature", "temperature": 1.26, "n_cells": 299, "accuracy": accuracy,
        "macro_f1": 0.8123, "log_loss_before": 0.5456, "log_loss": 0.5256, "ece_before": 0.0559, "ece": 0.0504,
        "weight": 4.9145, "recall": recall, **more,
    }  # fmt: skip


def audit_row(term: str, n_cells: int, **more: Any) -> dict[str, Any]:
    return {
        "term": term, "label": LABELS[term], "n_cells": n_cells, "n_donors": 3, "n_batches": 4, "largest_donor": "ann",
        "largest_donor_share": 0.5432, "rare": False, "n_voted": n_cells, "n_other_branch": 0, "other_branch_share": 0.0,
        "confused_with": None, "confused_label": None, "n_confused": 0, "n_suspicious": 0, **more,
    }  # fmt: skip


def made_card(**changes: Any) -> dict[str, Any]:
    """Three donors, two members and an absent one; the pool beats the better member by one per cent."""
    n_cells = {B: 200, CD4: 95, NK: 5}
    calibration = {
        "unit": "donor", "donors": ["ann", "bea", "cid"], "n_cells": 300, "n_unknown_type": 0,
        "settings": Config().calibration.model_dump(mode="json"),
        "thresholds": [
            {"value": 0.83869, "tier": "cell", "alpha": 0.05, "n_donors": 3, "n_cells": 300, "mean_risk": 0.0471,
             "sd_risk": 0.01, "max_risk": 0.0724, "bound": 0.0497, "scope": "all", "why": "has 3 donors", "terms": [B, CD4, NK]},
        ],
        "evidence": {
            "n_cells": 300,
            "members": [
                member("logistic", 0.9311, {B: 0.98, CD4: 0.9, NK: 0.3}),
                member("singler", 0.8766, {B: 0.89, CD4: 0.9, NK: None}, method="confusion", temperature=None),
            ],
            "pool": {"rule": "reliability", "temperature": 0.93, "accuracy": 0.9411, "macro_f1": 0.8333,
                     "log_loss": 0.4444, "ece": 0.0301, "recall": {B: 0.99, CD4: 0.91, NK: 0.41}},
            "calls": {"wrong": 0.0469, "labelled": 0.9812, "information_kept": 0.7308},
        },
        "signals": [["residual", "logistic"]],
        "left_out": [
            {"term": B, "label": LABELS[B], "n_cells": 28, "auroc": 0.9992, "caught": 0.8712, "false_unseen": 0.0611,
             "named_right": 0.75, "plain": 0.0, "members": ["logistic"]},
        ],
    }  # fmt: skip
    rows = [
        audit_row(B, 200),
        audit_row(CD4, 95, n_other_branch=20, other_branch_share=0.2105, confused_with=NK, confused_label=LABELS[NK],
                  n_confused=19, n_suspicious=1),
        audit_row(NK, 5, rare=True),
    ]  # fmt: skip
    suspicious = [
        {"cell_id": "cell-7", "donor": "bea", "term": CD4, "label": LABELS[CD4], "voted_term": NK,
         "voted_label": LABELS[NK], "mass_label": 0.0312, "mass_voted": 0.9134},
    ]  # fmt: skip
    present = {"settings": {"markers": 25}, "seconds": {"fit": 1.0}, "cpu_seconds": {"fit": 1.2}, "absent": None}
    return {
        "made": "2026-04-01T00:00:00+00:00",
        "versions": {"celljury": "0.1.0", "scikit-learn": "1.9.1"},
        "ontology": {"release": "2026-03-26", "origin": "cellxgene-ontology-guide", "sha256": "ee9b", "licence": "CC BY 4.0",
                     "extra_terms": 0, "extra_sha256": ""},
        "reference": {"file": "atlas/blood.h5ad", "sha256": "60fc", "counts_in": "X", "labels": "cell_type", "batch": "run",
                      "donor": "donor", "n_cells": 300, "n_unlabelled": 7, "batches": ["r1", "r2", "r3", "r4"], "n_donors": 3},
        "terms": [
            {"term": term, "label": LABELS[term], "n_cells": n, "n_batches": 4, "n_donors": 3, "broad": term == NK,
             "obsolete": False}
            for term, n in n_cells.items()
        ],
        "labels": [{"label": "b cells", "n_cells": 200, "i_term": 1, "how": "map", "predicate": "exact", "term": B},
                   {"label": "junk", "n_cells": 7, "i_term": -1, "how": "", "predicate": "", "term": None}],
        "members": [
            {"name": "logistic", "version": "scikit-learn 1.9.1", **present},
            {"name": "singler", "version": "singler 0.5.0", **present},
            {"name": "scanvi", "version": "", **present, "settings": {}, "cpu_seconds": {}, "absent": "torch is not installed"},
        ],
        "tier": "cell", "alpha": 0.05, "promise": PROMISE, "calibration": calibration,
        "audit": {"rows": rows, "suspicious": suspicious, "n_suspicious": 1, "warnings": ["Only 5 cells."]},
        "warnings": ["Only 5 cells."],
        **changes,
    }  # fmt: skip


def without_calibration() -> dict[str, Any]:
    """The card of a jury that was fitted with calibration.enabled = false."""
    card = made_card(tier="none", alpha=None, calibration=None, promise="Not calibrated: no error rate is promised.")
    voted = (
        "n_voted",
        "n_other_branch",
        "other_branch_share",
        "confused_with",
        "confused_label",
        "n_confused",
        "n_suspicious",
    )
    card["audit"] |= {
        "rows": [row | dict.fromkeys(voted) for row in card["audit"]["rows"]], "suspicious": [], "n_suspicious": 0,
    }  # fmt: skip
    return card


class Page(HTMLParser):
    """A page, read: its elements with attributes, its text by element, and the rows of its tables by caption."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[tuple[str, str]] = []
        self.tables: dict[str, list[list[dict[str, Any]]]] = {}
        self._rows: list[list[dict[str, Any]]] = []
        self.feed(text)
        self.close()
        assert self.open == [], "an element is not closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.open.append(tag)
        if tag == "table":
            self._rows = []
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._rows[-1].append({"tag": tag, "text": "", "values": [], **dict(attrs)})
        elif tag == "data" and {"td", "th"} & set(self.open):
            self._rows[-1][-1]["values"].append(json.loads(str(dict(attrs)["value"])))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, "elements overlap"

    def handle_data(self, data: str) -> None:
        self.words.append((self.open[-1] if self.open else "", data))
        if "caption" in self.open and self.open[-1] == "caption":
            self.tables[data] = self._rows
        elif {"td", "th"} & set(self.open):
            self._rows[-1][-1]["text"] += data

    def text(self) -> str:
        return " ".join(" ".join(words for tag, words in self.words if tag != "style").split())

    def of(self, tag: str) -> list[str]:
        return [words for inside, words in self.words if inside == tag]

    def values(self, caption: str) -> list[list[float]]:
        """Return the numbers of a table's rows, without its head, in their exact form."""
        return [[v for cell in row for v in cell["values"]] for row in self.tables[caption][1:]]


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(card_page(made_card()))


def test_sections_stand_in_the_order_in_which_they_are_needed(page: Page) -> None:
    assert page.of("h2") == SECTIONS


def test_every_member_and_type_is_named(page: Page) -> None:
    text = page.text()
    assert all(name in text for name in ("logistic", "singler", "scanvi", *LABELS, *LABELS.values()))


def test_numbers_of_members_are_those_of_the_card(page: Page) -> None:
    right = page.values("On 300 held-out cells: how often votes are right")
    assert right == [[299, 0.9311, 0.8123, 4.9145], [299, 0.8766, 0.8123, 4.9145], [300, 0.9411, 0.8333]]
    worth = page.values("On 300 held-out cells: what probabilities are worth")
    before_after = [0.5456, 0.5256, 0.0559, 0.0504]
    assert worth == [[1.26, *before_after], before_after, [0.93, 0.4444, 0.0301]]


def test_other_numbers_are_those_of_the_card(page: Page) -> None:
    assert page.values("Support that a call needs") == [[0.83869, 0.0471, 0.0724, 0.0497, 3, 300]]
    assert page.values("Of the held-out cells of a type, votes for that very type") == [
        [200, 0.98, 0.89, 0.99], [95, 0.9, 0.9, 0.91], [5, 0.3, 0.41],
    ]  # fmt: skip
    assert page.values("Types left out one by one") == [[28, 0.9992, 0.8712, 0.75, 0.0611]]
    assert page.values("What stands behind each type") == [
        [200, 3, 4, 0.5432, 0.0, 0], [95, 3, 4, 0.5432, 0.2105, 19, 1], [5, 3, 4, 0.5432, 0.0, 0],
    ]  # fmt: skip
    assert page.values("Suspicious cells") == [[0.0312, 0.9134]]
    shown = [element[1]["value"] for element in page.elements if element[0] == "data"]
    assert {"0.0469", "0.9812", "0.7308"} <= set(shown)


def test_a_number_is_read_as_rounded(page: Page) -> None:
    row = page.tables["On 300 held-out cells: how often votes are right"][1]
    assert [cell["text"] for cell in row] == ["logistic scikit-learn 1.9.1", "299", "93.1 %", "0.812", "4.91"]


@pytest.mark.parametrize(
    ("recall", "marked"),
    [
        pytest.param(0.81, False, id="exactly_a_tenth_below_is_not_marked"),
        pytest.param(0.8099, True, id="more_than_a_tenth_below_is_marked"),
        pytest.param(0.99, False, id="above_is_not_marked"),
        pytest.param(None, False, id="never_judged_is_not_marked"),
    ],
)
def test_recall_well_below_the_pool_is_marked_by_a_sign_and_words(recall: float | None, marked: bool) -> None:  # noqa: FBT001
    card = made_card()
    card["calibration"]["evidence"]["members"][0]["recall"][CD4] = recall  # the pool's is 0.91
    cell = Page(card_page(card)).tables["Of the held-out cells of a type, votes for that very type"][2][2]
    assert ("▼" in cell["text"]) == ("well below the pool" in cell["text"]) == marked


@pytest.mark.parametrize(
    ("accuracy", "said"),
    [
        pytest.param(0.9312, "The pool is better than its best member, logistic:", id="better"),
        pytest.param(
            0.9311, "⚠ The pool is as accurate as its best member, logistic, and no better:", id="equal_is_no_gain"
        ),
        pytest.param(0.9, "⚠ The pool does not beat its best member, logistic:", id="worse_is_a_warning"),
    ],
)
def test_pool_is_set_beside_its_best_member(accuracy: float, said: str) -> None:
    card = made_card()
    card["calibration"]["evidence"]["pool"]["accuracy"] = accuracy
    assert said in Page(card_page(card)).text()


# Text of other people -------------------------------------------------------------------------------------------------

HOSTILE = "<script>alert(1)</script>\"'&"
# What celljury itself writes: words from a fixed list, dates, ids that are looked up.
OURS = {"tier", "scope", "unit", "term", "voted_term", "confused_with", "settings", "method"}


def hostile(value: Any, key: str = "") -> Any:
    """Return the card with every text of others replaced by markup."""
    if key in OURS:
        return value
    if isinstance(value, dict):
        return {name: hostile(inner, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [hostile(inner, key) for inner in value]
    return HOSTILE if isinstance(value, str) else value


def test_no_text_becomes_markup() -> None:
    card = hostile(made_card())
    card["warnings"] = [HOSTILE] * 30
    text = card_page(card)
    found = Page(text)
    assert "<script" not in text
    assert {tag for tag, _ in found.elements} == {tag for tag, _ in Page(card_page(made_card())).elements}
    assert not [key for _, attributes in found.elements for key in attributes if key.startswith("on")]
    assert found.text().count(HOSTILE) > 40


@pytest.mark.parametrize("card", [made_card(), without_calibration()], ids=["calibrated", "not_calibrated"])
def test_page_loads_and_runs_nothing(card: dict[str, Any]) -> None:
    text = card_page(card)
    found = Page(text)
    tags = {tag for tag, _ in found.elements}
    assert not tags & {"script", "link", "img", "iframe", "object", "embed", "form", "base", "image", "use"}
    places = {attributes["id"] for _, attributes in found.elements if "id" in attributes}
    for _, attributes in found.elements:
        assert not {"src", "srcset", "action", "data", "xlink:href", "ping"} & set(attributes)
        if "href" in attributes:
            assert str(attributes["href"]).removeprefix("#") in places
    assert "url(" not in text
    assert "@import" not in text
    assert "://" not in text
    policy = next(a["content"] for t, a in found.elements if t == "meta" and "http-equiv" in a)
    assert str(policy).startswith("default-src 'none'")


# Readers --------------------------------------------------------------------------------------------------------------


def test_tables_can_be_read_aloud(page: Page) -> None:
    heads = [attributes for tag, attributes in page.elements if tag == "th"]
    assert {attributes.get("scope") for attributes in heads} == {"col", "row"}
    n_tables = sum(tag == "table" for tag, _ in page.elements)
    assert n_tables == sum(tag == "caption" for tag, _ in page.elements) == len(page.tables)
    for rows in page.tables.values():
        assert len({len(row) for row in rows}) == 1, "a row has more or fewer cells than its head"


def test_headings_and_names_are_in_order(page: Page) -> None:
    tags = [tag for tag, _ in page.elements]
    assert tags.count("h1") == tags.count("main") == tags.count("title") - tags.count("svg") == 1
    names = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(names) == len(set(names))
    labelled = [attributes["aria-labelledby"] for tag, attributes in page.elements if tag == "section"]
    assert labelled == names
    assert ("html", {"lang": "en"}) in page.elements


def luminance(colour: str) -> float:
    """Relative luminance of WCAG 2.2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


GROUNDS = [
    *((text, ground) for text in ("INK", "MUTED", "CALL", "STRANGE") for ground in ("PAPER", "GROUND")),
    # Bars lie behind numbers, which are ink, and behind the sign of a low recall.
    ("INK", "TINT"), ("STRANGE", "TINT"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "ground"), GROUNDS)
def test_contrast_is_aa(text: str, ground: str) -> None:
    light, dark = luminance(getattr(page_style, ground)), luminance(getattr(page_style, text))
    assert (light + 0.05) / (dark + 0.05) >= 4.5


# What is not promised -------------------------------------------------------------------------------------------------


def test_three_donors_promise_nothing_of_a_new_one(page: Page) -> None:
    text = page.text()
    assert "of cells like the held-out ones; nothing is promised of new donors" in text
    assert "Not promised: anything about a new donor." in text
    assert text.index("Not promised") < text.index("Members and pool")
    assert "ann, bea, cid" in text


def test_jury_without_calibration_says_so_and_claims_no_number() -> None:
    page = Page(card_page(without_calibration()))
    assert page.of("h2") == [SECTIONS[0], SECTIONS[1], "Members", "The reference", SECTIONS[-1]]
    text = page.text()
    assert "tier: nothing is promised" in text
    assert "No cells were held out, so how good a member is was not measured." in text
    assert "alpha:" not in text
    assert "accuracy" not in text.lower()
    assert "on another branch" not in text


def test_absent_member_is_warned_of_first_and_listed(page: Page) -> None:
    assert all_warnings(made_card())[0] == "scanvi is absent from this jury: torch is not installed"
    row = page.tables["Members that are absent"][1]
    assert [cell["text"] for cell in row] == ["scanvi", "torch is not installed"]
    uncalibrated = Page(card_page(without_calibration())).tables["Members that were asked for"]
    assert [row[2]["text"] for row in uncalibrated[1:]] == ["present", "present", "absent: torch is not installed"]


def test_member_that_never_voted_on_held_out_cells_has_no_numbers() -> None:
    card = made_card()
    none = dict.fromkeys(("accuracy", "macro_f1", "log_loss_before", "log_loss", "ece_before", "ece", "weight"))
    card["calibration"]["evidence"]["members"][1] = member("singler", None, {}, n_cells=0) | none
    page = Page(card_page(card))
    assert page.values("On 300 held-out cells: how often votes are right")[1] == [0]
    assert page.text().count("no votes") == 2


def test_no_warning_is_said_aloud() -> None:
    card = made_card(warnings=[])
    card["members"].pop()
    assert Page(card_page(card)).of("h2")[0] == "No warnings"


def test_many_warnings_are_all_there() -> None:
    card = made_card(warnings=[f"warning number {i}" for i in range(40)])
    page = Page(card_page(card))
    assert page.of("h2")[0] == "41 warnings"
    assert all(f"warning number {i}" in page.of("li") for i in range(40))


def test_no_estimate_of_missed_cells_is_said_aloud() -> None:
    card = made_card()
    card["calibration"]["left_out"] = []
    assert "how many unseen cells are missed was not estimated" in Page(card_page(card)).text()


def test_cells_held_out_at_random_have_no_donors() -> None:
    card = made_card()
    card["reference"] |= {"donor": None, "n_donors": None, "batch": None, "batches": ["all"]}
    card["calibration"] |= {"unit": None, "donors": ["all"]}
    card["calibration"]["thresholds"][0] |= {"n_donors": 0, "max_risk": None, "sd_risk": None}
    page = Page(card_page(card))
    assert page.values("Support that a call needs") == [[0.83869, 0.0471, 0.0497, 300]]
    assert "held out, each whole" not in page.text()


def test_thresholds_of_branches_name_their_types() -> None:
    card = made_card()
    first = card["calibration"]["thresholds"][0]
    card["calibration"]["thresholds"] = [
        first | {"scope": "stratum", "terms": [CD4, NK]}, first | {"scope": "rest", "terms": [B], "value": None},
    ]  # fmt: skip
    rows = Page(card_page(card)).tables["Support that a call needs, by branch of cell types"]
    assert rows[1][0]["text"] == f"{LABELS[CD4]} {CD4}, {LABELS[NK]} {NK}"
    assert rows[2][0]["text"] == f"branches without a threshold of their own: {LABELS[B]} {B}"
    assert rows[2][1]["text"] == "never reached"


# Words and lines ------------------------------------------------------------------------------------------------------


@given(st.text(alphabet="Ab. \n(", max_size=60))
def test_sentences_joined_are_the_statement(text: str) -> None:
    assert " ".join(in_sentences(text)) == text


def test_statement_is_a_line_of_facts_then_a_sentence_a_line() -> None:
    assert statement_lines({"rule": "calibrated", "tier": "cell", "alpha": 0.05, "promise": "One. Two.",
                            "calibration": {"unit": "batch"}}) == [
        "Rule: calibrated. Tier: cell (of cells like the held-out ones; nothing is promised of new batches). Alpha: 0.05.",
        "  One.",
        "  Two.",
    ]  # fmt: skip


def test_terminal_says_warnings_first_and_the_promise_last() -> None:
    assert card_text(made_card()) == [
        "2 warnings:",
        "  ! scanvi is absent from this jury: torch is not installed",
        "  ! Only 5 cells.",
        "",
        "300 cells of 3 types.",
        "On 300 held-out cells of 3 donors:",
        "  member    accuracy  macro F1  log-loss    ECE  weight",
        "  logistic    93.1 %     0.812     0.526  0.050    4.91  scikit-learn 1.9.1",
        "  singler     87.7 %     0.812     0.526  0.050    4.91  singler 0.5.0",
        "  pool        94.1 %     0.833     0.444  0.030       -  rule reliability",
        "At the thresholds: 98.1 % of these cells get a label, 4.7 % a wrong one; 73.1 % of the information is kept.",
        "",
        "Tier: cell (of cells like the held-out ones; nothing is promised of new donors). Alpha: 0.05.",
        "  Promised: of cells like the 300 that were held out, at most 5 % get a wrong call, on average.",
        "  Not promised: anything about a new donor.",
        "  Estimate, no guarantee: 60 % were found unseen.",
    ]


def test_terminal_names_members_whose_worth_is_not_known() -> None:
    lines = card_text(without_calibration())
    assert lines[5:8] == [
        "Members (no cells were held out, so how good they are is not known):",
        "  logistic  scikit-learn 1.9.1",
        "  singler   singler 0.5.0",
    ]
    assert lines[-2:] == ["Tier: none (nothing is promised).", "  Not calibrated: no error rate is promised."]


# A fitted jury --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A jury of three donors whose labels are markup, which the label map takes to terms."""
    rng = np.random.default_rng(0)
    kind = rng.integers(3, size=240)
    rate = np.full((3, 120), 0.4)
    for t in range(3):
        rate[t, 30 * t : 30 * t + 30] = 4
    obs = pd.DataFrame({"type": np.array(list(LABELS))[kind], "donor": rng.choice(["<b>one</b>", "two", "three"], 240)})
    obs.index = [f"<i>{i}</i>" for i in range(240)]
    var = pd.DataFrame(index=[f"G{j}" for j in range(120)])
    cells = ad.AnnData(rng.poisson(rate[kind]).astype(np.float32), obs=obs, var=var)
    out = tmp_path_factory.mktemp("card") / "jury"
    config = Config(members=("logistic", "singler"), engine="local")
    return fit(cells, labels="type", batch="donor", donor="donor", out=out, config=config).folder


def test_fit_leaves_the_page_beside_the_numbers(fitted: Path) -> None:
    card = json.loads((fitted / "card.json").read_text(encoding="utf-8"))
    text = (fitted / "card.html").read_text(encoding="utf-8")
    assert text == card_page(card)
    assert card["tier"] != "cluster-t"
    page = Page(text)
    evidence = card["calibration"]["evidence"]
    rows = page.values(f"On {evidence['n_cells']:,} held-out cells: how often votes are right")
    expected = [[m["n_cells"], m["accuracy"], m["macro_f1"], m["weight"]] for m in evidence["members"]]
    assert rows[:-1] == expected
    assert "<b>one</b>" in page.text()
    assert "<b>one</b>" not in text
    assert "nothing is promised of new donors" in page.text()


def test_page_can_be_made_again(fitted: Path) -> None:
    before = (fitted / "card.html").read_text(encoding="utf-8")
    assert write_card_page(fitted).read_text(encoding="utf-8") == before
