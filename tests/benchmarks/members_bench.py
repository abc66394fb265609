"""Measure every member on pair P1, and its strangeness on U1 to U5: the table behind ``celljury members list``.

    python tests/benchmarks/members_bench.py --work WORK [--members svm,scpoli] [--config FILE] [--write]

Each fit runs in a process of its own, so that memory and processor time are the member's and those of its interpreter.
What was measured before is kept in ``--work``; ``--write`` puts all of it into ``data/members_measured.tsv``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

for library in ("OMP", "OPENBLAS", "MKL", "NUMBA"):
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")

import numpy as np  # noqa: E402
import psutil  # noqa: E402
from pairs import PAIRS, TRUTH  # noqa: E402
from scipy.sparse import csr_matrix  # noqa: E402
from sklearn.metrics import f1_score, roc_auc_score  # noqa: E402

import celljury  # noqa: E402
from celljury.config import Config  # noqa: E402
from celljury.engine import member_class  # noqa: E402
from celljury.members.base import Block, Reference  # noqa: E402
from celljury.members.cpu_clock import cpu_seconds  # noqa: E402
from celljury.roster import roster  # noqa: E402

if TYPE_CHECKING:
    from pairs import Made

MB = 1024**2
ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / "data" / "members_measured.tsv"
PAGE = ROOT / "docs" / "members.md"
BEGIN, END = "<!-- measured: written by members_bench.py -->\n", "<!-- end -->"
LEFT_OUT = ("U1", "U2", "U3", "U4", "U5")
HEAD = ("member", "accuracy", "macro_f1", "ece", "u1", "u2", "u3", "u4", "u5", "cpu_fit", "cpu_vote", "memory")


def main() -> None:
    options = _options()
    options.work.mkdir(parents=True, exist_ok=True)
    if options.one:
        print(json.dumps(measure(*options.one, Config.read(options.config).settings.get(options.one[0], {}))))
        return
    entries = [entry for entry in roster() if not entry.why_not]
    names = options.members.split(",") if options.members else [entry.name for entry in entries]
    for name in names:
        for pair in ("P1", *LEFT_OUT):
            kept = options.work / f"{name}-{pair}.json"
            if not kept.is_file():
                _one(name, pair, kept, options)
        kept = options.work / f"{name}-ece.json"
        if not kept.is_file():
            kept.write_text(json.dumps(calibration_error(name, options)))
    rows = table(options.work)
    print("\n".join("\t".join(row) for row in (HEAD, *rows)))
    if options.write:
        first = "# Pair P1 (and U1 to U5 for strangeness), seed 0, one thread: tests/benchmarks/members_bench.py"
        TABLE.write_text("\n".join([first, *("\t".join(row) for row in (HEAD, *rows))]) + "\n", encoding="utf-8")
        text = PAGE.read_text(encoding="utf-8")
        before, after = text.split(BEGIN)[0], text.split(END)[1]
        PAGE.write_text(f"{before}{BEGIN}{page_table(rows)}{END}{after}", encoding="utf-8")


def page_table(rows: list[tuple[str, ...]]) -> str:
    """Return the table as Markdown, as it stands in ``docs/members.md``."""
    heads = ("member", "accuracy", "macro F1", "ECE", "U1", "U2", "U3", "U4", "U5", "fit s", "vote s", "MB")
    lines = ["| " + " | ".join(heads) + " |", "|---|" + "---|" * (len(heads) - 1)]
    lines += [f"| `{row[0]}` | " + " | ".join(value or "-" for value in row[1:]) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _one(name: str, pair: str, kept: Path, options: argparse.Namespace) -> None:
    command = [sys.executable, __file__, "--work", str(options.work), "--one", name, pair]
    done = subprocess.run(
        [*command, *(["--config", str(options.config)] if options.config else [])],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        print(f"{name} on {pair}: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return
    kept.write_text(done.stdout.splitlines()[-1])
    print(kept.name, kept.read_text(), flush=True)


def measure(name: str, pair: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Fit one member on a pair's reference and let it vote on its query."""
    reference, query, truth = cells_of(PAIRS[pair]())
    member = member_class(name)(**settings)
    with Memory() as memory:
        start = cpu_seconds()
        member.fit(reference)
        fitted = cpu_seconds()
        votes = member.adapt(query).predict(query)
        voted = cpu_seconds()
    seen = np.isin(truth, reference.terms)
    top = np.where(votes.mass.sum(axis=1) > 0, np.array(member.terms)[votes.mass.argmax(axis=1)], "")
    scored = np.isfinite(votes.strange)
    auroc = roc_auc_score(~seen[scored], votes.strange[scored]) if scored.any() and not seen.all() else None
    macro = f1_score(truth[seen], top[seen], labels=np.unique(truth[seen]), average="macro", zero_division=0)
    return {
        "accuracy": float(np.mean(top[seen] == truth[seen])), "macro_f1": float(macro), "auroc": auroc,
        "cpu_fit": fitted - start, "cpu_vote": voted - fitted, "memory": round(memory.highest / MB),
    }  # fmt: skip


def cells_of(made: Made) -> tuple[Reference, Block, np.ndarray]:
    """Return a pair's cells over their shared genes, and the query's true terms."""
    left, right, facts = made
    genes = tuple(left.var_names[left.var_names.isin(right.var_names)])
    terms, label = np.unique(left.obs[TRUTH].astype(str), return_inverse=True)

    def block(cells: Any, column: str | None) -> Block:
        names, codes = np.unique(
            cells.obs[column].astype(str) if column else np.full(cells.n_obs, "all"), return_inverse=True
        )
        counts = csr_matrix(cells[:, list(genes)].X, dtype=np.float32)
        return Block(counts, genes, np.ones(len(genes), np.bool_), codes.astype(np.int32), tuple(names))

    reference = Reference(block(left, facts["batch"]), label.astype(np.int32), tuple(terms.tolist()))
    return reference, block(right, facts["query_batch"]), right.obs[TRUTH].astype(str).to_numpy()


def calibration_error(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return a member's expected calibration error after its calibration, on held-out batches of P1's reference."""
    home = options.work / "juries" / name
    if not (home / "jury.json").is_file():
        left, _, facts = PAIRS["P1"]()
        config = Config.read(options.config, members=(name,))
        celljury.fit(left, labels=TRUTH, batch=facts["batch"], out=home, resume=home.is_dir(), config=config)
    card = json.loads((home / "card.json").read_text())
    return {"ece": next(row["ece"] for row in card["calibration"]["evidence"]["members"] if row["name"] == name)}


def table(work: Path) -> list[tuple[str, ...]]:
    """Return the rows of everything that was measured in a folder."""
    rows = []
    for entry in roster():
        found = {pair: _read(work / f"{entry.name}-{pair}.json") for pair in ("P1", "ece", *LEFT_OUT)}
        if (p1 := found["P1"]) is None:
            continue
        auroc = [found[pair] and found[pair]["auroc"] for pair in LEFT_OUT]
        ece = found["ece"] and found["ece"]["ece"]
        rows.append((
            entry.name, f"{p1['accuracy']:.3f}", f"{p1['macro_f1']:.3f}", "" if ece is None else f"{ece:.3f}",
            *("" if value is None else f"{value:.3f}" for value in auroc),
            f"{p1['cpu_fit']:.1f}", f"{p1['cpu_vote']:.1f}", str(p1["memory"]),
        ))  # fmt: skip
    return rows


def _read(path: Path) -> Any:
    return json.loads(path.read_text()) if path.is_file() else None


class Memory:
    """The highest resident memory, in bytes, of this process and those it started, looked at ten times a second."""

    def __enter__(self) -> Memory:
        self.highest = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        own = psutil.Process()
        while True:
            held = 0
            for process in (own, *own.children(recursive=True)):
                try:
                    held += process.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            self.highest = max(self.highest, held)
            if self._over.wait(0.1):
                return


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--members", help="names joined by commas; without it, all that are there")
    parser.add_argument("--config", type=Path, help="TOML file with settings of members")
    parser.add_argument("--write", action="store_true", help=f"write {TABLE.name}")
    parser.add_argument("--one", nargs=2, metavar=("MEMBER", "PAIR"), help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
