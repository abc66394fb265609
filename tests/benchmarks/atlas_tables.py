"""The tables of the semi-synthetic atlas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench_markdown import in_all, number, percent, section, table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ATLAS = """\
Sixty made donors of 150 cells (`tests/benchmarks/atlas.py`): thirty are the reference, thirty the query. The promise is
about the share of wrong calls among all cells of a new donor (`error`). `all taken to belong`: the threshold alone;
without these words, as a run calls, with about 5 % of the cells left out as unseen. Simple rules answer everything."""


def atlas_parts(atlas: Mapping[str, Any]) -> list[str]:
    """Return the sections on the atlas."""
    parts = ["## The semi-synthetic atlas S", ATLAS]
    light = [run["rows"] for name, run in atlas["runs"].items() if name.endswith("light")]
    if light:
        title = f"Mean of {len(light)} seeds, light members ({', '.join(atlas['light'])})"
        parts.append(section(title, "", _tier_table(light)))
    for name, run in atlas["runs"].items():
        if not name.endswith("light"):
            parts.append(section(f"{name[0].upper()}{name[1:]} members", "", _tier_table([run["rows"]])))
    rows = [
        (name, f"`{run['tier']}`", str(run["n_unlike"]),
         *(f"{percent(run['rows'][tier]['error'])} / {number(run['rows'][tier]['information_kept'])}"
           for tier in ("exact-donor", "cluster-t", "cell")),
         number(run["rows"]["strict LCA"]["information_kept"]))
        for name, run in atlas["runs"].items()
    ]  # fmt: skip
    parts.append(section(
        "Each run", "Error among all cells / information kept. A query donor unlike the held-out ones gets tier `none`"
        " for its cells.",
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
    parts.append(section(
        "A type left out of thirty reference donors",
        "Seed 0, light members. Per donor: mean (least to most) over query donors with at least three cells of the type.",
        table(("left out", "cells", "AUROC", "caught", "false-unseen", "donors", "AUROC per donor", "caught per donor",
               "false-unseen per donor"), rows),
    ))  # fmt: skip
    return parts


def _tier_table(runs: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for name in in_all(runs):
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
