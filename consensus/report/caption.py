"""What every table and figure of a run says below it: what is counted, by whom it was called, and what is promised."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PROMISES = {
    "exact-donor": "in a new {unit} at most {alpha} of the cells get a wrong call, on average over new {units} (exact)",
    "cluster-t": "aimed at: in a new {unit} at most {alpha} of the cells get a wrong call, on average over new {units}"
    " (approximate)",
    "cell": "of cells like those that were held out at most {alpha} get a wrong call, on average; nothing is promised"
    " about a new {unit}",
    "none": "no error rate is promised",
}


def caption_lines(
    record: Mapping[str, Any], counted_source: Literal["calls", "final"], n_cells: int
) -> tuple[str, ...]:
    """Return sentences for the caption of any table of a run.

    Parameters
    ----------
    record
        As ``run.json`` says.
    counted_source
        What is counted: the ``calls``, or the ``final`` terms with curators' decisions over them.
    n_cells
        Cells that are counted, each once.
    """
    return (
        _counted(counted_source, n_cells),
        _ontology(record["ontology"]),
        *_members(record),
        _rule(record, counted_source),
        f"celljury {record['versions']['celljury']}." if "versions" in record else "celljury.",
    )


def _counted(source: str, n_cells: int) -> str:
    cells = "1 cell" if n_cells == 1 else f"{n_cells:,} cells, each once"
    if source == "final":
        return f"Counted: {cells}, by curators' decisions where there are any, else by the run's calls."
    return f"Counted: {cells}, by the run's calls."


def _ontology(used: Mapping[str, Any]) -> str:
    extra = used.get("extra_terms") or 0
    terms = f" with {extra:,} terms of the user" if extra else ""
    return f"Cell types are terms of the Cell Ontology (CL), release {used['release']}{terms}."


def _members(record: Mapping[str, Any]) -> list[str]:
    present = [member for member in record["members"] if not member.get("absent")]
    absent = [member["name"] for member in record["members"] if member.get("absent")]
    if record.get("command") == "vote":
        return [f"Labels voted on: {', '.join(member['name'] for member in present)}."]
    said = [f"{m['name']} ({m['version']})" if m.get("version") else str(m["name"]) for m in present]
    return [f"Members: {', '.join(said)}{f'; absent: {_listed(absent)}' if absent else ''}."]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)


def _rule(record: Mapping[str, Any], source: str) -> str:
    tier, alpha = record["tier"], record.get("alpha")
    rule = f"Rule {record['rule']}" if record.get("rule") else "Rule not recorded"
    level = f", alpha {alpha:g}" if alpha is not None and tier != "none" else ""
    return f"{rule}, tier {tier}{level}: {short_promise(record)}{_of_whom(record, source)}."


def short_promise(record: Mapping[str, Any]) -> str:
    """Return what is promised of a run's calls, in a phrase; ``record["promise"]`` says it in full."""
    tier, alpha = record["tier"], record.get("alpha")
    unit = (record.get("calibration") or {}).get("unit") or "donor"
    units = "batches" if unit == "batch" else f"{unit}s"
    return PROMISES[tier].format(unit=unit, units=units, alpha="" if alpha is None else f"{100 * alpha:g} %")


def _of_whom(record: Mapping[str, Any], source: str) -> str:
    if record["tier"] == "none":
        return ""
    unlike = ((record.get("calibration") or {}).get("exchangeable") or {}).get("unlike") or []
    batches = "1 batch that is" if len(unlike) == 1 else f"{len(unlike):,} batches that are"
    return "".join(
        [
            f"; nothing for the cells of {batches} unlike the held-out ones" if unlike else "",
            "; this speaks of the calls before review" if source == "final" else "",
        ]
    )
