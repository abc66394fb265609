"""The tables of the real pairs: rules, calls, tiers, query-matched calibration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench_markdown import in_all, interval, mean_of, number, section, table

if TYPE_CHECKING:
    from collections.abc import Mapping

AVERAGED = ("P1", "P2", "P3", "P4")

PAIRS = """\
Reference -> query, the same settings for all. Accuracy and macro F1 are of the most likely type before any walk upwards,
at the level of the reference's types: a finer known type counts as the reference's type above it, and cells of types that
the reference lacks are left out (14 platelets in P3). In brackets: 95 % bootstrap interval over cells, since each query is
of one donor or its donors are few. Rows `member` are each member's own top vote, `pool` rows what a pooling rule makes
of the same votes; `popv_ancestor` is our reading of popV's rule, none or two votes forgiven; `top_p` gives no label below
that mean probability."""


def pair_parts(pairs: Mapping[str, Any]) -> list[str]:
    """Return the sections on pairs."""
    return [
        "## Real pairs", PAIRS, _pair_list(pairs), _rule_table(pairs, "accuracy", "Accuracy"),
        _rule_table(pairs, "macro_f1", "Macro F1"), _call_table(pairs), _rule_calls(pairs), _ranking(pairs),
        _tiers(pairs), _match(pairs), _queue(pairs),
    ]  # fmt: skip


def _pair_list(pairs: Mapping[str, Any]) -> str:
    rows = [
        (
            name, f"{f['n_reference']:,}", f"{f['n_query']:,}", f"{f['n_shared_genes']:,}",
            f"{100 * p['matching']['share']:.0f} %", f"{100 * p['matching']['depth']:.0f} %",
            "yes" if p["matching"]["matched"] else "no", f"`{p['tier']}`",
        )
        for name, p in pairs.items() for f in (p["facts"],)
    ]  # fmt: skip
    return table(
        ("pair", "reference cells", "query cells", "shared genes", "of the reference's counts", "depth of the query",
         "held-out cells matched", "tier"), rows,
    )  # fmt: skip


def _rule_table(pairs: Mapping[str, Any], metric: str, title: str) -> str:
    names = in_all(p["rows"] for p in pairs.values())
    averaged = [name for name in AVERAGED if name in pairs]
    rows: list[tuple[str, ...]] = []
    for rule in names:
        if rule == "calls of the run":
            continue
        values = [interval(p["rows"].get(rule, {}).get(metric)) for p in pairs.values()]
        own = [pairs[name]["rows"].get(rule, {}).get(metric) for name in averaged]
        bold = rule == "pool: reliability, prior 20"
        row = (f"`{rule}`" + (" (default)" if bold else ""), *values, mean_of(own))
        rows.append(tuple(f"**{cell}**" if bold and cell else cell for cell in row))
    best = [max((r[metric] for n, r in p["rows"].items() if n.startswith("member")), key=lambda e: e["value"])
            for p in pairs.values()]  # fmt: skip
    own = [e for e, name in zip(best, pairs, strict=True) if name in averaged]
    rows.append(("best member, chosen per pair in hindsight", *map(interval, best), mean_of(own)))
    return f"### {title}\n\n" + table(("rule", *pairs, f"mean of {', '.join(averaged)}"), rows)


def _call_table(pairs: Mapping[str, Any]) -> str:
    def row(name: str, get: Any) -> tuple[str, ...]:
        return (name, *(interval(get(p)) for p in pairs.values()))

    rows = [
        row("covered error, strict", lambda p: p["calls"]["covered_error"]),
        row("covered error, lenient", lambda p: p["calls"]["covered_error_lenient"]),
        row("errors among all cells", lambda p: p["calls"]["unconditional_error"]),
        row("information kept", lambda p: p["calls"]["information_kept"]),
        row("hierarchical F", lambda p: p["calls"]["hierarchical_f"]),
        row("labelled", lambda p: p["calls"]["coverage"]),
        row("false-unseen", lambda p: p["unseen"]["false_unseen"]),
        row("AUROC of support for errors of the call", lambda p: p["selective"]["auroc"]),
        row("AUROC of the top probability for errors of the top term",
            lambda p: p["ranking"]["pool: reliability, prior 20"]),
        row("expected calibration error of support", lambda p: p["calibration"].get("calibration_error")),
        row("errors in the lowest 10 % of support", lambda p: p["selective"]["errors_in_lowest_10%"]),
        row("cells that need review", lambda p: p["selective"]["needs_review"]),
        row("errors among them", lambda p: p["selective"]["errors_in_review"]),
    ]  # fmt: skip
    return section(
        "Calls of the default run",
        "Over all cells and against the query's own known types, those that the reference lacks included: a label for"
        " one of them is an error. Information kept is lower where the known types are finer than the reference's (P3).",
        table(("", *pairs), rows),
    )


def _rule_calls(pairs: Mapping[str, Any]) -> str:
    names = in_all(p["rows"] for p in pairs.values())
    rows = []
    for rule in names:
        if rule.startswith("pool") and rule != "pool: reliability, prior 20":
            continue
        cells = []
        for p in pairs.values():
            found = p["rows"].get(rule)
            cells.append("" if found is None else " / ".join(
                number(found[key]["value"]) for key in ("covered_error", "information_kept", "coverage")))  # fmt: skip
        rows.append((f"`{rule}`", *cells))
    return section(
        "Error, information and coverage of every rule",
        "Covered error / information kept / share labelled, at the reference's level. The last row is the default run.",
        table(("rule", *pairs), rows),
    )


def _ranking(pairs: Mapping[str, Any]) -> str:
    names = in_all(p["ranking"] for p in pairs.values())
    averaged = [name for name in AVERAGED if name in pairs]
    rows = [
        (f"`{name}`", *(interval(p["ranking"][name]) for p in pairs.values()),
         mean_of([pairs[pair]["ranking"][name] for pair in averaged])) for name in names
    ]  # fmt: skip
    return section(
        "Does the top probability rank errors?", "AUROC for right against wrong top terms; empty where none is wrong.",
        table(("rule", *pairs, "mean"), rows),
    )  # fmt: skip


def _tiers(pairs: Mapping[str, Any]) -> str:
    rows = [
        (name, f"`{tier}`", f"`{row['attained']}`", number(row["threshold"]), interval(row["covered_error"]),
         interval(row["information_kept"]), interval(row["coverage"]), row["why"] or "")
        for name, p in pairs.items() for tier, row in p["tiers"].items()
    ]  # fmt: skip
    said = []
    for name, tier, what in (("P1", "none", "no tier is asked for"), ("P3", "auto", "three donors are held out")):
        if name in pairs:
            text = pairs[name]["promise"] if tier == "auto" else pairs[name]["tiers"][tier]["says"]
            said.append(f"What {name} says where {what}:\n\n> {text}")
    return section(
        "What each tier gives",
        "Too few donors for the tiers about donors: a run falls to the next one and says why.",
        table(("pair", "asked for", "attained", "threshold", "covered error", "information kept", "labelled", "why"), rows),
    ) + "".join(f"\n\n{text}" for text in said)  # fmt: skip


def _match(pairs: Mapping[str, Any]) -> str:
    rows = [
        (name, f"`{how}`", number(row["threshold"]), number(row["temperature"]), interval(row["accuracy"]),
         interval(row["covered_error"]), interval(row["information_kept"]), interval(row["calibration_error"]),
         interval(row["false_unseen"]), interval(row["auroc"]), interval(row["top_auroc"]))
        for name, p in pairs.items() if p["match"] for how, row in p["match"].items()
    ]  # fmt: skip
    if not rows:
        return ""
    return section(
        "What query-matched calibration gives",
        "`off`: held-out cells as they are; `auto`: predicted again on the query's genes and thinned to its depth.",
        table(("pair", "calibration.match", "threshold", "temperature", "accuracy", "covered error", "information kept",
               "calibration error", "false-unseen", "AUROC of support", "AUROC of the top probability"), rows),
    )  # fmt: skip


def _queue(pairs: Mapping[str, Any]) -> str:
    rows = []
    for order in in_all(p["queue"]["orders"] for p in pairs.values()):
        found = [p["queue"]["orders"][order] for p in pairs.values()]
        rows.append((order, *(" / ".join(number(one[key]) for key in ("0.10", "0.25", "area")) for one in found)))
    sizes = [f"{p['queue']['n_cells']:,} cells in {p['queue']['n_items']:,} items" for p in pairs.values()]
    return section(
        "What the order of the review queue wins",
        "If every reviewed item gets the true type of most of its cells, so many of the bits that the queue can win come back"
        " with the first 10 % of the items / the first 25 % / on average over all lengths. Bits lost: distance of call and"
        " truth in information content (`tests/benchmarks/queue_bench.py`). Items of mixed truth can lose bits too.",
        table(("order", *pairs), [("under review", *sizes), *rows]),
    )
