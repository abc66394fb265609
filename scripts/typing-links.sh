#!/usr/bin/env bash
# Lay the package out under .typing as it is imported, for tools that read files and cannot follow import hooks.
set -eu
rm -rf .typing && mkdir -p .typing/celljury && cd .typing/celljury
ln -s ../../consensus/*.* ../../consensus/report ../../consensus/review ../../consensus/export ../../consensus/compare ../../ontology ../../members ../../data .
