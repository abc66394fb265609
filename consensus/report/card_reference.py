"""The part of a jury's card on its reference: what stands behind each type, doubtful labels, types left out, origin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celljury.config import CalibrationSettings
from celljury.markup import (
    Column,
    count,
    decimal,
    el,
    facts,
    flag,
    folded,
    joined,
    section,
    shaded,
    share,
    stats,
    table,
)
from celljury.report.licences import licence_of
from celljury.report.page_blocks import named

if TYPE_CHECKING:
    from collections.abc import Mapping

    from celljury.markup import Html


def left_out_block(card: Mapping[str, Any]) -> Html | None:
    """Return how many cells of types that were left out on purpose were noticed; None where nothing was held out."""
    found = card["calibration"]
    if not found:
        return None
    title = "Cells of types that the reference lacks"
    rows = found.get("left_out") or []
    if not rows:
        why = "No type could be left out on trial, so how many unseen cells are missed was not estimated."
        return section(title, el("p", why), name="unseen")
    members = sorted({name for row in rows for name in row["members"]}) if "members" in rows[0] else []
    signals = f", by the signals of {', '.join(members)} alone" if members else ""
    note = (
        f"An estimate and no bound: each of these types was left out of training once, and then judged{signals}. A type that"
        " nobody has labelled may lie closer to known ones than any of these."
    )
    columns = [
        Column("type left out", number=False),
        Column("cells", "judged"),
        Column("AUROC", "its cells against all others by strangeness; 0.5 is chance, 1 is perfect"),
        Column("found unseen", "share of its cells called unseen; the rest is missed"),
        Column("named right", "of those found, the term they are placed under is an ancestor of the type"),
    ]
    with_false = all("false_unseen" in row for row in rows)
    if with_false:
        columns.append(Column("others called unseen", "share of the cells of other types; eps is aimed at"))
    made = [
        (
            named(row["term"], row.get("label")), count(row["n_cells"]), decimal(row["auroc"]), shaded(row["caught"]),
            share(row["named_right"]), *((share(row["false_unseen"]),) if with_false else ()),
        )
        for row in rows
    ]  # fmt: skip
    return section(title, el("p", note), table("Types left out one by one", columns, made), name="unseen")


def reference_block(card: Mapping[str, Any]) -> Html:
    """Return the audit: cells, donors and batches of each type, label noise, suspicious cells."""
    about, audit = card["reference"], card["audit"]
    rows = [
        (count(about["n_cells"]), "labelled cells"),
        (count(len(card["terms"])), "types"),
        (count(len(about["batches"])), "batches" if about["batch"] else "batch: no column was named"),
    ]
    if about["donor"]:
        rows.append((count(about["n_donors"]), "donors"))
    if about["n_unlabelled"]:
        rows.append((count(about["n_unlabelled"]), "cells left out: without a usable label"))
    return section("The reference", stats(rows), _types(card), *_suspicious(audit), name="reference")


def _types(card: Mapping[str, Any]) -> Html:
    audit, by_donor = card["audit"]["rows"], card["reference"]["donor"] is not None
    flags = {row["term"]: row for row in card["terms"]}
    unit = "donor" if by_donor else "batch"
    voted = any(row["n_voted"] is not None for row in audit)
    columns = [Column("type", number=False), Column("cells")]
    columns += [Column("donors")] if by_donor else []
    columns += [Column("batches"), Column(f"largest {unit}", "its name and share of the type's cells", number=False)]
    if voted:
        columns += [
            Column("on another branch", "of held-out cells, votes neither at, above nor below the label: noise of labels, or"
                   " types that these members cannot tell"),
            Column("most often", "the most frequent such vote, and cells", number=False),
            Column("doubtful labels", "cells whose votes lie confidently on another branch"),
        ]  # fmt: skip
    columns.append(Column("notes", number=False))
    rows = [
        (
            named(row["term"], row["label"]), count(row["n_cells"]), *((count(row["n_donors"]),) if by_donor else ()),
            count(row["n_batches"]),
            None if row["largest_donor"] is None
            else joined((row["largest_donor"], " ", share(row["largest_donor_share"]))),
            *((
                shaded(row["other_branch_share"]),
                None if row["confused_label"] is None
                else joined((row["confused_label"], el("span", "(", count(row["n_confused"]), ")", class_="whole")), " "),
                count(row["n_suspicious"]),
            ) if voted else ()),
            _notes(row, flags.get(row["term"], {})),
        )
        for row in sorted(audit, key=lambda row: (-row["n_cells"], row["term"]))
    ]  # fmt: skip
    return table("What stands behind each type", columns, rows)


def _notes(row: Mapping[str, Any], term: Mapping[str, Any]) -> Html | None:
    said = [
        *((flag("⚠", "rare"),) if row["rare"] else ()),
        *(("label wider than its term",) if term.get("broad") else ()),
        *(("obsolete term in the labels",) if term.get("obsolete") else ()),
    ]
    return joined(said, ", ") if said else None


def _suspicious(audit: Mapping[str, Any]) -> list[Html]:
    cells, n = audit["suspicious"], audit["n_suspicious"]
    if not cells:
        return []
    columns = (
        Column("cell", number=False),
        Column("from", number=False),
        Column("label", number=False),
        Column("votes say", number=False),
        Column("mass on label", "pooled probability at, above or below the label"),
        Column("mass on vote", "at or below the term that the votes say"),
    )
    rows = [
        (
            c["cell_id"], c["donor"], named(c["term"], c["label"]), named(c["voted_term"], c["voted_label"]),
            decimal(c["mass_label"]), decimal(c["mass_voted"]),
        )
        for c in cells
    ]  # fmt: skip
    shown = f"{n:,}" if n == len(cells) else f"{len(cells):,} of {n:,}, worst first"
    return [folded(f"Cells whose label is in doubt ({shown})", table("Suspicious cells", columns, rows))]


def origin_block(card: Mapping[str, Any]) -> Html:
    """Return where everything comes from: files, ontology, members with licences, settings, versions."""
    about, ontology = card["reference"], card["ontology"]
    rows = [
        ("made", f"{card['made']} by celljury {card['versions']['celljury']}"),
        ("reference", about["file"]),
        ("its SHA-256", about["sha256"] or "none: it was not a file"),
        ("counts in", about["counts_in"]),
        ("columns", ", ".join(f"{kind}: {about[kind] or 'none'}" for kind in ("labels", "batch", "donor"))),
        ("Cell Ontology", f"{ontology['release']}, {ontology['origin']}, licence {ontology['licence']}"),
        ("its SHA-256", ontology["sha256"]),
    ]
    if ontology.get("extra_terms"):
        rows.append(("terms of your own", f"{ontology['extra_terms']:,}"))
    return section(
        "Where this comes from", facts(rows), _libraries(card), *_labels(card), *_settings(card), _versions(card),
        name="origin",
    )  # fmt: skip


def _libraries(card: Mapping[str, Any]) -> Html:
    columns = (
        Column("member", number=False),
        Column("library", number=False),
        Column("its licence", number=False),
        Column("fit", "CPU seconds"),
        Column("settings", number=False),
    )
    rows = [
        (
            m["name"], m["version"] or "absent", licence_of(m["version"]),
            decimal(m["cpu_seconds"].get("fit"), 1),
            ", ".join(f"{key} = {'none' if value is None else value}" for key, value in m["settings"].items()) or None,
        )
        for m in card["members"]
    ]  # fmt: skip
    return table("Members", columns, rows)


def _labels(card: Mapping[str, Any]) -> list[Html]:
    names = {row["term"]: row["label"] for row in card["terms"]}
    columns = (
        Column("label in the file", number=False),
        Column("cells"),
        Column("term", number=False),
        Column(
            "by",
            "id: it is one (replaced_id: an obsolete one); label, synonym: the ontology has it; map: your table",
            number=False,
        ),
        Column("relation", number=False),
    )
    rows = [
        (
            row["label"], count(row["n_cells"]), named(row["term"], names.get(row["term"])) if row["term"] else "left out",
            row["how"] or None, row["predicate"] or None,
        )
        for row in card["labels"]
    ]  # fmt: skip
    return [folded(f"How {len(rows):,} labels became terms", table("Labels and terms", columns, rows))] if rows else []


def _settings(card: Mapping[str, Any]) -> list[Html]:
    if not card["calibration"]:
        return []
    meanings = {name: field.description for name, field in CalibrationSettings.model_fields.items()}
    columns = (Column("setting", number=False), Column("value", number=False), Column("meaning", number=False))
    rows = [(key, str(value), meanings.get(key)) for key, value in card["calibration"]["settings"].items()]
    signals = ", ".join(f"{kind} ({member})" for kind, member in card["calibration"]["signals"])
    said = f"Signals that tell unseen cells: {signals}." if signals else "No member gives a signal for unseen cells."
    return [folded("Settings of the calibration", table("[calibration]", columns, rows), el("p", said))]


def _versions(card: Mapping[str, Any]) -> Html:
    return folded("Versions", facts(tuple(card["versions"].items())))
