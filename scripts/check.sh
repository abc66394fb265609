#!/usr/bin/env bash
# Every check of the project; "check.sh lint" stops before the tests.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/typing-links.sh
ruff check .
ruff format --check .
mypy
PYTHONPATH=.typing lint-imports
[ "${1:-}" = lint ] && exit 0
# Two processes, a file in one of them: what a file fits once stays with its tests.
python -m pytest -n 2 --dist loadfile --cov --cov-report=term --durations=15 "$@"
python - <<'PY'
"""Hold the coverage that the parts deserve which everything else stands on."""
import json
import subprocess
import sys

subprocess.run([sys.executable, "-m", "coverage", "json", "-q", "-o", ".coverage.json"], check=True)
files = json.load(open(".coverage.json"))["files"]
low = 0
DECISION = ("calibrate", "decide", "pool", "promise", "reduce", "reject", "reliability", "tree", "walk")
for part, floor in (("ontology/", 95), *((f"consensus/{name}.py", 95) for name in DECISION)):
    rows = [row["summary"] for name, row in files.items() if name.startswith(part)]
    share = 100 * sum(row["covered_lines"] for row in rows) / sum(row["num_statements"] for row in rows)
    print(f"coverage of {part}: {share:.1f} % (at least {floor} %)")
    low += share < floor
sys.exit(low)
PY
