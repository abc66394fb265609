"""The end of a report: text for a paper, what is not promised, and where everything comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celljury.markup import Column, Html, bulleted, decimal, el, facts, folded, section, table
from celljury.report.licences import licence_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from celljury.report.report_content import Content


def methods_block(content: Content) -> Html | None:
    """Return the methods paragraphs with their references; None where there are none."""
    if not content.methods:
        return None
    references = (el("h3", "References"), bulleted(content.references)) if content.references else ()
    return section(
        "Methods, for a paper",
        el("p", "True of this run; edit it to your study. The same text is in methods.md, the references as BibTeX in"
           " references.bib."),
        el("div", *(el("p", text) for text in content.methods), class_="paper"),
        *references,
        *((el("h3", "Under every table"), el("div", *(el("p", line) for line in content.caption), class_="paper"))
          if content.caption else ()),
        name="methods",
    )  # fmt: skip


def limits_block(content: Content) -> Html:
    """Return what nobody should conclude from the page."""
    record = content.record
    said = [
        "The promise is on average over many cells or donors, not for a cell, a type, a sample or a region of the embedding.",
        "Whether a cell without a call, or an unseen one, would have been called rightly is not promised.",
        "How many cells of types that the reference lacks are missed is estimated at most, and never bounded.",
        "Agreement of members is no probability: members that learned from the same reference err together.",
        "Differences between samples, donors and conditions are described, not tested.",
        "Labels are as good as the reference's labels, its label map and the release of the Cell Ontology.",
    ]
    if record["tier"] == "none":
        said[0] = "Nothing is promised: not on average, and not for a cell, a type or a sample."
    if content.counted.source == "final":
        said.append(
            "Curators' decisions are counted as they were made; the promise is about calls, not about decisions."
        )
    return section("What is not promised", bulleted(said), name="limits")


def origin_block(content: Content) -> Html:
    """Return where everything comes from: files, ontology, members with licences, settings, versions, times."""
    record = content.record
    query, ontology, jury = record.get("query", {}), record["ontology"], record.get("jury")
    source = (
        "final.parquet: calls, and over them what curators decided"
        if content.counted.source == "final"
        else "calls.parquet"
    )
    rows: list[tuple[str, Any]] = [
        ("report made", f"{content.made} by celljury {_version()}"),
        ("run made", f"{record.get('began', 'not recorded')} to {record.get('ended', 'not recorded')} by celljury"
         f" {record.get('versions', {}).get('celljury', 'not recorded')}, celljury {record.get('command', 'not recorded')}"),
        ("what is counted", source),
        ("query", query.get("file") or "an object in memory"),
        ("its SHA-256", query.get("sha256") or "none: it was not a file"),
        ("counts in", query.get("counts_in") or "not recorded"),
        ("batches", f"{len(query.get('batches', []) or ['all'])}, column {query.get('batch') or 'none'}"),
    ]  # fmt: skip
    if jury:
        rows += [("jury", f"{jury['folder']}, made {jury['made']}; its card is card.html in that folder"),
                 ("its SHA-256", jury["sha256"])]  # fmt: skip
    rows += [
        ("Cell Ontology", ", ".join(str(ontology[k]) for k in ("release", "origin", "licence") if ontology.get(k))),
        ("its SHA-256", ontology.get("sha256", "not recorded")),
    ]
    if ontology.get("extra_terms"):
        rows.append(("terms of your own", f"{ontology['extra_terms']:,}"))
    if content.truth:
        rows.append(("known types", content.truth))
    seconds, memory = record.get("cpu_seconds"), record.get("peak_memory_mb", {}).get("main")
    if seconds is not None:
        rows.append(("run took", f"{seconds:,.1f} CPU seconds" + (f", {memory:,.0f} MB at most" if memory else "")))
    files = tuple(content.sources.items())
    settings = [(name, _said(value)) for name, value in _flat(record.get("config", {}))]
    seed = record.get("config", {}).get("seed")
    if seed is not None:
        rows.append(("seed", str(seed)))
    return section(
        "Where this comes from",
        facts(rows),
        _members(record),
        *((folded("Files of the run and their SHA-256", facts(files)),) if files else ()),
        *((folded("Settings", facts(settings)),) if settings else ()),
        *((folded("Versions", facts(tuple(record["versions"].items()))),) if record.get("versions") else ()),
        name="origin",
    )


def _version() -> str:
    from celljury import __version__

    return __version__


def _members(record: Mapping[str, Any]) -> Html:
    columns = (
        Column("member", number=False),
        Column("library", number=False),
        Column("its licence", number=False),
        Column("time", "CPU seconds"),
        Column("settings", number=False),
    )
    rows = [
        (
            m["name"],
            f"absent: {m['absent']}" if m["absent"] else m.get("version") or "not recorded",
            None if m["absent"] or not m.get("version") else licence_of(m["version"]),
            decimal(sum(m["cpu_seconds"].values()), 1) if m.get("cpu_seconds") else None,
            ", ".join(f"{name} = {_said(value)}" for name, value in (m.get("settings") or {}).items()) or None,
        )
        for m in record["members"]
    ]
    return table("Members", columns, rows)


def _flat(settings: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def _said(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "none"
    return str(value)
