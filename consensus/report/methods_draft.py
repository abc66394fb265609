"""A methods text in sentences that are true of one run, with marks ``[@key]`` where a source belongs.

Nothing is said that ``run.json`` does not bear out: what a run did not do is left out, or denied where readers would
take it for granted. `celljury.report.methods` puts the citations in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celljury.report.methods_calls import calibration, rule, unseen
from celljury.report.methods_members import member_text
from celljury.report.methods_words import all_cells, cells, given, listed, number, plural

if TYPE_CHECKING:
    from collections.abc import Mapping


def draft(
    record: Mapping[str, Any],
    *,
    evaluation: Mapping[str, Any] | None,
    review: Mapping[str, Any] | None,
    embedding: str | None = None,
) -> tuple[str, ...]:
    """Return paragraphs with marks; parameters as of `celljury.report.methods.methods_text`."""
    parts = [
        _votes(record) if record.get("command") == "vote" else _annotation(record),
        calibration(record),
        rule(record),
        unseen(record),
        _checks(record),
        _review(review),
        _evaluation(evaluation, reviewed=bool(review)),
        _computing(record, embedding),
    ]
    return tuple(" ".join(part) for part in parts if part)


# Who votes --------------------------------------------------------------------------------------------------------------


def _cell_ontology(record: Mapping[str, Any]) -> str:
    used = record["ontology"]
    extra = used.get("extra_terms") or 0
    more = f", with {extra:,} added term{'' if extra == 1 else 's'}" if extra else ""
    return f"the Cell Ontology [release {given(used['release'])}{more}; @diehl2016]"


def _votes(record: Mapping[str, Any]) -> list[str]:
    names = [given(member["name"]) for member in record["members"]]
    sets = "set" if len(names) == 1 else "sets"
    return [
        f"{number(len(names)).capitalize()} {sets} of labels ({listed(names)}) of {all_cells(record)}"
        f" {'was' if len(names) == 1 else 'were'} mapped to terms of {_cell_ontology(record)} and"
        " combined into one call a cell with celljury [@celljury].",
        "A cell without a label in a set has no vote of that set.",
    ]


def _annotation(record: Mapping[str, Any]) -> list[str]:
    present = [member for member in record["members"] if not member.get("absent")]
    absent = [given(member["name"]) for member in record["members"] if member.get("absent")]
    genes, terms = record.get("genes"), record.get("reference_terms")
    lines = [
        f"Cell types were assigned to {all_cells(record)} with celljury [@celljury], which reduces the votes of several"
        f" classifiers to a term of {_cell_ontology(record)}.",
    ]
    if terms:
        lines.append(f"The reference held {len(terms):,} cell {plural('type', len(terms))}.")
    if genes:
        lines.append(
            f"Of the {genes['n_reference']:,} genes that its members had learned from, {genes['n_shared']:,} were measured in"
            f" the query; they hold {100 * genes['share']:.3g} % of the reference's counts."
        )
    share = genes["share"] if genes else 0.0
    members = [member_text(member, genes_share=share) for member in present]
    voted = f"{number(len(members)).capitalize()} {plural('member', len(members))} voted"
    return [
        *lines,
        f"{voted}: {listed(members, between='; ')}.",
        *([f"{listed(absent)} of the same jury did not take part."] if absent else []),
    ]


def _checks(record: Mapping[str, Any]) -> list[str]:
    found = record.get("calibration")
    if record.get("command") == "vote" or not found:
        return []
    notes = " ".join(found.get("notes", []))
    n_batches = len((record.get("query") or {}).get("batches") or [])
    skipped = "No doublet score" in notes
    if "Doublets were not looked for" in notes or (skipped and n_batches <= 1):
        return []
    where = ", in batches that allow it" if skipped else ""
    return [
        f"Likely doublets were marked with Scrublet [@wolock2019] as implemented in scanpy [@wolf2018]{where}; nothing was"
        " filtered."
    ]


# After the calls --------------------------------------------------------------------------------------------------------


def _review(review: Mapping[str, Any] | None) -> list[str]:
    if not review or not review["n_reviewed"]:
        return []
    who = "One curator" if review["n_reviewers"] == 1 else f"{number(review['n_reviewers']).capitalize()} curators"
    items = f"{review['n_items']:,} {plural('item', review['n_items'])}"
    lines = [
        f"{who} decided {items} (groups of cells alike in votes, call and cluster) with {review['n_reviewed']:,} of the"
        f" {cells(review['n_cells'])}; for {review['n_changed']:,} of these the outcome differs from the call.",
    ]
    if review.get("n_conflict"):
        lines.append(f"Reviewers disagree on {cells(review['n_conflict'])}; these keep their call.")
    return [*lines, "Cells without a decision keep their call."]


def _evaluation(found: Mapping[str, Any] | None, *, reviewed: bool) -> list[str]:
    if not found:
        return []
    truth, how, calls = found["truth"], found["intervals"], found["calls"]
    before = ", as they were before review," if reviewed else ""
    level = f"{100 * how['level']:g} % bootstrap intervals over {how['n_units']:,} {how['over']}"
    return [
        f"The calls{before} were compared with the known types of {cells(truth['n_known'])} ({truth['n_types']:,} types; column"
        f" {given(truth['column'])}).",
        f"Accuracy was {_estimate(calls['accuracy'])} and macro F1 {_estimate(calls['macro_f1'])};"
        f" {_estimate(calls['covered_error'], share=True)} of the labelled cells have a true type that is"
        f" neither the called term nor a kind of it, and {_estimate(calls['coverage'], share=True)} of all cells were labelled"
        f" (in brackets: {level}).",
    ]


def _estimate(found: Mapping[str, Any], *, share: bool = False) -> str:
    if found["value"] is None:
        return "not defined"

    def one(value: float) -> str:
        return f"{100 * value:.1f}" if share else f"{value:.3f}"

    unit = " %" if share else ""
    if found.get("low") is None:
        return f"{one(found['value'])}{unit}"
    return f"{one(found['value'])}{unit} ({one(found['low'])} to {one(found['high'])}{unit})"


def _computing(record: Mapping[str, Any], embedding: str | None) -> list[str]:
    versions, config = record.get("versions"), record.get("config") or {}
    lines = []
    if versions and record.get("command") != "vote":
        lines.append(
            f"Random choices were seeded with {config.get('seed', 0)}; Python {given(versions['python'])} and anndata"
            f" [{given(versions['anndata'])}; @virshup2024] were used."
        )
    if embedding == "umap":
        lines.append("Cells are drawn by UMAP [@mcinnes2018].")
    return lines
