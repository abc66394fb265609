#!/usr/bin/env bash
# R and the packages that tests drive for real: installed where apt may, else what is missing is said and its tests skip.
set -euo pipefail
need=()
command -v Rscript >/dev/null || need+=(r-base-core)
has() { command -v Rscript >/dev/null && Rscript -e "quit(status = !nzchar(system.file(package = '$1')))" >/dev/null 2>&1; }
has Seurat || need+=(r-cran-seurat)
has SingleR || need+=(r-bioc-singler)
has rhdf5 || need+=(r-bioc-rhdf5)
[ ${#need[@]} -eq 0 ] && exit 0
if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
  apt-get update -q
  DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${need[@]}"
else
  echo "missing for the tests of R: ${need[*]} (Debian's names); they will skip" >&2
fi
