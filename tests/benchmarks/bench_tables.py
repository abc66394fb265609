"""The Markdown of a bench: tables with the numbers of ``benchmarks.json`` and the few words needed to read them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench_targets import target_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

AVERAGED = ("P1", "P2", "P3", "P4")
FIGURES = (
    ("risk_coverage", "error as calls with less support are left out, P1 to P4 and P3-200 together"),
    ("reliability", "support against the share that is right, the same cells"),
    ("error_by_depth", "error by depth of the call, the same cells"),
    ("unseen_roc", "1 - p_seen on the five pairs with a type left out"),
)


def markdown(found: Mapping[str, Any]) -> str:
    """Return the whole report; parts that were not run are left out."""
    parts = [_head(found), _section("Targets", "", table(("what", "wanted", "found", "met"), target_rows(found)))]
    if pairs := found.get("pairs"):
        parts += [
            "## Real pairs", PAIRS, _pair_list(pairs), _rule_table(pairs, "accuracy", "Accuracy"),
            _rule_table(pairs, "macro_f1", "Macro F1"), _call_table(pairs), _rule_calls(pairs), _ranking(pairs),
            _tiers(pairs), _match(pairs),
        ]  # fmt: skip
    if unseen := found.get("unseen"):
        parts += ["## Types that the reference lacks", UNSEEN, _unseen(unseen), _nodes(unseen), _signals(unseen),
                  _sums(unseen), _hlca(unseen), _estimates(unseen, found.get("pairs", {}))]  # fmt: skip
    if atlas := found.get("atlas"):
        parts += ["## The semi-synthetic atlas S", ATLAS, *_atlas(atlas)]
    parts += _costs(found)
    return "\n\n".join(part for part in parts if part) + "\n"


PAIRS = """\
Reference -> query, nothing tuned to a pair. Accuracy and macro F1 are of the most likely type before any walk upwards, at
the level of the reference's types: a finer known type counts as the reference's type above it, and cells of types that
the reference lacks are left out (14 platelets in P3). In brackets: 95 % bootstrap interval over cells, since each query is
of one donor or its donors are few. Rows `member` are each member's own top vote, `pool` rows what a pooling rule makes
of the same votes; `popv_ancestor` is our reading of popV's rule, none or two votes forgiven; `top_p` gives no label below
that mean probability."""

UNSEEN = """\
The same pairs with one type (U5: two) taken out of the reference; one rule, no setting per pair. Caught: share of the
left-out type's cells with status `unseen`; false-unseen: the same of all other cells, wanted about 5 %."""

ATLAS = """\
Sixty made donors of 150 cells (`tests/benchmarks/atlas.py`): thirty are the reference, thirty the query. The promise is
about the share of wrong calls among all cells of a new donor (`error`). `all taken to belong`: the threshold alone;
without these words, as a run calls, with about 5 % of the cells left out as unseen. Simple rules answer everything."""


def _head(found: Mapping[str, Any]) -> str:
    pictures = "\n\n".join(
        f"![{text}](pictures/bench_{name}.png)\n\n*{text[0].upper()}{text[1:]}.*" for name, text in FIGURES
    )
    versions = found["versions"]
    return (
        "# Benchmarks\n\n"
        "Made by `make bench`, which prints this page and writes `benchmarks.json`; juries and runs are kept in"
        " `build/bench`, so that an interrupted bench goes on. Needs the real sets of `../shared/data`.\n\n"
        f"celljury {versions['celljury']}, Python {versions['python']}, {found['machine']}; seed 0, one thread a member,"
        f" default settings and members unless said.\n\n{pictures}"
    )


# Pairs ----------------------------------------------------------------------------------------------------------------


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
    names = _in_all(p["rows"] for p in pairs.values())
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
    return _section(
        "Calls of the default run",
        "Over all cells and against the query's own known types, those that the reference lacks included: a label for"
        " one of them is an error. Information kept is lower where the known types are finer than the reference's (P3).",
        table(("", *pairs), rows),
    )


def _rule_calls(pairs: Mapping[str, Any]) -> str:
    names = _in_all(p["rows"] for p in pairs.values())
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
    return _section(
        "Error, information and coverage of every rule",
        "Covered error / information kept / share labelled, at the reference's level. The last row is the default run.",
        table(("rule", *pairs), rows),
    )


def _ranking(pairs: Mapping[str, Any]) -> str:
    names = _in_all(p["ranking"] for p in pairs.values())
    averaged = [name for name in AVERAGED if name in pairs]
    rows = [
        (f"`{name}`", *(interval(p["ranking"][name]) for p in pairs.values()),
         mean_of([pairs[pair]["ranking"][name] for pair in averaged])) for name in names
    ]  # fmt: skip
    return _section(
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
    return _section(
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
    return _section(
        "What query-matched calibration gives",
        "`off`: held-out cells as they are; `auto`: predicted again on the query's genes and thinned to its depth.",
        table(("pair", "calibration.match", "threshold", "temperature", "accuracy", "covered error", "information kept",
               "calibration error", "false-unseen", "AUROC of support", "AUROC of the top probability"), rows),
    )  # fmt: skip


# Unseen ---------------------------------------------------------------------------------------------------------------


def _unseen(unseen: Mapping[str, Any]) -> str:
    rows = [
        (name, ", ".join(u["run"]["types"]), f"{u['run']['n_unseen']} of {u['facts']['n_query']}",
         interval(u["run"].get("auroc")), interval(u["run"].get("fpr_at_95_tpr")), interval(u["run"].get("caught")),
         interval(u["run"].get("false_unseen")), interval(u["run"].get("wrong_label")),
         interval(u["run"].get("node_right")), interval(u["run"].get("node_root_only")),
         interval(u["run"].get("node_information")))
        for name, u in unseen.items()
    ]  # fmt: skip
    return table(
        ("pair", "left out", "cells", "AUROC", "false positives at 95 % caught", "caught", "false-unseen",
         "labelled wrong", "node right", "plain", "information kept, of the best node's"), rows,
    )  # fmt: skip


def _nodes(unseen: Mapping[str, Any]) -> str:
    rows = []
    for name, u in unseen.items():
        for row in u["nodes"]:
            rows.append((name, row["truth"], row["node"], str(row["n"]), "yes" if row["right"] else "no"))
    return _section(
        "Nodes named for the caught cells",
        "Right: the node is an ancestor of the known type. Plain: the cell belongs nowhere, so nothing wrong is said.",
        table(("pair", "known type", "named", "cells", "right"), rows),
    )


def _signals(unseen: Mapping[str, Any]) -> str:
    names = _in_all(u["signals"] for u in unseen.values())
    rows = [(f"{name}", *(number(u["signals"].get(name)) for u in unseen.values())) for name in names]
    used = ("the run's 1 - p_seen", *(number((u["run"].get("auroc") or {}).get("value")) for u in unseen.values()))
    return _section(
        "Single signals", "AUROC of each signal as members give it, unseen against seen cells; no single one serves.",
        table(("signal", *unseen), [*rows, tuple(f"**{cell}**" for cell in used)]),
    )  # fmt: skip


def _sums(unseen: Mapping[str, Any]) -> str:
    names = _in_all(u["sums"] for u in unseen.values())
    rows = [(name, *(number(u["sums"].get(name)) for u in unseen.values())) for name in names]
    return _section(
        "Kinds left out of the sum", "AUROC of the sum of strangeness.", table(("sum", *unseen), rows)
    )  # fmt: skip


def _hlca(unseen: Mapping[str, Any]) -> str:
    rows = []
    for name, u in unseen.items():
        if not (h := u["hlca"]):
            continue
        run = u["run"]
        rows.append((
            name, number(h["auroc"]), number(h["published"]["caught"]), number(h["published"]["false_unseen"]),
            number(h["recalibrated"]["threshold"]), number(h["recalibrated"]["caught"]),
            number(h["recalibrated"]["false_unseen"]), number(run["caught"]["value"]),
            number(run["false_unseen"]["value"]),
        ))  # fmt: skip
    if not rows:
        return ""
    return _section(
        "The Human Lung Cell Atlas' rule",
        "Weighted-kNN uncertainty of `scvi_knn` (1 - largest mass; Sikkema 2023) above 0.2, and above the held-out cells'"
        " 95 % quantile.",
        table(("pair", "AUROC", "at 0.2: caught", "false-unseen", "recalibrated at", "caught", "false-unseen",
               "run: caught", "false-unseen"), rows),
    )  # fmt: skip


def _estimates(unseen: Mapping[str, Any], pairs: Mapping[str, Any]) -> str:
    whole = {"U1": "P1", "U2": "P1", "U3": "P2", "U4": "P1", "U5": "P1"}
    rows = []
    for name, u in unseen.items():
        own, run = u["own_estimate"], u["run"]
        before = pairs.get(whole[name], {}).get("left_out", {})
        of_type = [before[label] for label in run["types"] if label in before]
        said = "; ".join(f"{row['label']} {number(row['auroc'])} / {number(row['caught'])}" for row in of_type)
        rows.append((
            name,
            f"{number(own['auroc'])} / {number(own['caught'])} / {number(own['false_unseen'])} ({own['n_types']} types)"
            if own else "none",
            said or "none",
            f"{number(run['auroc']['value'])} / {number(run['caught']['value'])} /"
            f" {number(run['false_unseen']['value'])}",
        ))  # fmt: skip
    return _section(
        "The jury's own estimate, and what happened",
        "Each jury leaves its own types out, one at a time, by its light members. Third column: what the jury with the"
        " type (P1, P2) estimated for that very type (AUROC / caught).",
        table(("pair", "estimated over its own types: AUROC / caught / false-unseen", "estimated for this type",
               "happened: AUROC / caught / false-unseen"), rows),
    )  # fmt: skip


# Atlas ----------------------------------------------------------------------------------------------------------------


def _atlas(atlas: Mapping[str, Any]) -> list[str]:
    parts = []
    light = [run["rows"] for name, run in atlas["runs"].items() if name.endswith("light")]
    if light:
        title = f"Mean of {len(light)} seeds, light members ({', '.join(atlas['light'])})"
        parts.append(_section(title, "", _tier_table(light)))
    for name, run in atlas["runs"].items():
        if not name.endswith("light"):
            parts.append(_section(f"{name[0].upper()}{name[1:]} members", "", _tier_table([run["rows"]])))
    rows = [
        (name, f"`{run['tier']}`", str(run["n_unlike"]),
         *(f"{percent(run['rows'][tier]['error'])} / {number(run['rows'][tier]['information_kept'])}"
           for tier in ("exact-donor", "cluster-t", "cell")),
         number(run["rows"]["strict LCA"]["information_kept"]))
        for name, run in atlas["runs"].items()
    ]  # fmt: skip
    parts.append(_section(
        "Each run", "Error among all cells / information kept. A query donor unlike the held-out ones gets tier `none`"
        " for its cells, and so does the run as a whole.",
        table(("run", "tier of the run", "donors unlike", "`exact-donor`", "`cluster-t`", "`cell`",
               "strict LCA keeps"), rows),
    ))  # fmt: skip
    rows = []
    for name, u in atlas["unseen"].items():
        per = u["per_donor"]
        rows.append((
            name, str(u["n_unseen"]), number(u["auroc"]), number(u["caught"]), number(u["false_unseen"]),
            str(u["n_donors"]),
            *(f"{number(per[key]['mean'])} ({number(per[key]['least'])} to {number(per[key]['most'])})"
              for key in ("auroc", "caught", "false_unseen")),
        ))  # fmt: skip
    parts.append(_section(
        "A type left out of thirty reference donors",
        "Seed 0, light members. Per donor: mean (least to most) over query donors with at least three cells of the type.",
        table(("left out", "cells", "AUROC", "caught", "false-unseen", "donors", "AUROC per donor", "caught per donor",
               "false-unseen per donor"), rows),
    ))  # fmt: skip
    return parts


def _tier_table(runs: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for name in _in_all(runs):
        own = [run[name] for run in runs if name in run]

        def mean(key: str, own: Sequence[Mapping[str, Any]] = own) -> float:
            return sum(row[key] for row in own) / len(own)

        attained = ", ".join(f"`{tier}`" for tier in sorted({row["attained"] for row in own if "attained" in row}))
        most = max(row["error"] for row in own)
        rows.append((
            name, attained,
            percent(mean("error")) + (f" ± {percent(own[0]['error_se'])}" if len(own) == 1 else f" (up to {percent(most)})"),
            f"{100 * mean('above_alpha'):.0f} %", percent(mean("covered_error")),
            f"{100 * mean('covered_above_alpha'):.0f} %", number(mean("information_kept")), number(mean("exact")),
            number(mean("coverage")),
        ))  # fmt: skip
    return table(
        ("tier or rule", "attained", "error among all cells, mean of donors", "donors above 5 %", "covered error",
         "donors above 5 %", "information kept", "exact", "labelled"), rows,
    )  # fmt: skip


# Cost -----------------------------------------------------------------------------------------------------------------


def _costs(found: Mapping[str, Any]) -> list[str]:
    parts = []
    rows = []
    named = {name: p["cost"] for name, p in found.get("pairs", {}).items() if "cost" in p}
    for name, cost in (named | found.get("atlas", {}).get("cost", {})).items():
        for step in ("fit", "annotate"):
            c = cost[step]
            rows.append((
                name, step, number(c["cpu_seconds"], 1), number(c["cpu_main"] + c["cpu_members"], 1),
                number(c["wall_seconds"], 1), f"{c['main_mb']:,.0f}", f"{c['largest_worker_mb']:,.0f}",
                f"{c['main_mb'] + c['largest_worker_mb']:,.0f}",
                f"{c['together_mb']:,.0f}" if c["together_mb"] else "",
                ", ".join(f"{member} {seconds:.1f}" for member, seconds in c["members"].items()),
            ))  # fmt: skip
    if rows:
        parts.append(_section(
            "Cost",
            "Processor seconds with all workers. Without imports: members' own steps and the main process; for `fit` it"
            " leaves out what held-out folds cost the workers. MB: highest of the main process, of the largest worker,"
            " their sum, and the largest sum over all processes at one moment (two workers run side by side; pages that"
            " processes share count in each). popV 0.6.1 on P1: 518 s and 4.0 GB (plus 4 GB in CellTypist's workers), a"
            " further query 8.7 s.",
            table(("run", "step", "processor s", "without imports", "wall s", "main MB", "largest worker MB", "sum MB",
                   "together MB", "members' processor s"), rows),
        ))  # fmt: skip
    if vote := found.get("vote"):
        parts.append(_section(
            "A million cells: votes to calls", "`celljury vote` on a table, and its reducer alone.",
            table(("cells", "tools", "reducer, wall s", "command, wall s", "command, processor s", "peak MB", "queue items"),
                  [(f"{vote['n_cells']:,}", str(vote["n_tools"]), number(vote["reducer_wall_seconds"], 2),
                    number(vote["command_wall_seconds"], 1), number(vote["command_cpu_seconds"], 1),
                    f"{vote['peak_memory_mb']:,.0f}", f"{vote['n_items']:,}")]),
        ))  # fmt: skip
    if walk := found.get("walk"):
        parts.append(_section(
            "A million cells: the calibrated walk",
            "Pooled mass over all labels (dense) or on 10 to 30 of them (sparse); the walk alone, and the whole reduction"
            " with five members' votes. Peak includes the mass itself.",
            table(("cells", "labels", "mass", "threads", "walk, wall s", "whole reduction, wall s", "peak MB"),
                  [(f"{row['n_cells']:,}", str(row["n_labels"]), row["mass"], str(row["threads"]),
                    number(row["walk_wall_seconds"], 2), number(row["reduce_wall_seconds"], 2),
                    f"{row['peak_memory_mb']:,.0f}") for row in walk]),
        ))  # fmt: skip
    return ["## Cost and scale", *parts] if parts else []


# Words and numbers ----------------------------------------------------------------------------------------------------


def _section(title: str, text: str, body: str) -> str:
    return "\n\n".join(part for part in (f"### {title}", text, body) if part)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def number(value: float | None, digits: int = 3) -> str:
    """Return a number to some digits, shares without their leading zero; empty where there is none."""
    if value is None:
        return ""
    text = f"{value:.{digits}f}"
    return text.removeprefix("0") if digits == 3 and text != "0.000" else text.replace("0.000", "0")


def percent(share: float) -> str:
    """Return a share as per cent."""
    return f"{100 * share:.1f} %"


def interval(estimate: Mapping[str, Any] | None) -> str:
    """Return a number with its interval; empty where there is none."""
    if estimate is None or estimate["value"] is None:
        return ""
    if estimate["low"] is None:
        return number(estimate["value"])
    return f"{number(estimate['value'])} [{number(estimate['low'])}, {number(estimate['high'])}]"


def mean_of(estimates: Sequence[Mapping[str, Any] | None]) -> str:
    """Return the mean over pairs, which are independent: half its interval is the root of the sum of squares over n."""
    known = [e for e in estimates if e is not None and e["value"] is not None]
    if len(known) < len(estimates) or not known:
        return ""
    half = sum(((e["high"] - e["low"]) / 2) ** 2 for e in known) ** 0.5 / len(known)
    return f"{number(sum(e['value'] for e in known) / len(known))} ± {number(half)}"


def _in_all(tables: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return all names in the order in which they first occur."""
    return list(dict.fromkeys(name for one in tables for name in one))
