"""What two runs' ``run.json`` say differently: versions, settings, jury, query, ontology, promise, warnings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from celljury.compare.sides import Side

Difference = tuple[str, Any, Any]
"""Name, value in A, value in B; None = not said."""

_COST: Final = ("seconds", "cpu_seconds")


def differences(a: Side, b: Side) -> dict[str, list[Difference]]:
    """Return what differs, by part of the record; a part in which nothing does is left out.

    ``settings`` are named as in a config file (``reduce.quorum``); ``members`` by name, with why one is absent.
    """
    first, second = a.run.record, b.run.record
    promised = ("rule", "tier", "alpha", "promise", "command")
    parts = {
        "versions": _between(first.get("versions"), second.get("versions")),
        "settings": _between(_flat(first.get("config")), _flat(second.get("config"))),
        "ontology": _between(_without(first.get("ontology"), "licence"), _without(second.get("ontology"), "licence")),
        "jury": _between(first.get("jury"), second.get("jury")),
        "reference": _between(
            {"terms": first.get("reference_terms")}, {"terms": second.get("reference_terms")}
        ),
        "query": _between(first.get("query"), second.get("query")),
        "genes": _between(_without(first.get("genes"), "sentence"), _without(second.get("genes"), "sentence")),
        "members": _between(_members(first), _members(second)),
        "decision": _between(*({name: record.get(name) for name in promised} for record in (first, second)))
        + _between(_thresholds(first), _thresholds(second)),
        "counted": _between({"calls": a.source}, {"calls": b.source}),
        "warnings": _between(_notes(first), _notes(second)),
    }  # fmt: skip
    return {name: rows for name, rows in parts.items() if rows}


def jury_sentence(a: Side, b: Side) -> str:
    """Say whether the two runs had the same jury."""
    first: Any = a.run.record.get("jury")
    second: Any = b.run.record.get("jury")
    if first is None and second is None:
        return "No jury: labels of other tools, or votes alone."
    if first is None:
        return f"Only run B has a jury: {second['folder']}."
    if second is None:
        return f"Only run A has a jury: {first['folder']}."
    if first["sha256"] == second["sha256"]:
        return f"Same jury: {second['folder']}."
    if first["folder"] == second["folder"]:
        return f"The jury {second['folder']} was fitted anew in between ({first['made']}, then {second['made']})."
    return f"Another jury: {first['folder']}, then {second['folder']}."


def _between(first: Any, second: Any) -> list[Difference]:
    x, y = first or {}, second or {}
    return [(str(name), x.get(name), y.get(name)) for name in {**x, **y} if x.get(name) != y.get(name)]


def _flat(values: Any, above: str = "") -> dict[str, Any]:
    """Return nested settings by their dotted names."""
    found: dict[str, Any] = {}
    for name, value in (values or {}).items():
        if isinstance(value, dict):
            found |= _flat(value, f"{above}{name}.")
        else:
            found[f"{above}{name}"] = value
    return found


def _without(values: Any, *names: str) -> dict[str, Any]:
    return {name: value for name, value in (values or {}).items() if name not in names}


def _members(record: dict[str, Any]) -> dict[str, str]:
    """Return each member and what it was: absent and why, or its version and settings."""
    found = {}
    for row in record.get("members", []):
        told = [str(row.get("version") or "")] + [f"{k}={v}" for k, v in sorted((row.get("settings") or {}).items())]
        found[str(row["name"])] = (
            f"absent: {row['absent']}" if row.get("absent") else " ".join(told).strip() or "present"
        )
    return found


def _thresholds(record: dict[str, Any]) -> dict[str, Any]:
    rows = (record.get("calibration") or {}).get("thresholds") or []
    # A record says plain numbers; five digits are what a call is compared by.
    return {"thresholds": [f"{row['scope']} {row['value']:.5f} ({row['tier']})" for row in rows]} if rows else {}


def _notes(record: dict[str, Any]) -> dict[str, str]:
    notes = list((record.get("calibration") or {}).get("notes") or [])
    return dict.fromkeys(notes, "said")
