#!/usr/bin/env bash
# Installs what is missing, builds everything and runs every default test. Nothing to type, safe to run again.
#   FILIGREE_JOBS   compilers and tests at a time (default: the cores)
#   FILIGREE_VENV   where the Python of the comparison tests lives (default: ~/.cache/filigree/venv)
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
jobs=${FILIGREE_JOBS:-$(nproc)}

say() { printf '\n== %s\n' "$*"; }

say "Packages (deploy/install.sh --tests)"
deploy/install.sh --tests

say "Python for the comparison tests (deploy/python.sh)"
FILIGREE_PYTHON=$(deploy/python.sh)
# With REQUIRED a test that finds no Python or no package fails; without, it would be skipped.
export FILIGREE_PYTHON FILIGREE_PYTHON_REQUIRED=1
# Network namespaces need root; without it the tests of several hosts are skipped.
if [ "$(id -u)" -eq 0 ]; then export FILIGREE_HOSTS_REQUIRED=1; fi

say "Build (build/release, $jobs at a time)"
# Objects that ccache knows from another clone of the repository are taken from there.
export CCACHE_BASEDIR="$root" CCACHE_NOHASHDIR=1
cmake --preset release
cmake --build --preset release -j "$jobs"

say "Tests (ctest --preset release)"
ctest --preset release -j "$jobs"
