#!/usr/bin/env bash
# Makes the Python that the comparison tests run: a virtual environment outside the repository on Debian's own python3 (another
# may come first on PATH), whose NumPy and PyTorch it sees, with the readers of our formats from PyPI. Prints its path last.
# Where everything is there already it touches nothing. FILIGREE_VENV names another folder.
set -euo pipefail

venv=${FILIGREE_VENV:-${XDG_CACHE_HOME:-$HOME/.cache}/filigree/venv}
wanted=(tokenizers==0.23.3 tiktoken==0.14.0 safetensors==0.8.0)

complete() {
  [ -x "$venv/bin/python" ] && "$venv/bin/python" - "${wanted[@]}" <<'PYTHON' >/dev/null 2>&1
import importlib.metadata, sys
for wanted in sys.argv[1:]:
    name, version = wanted.split("==")
    assert importlib.metadata.version(name) == version, wanted
import numpy, safetensors.numpy, tiktoken, tokenizers, torch
PYTHON
}

if complete; then
  echo "python: $venv is complete" >&2
else
  echo "python: making $venv with ${wanted[*]}" >&2
  mkdir -p "$(dirname "$venv")"
  /usr/bin/python3 -m venv --clear --system-site-packages "$venv" >&2
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --retries 5 "${wanted[@]}" </dev/null >&2
  complete || { echo "python: $venv is still incomplete; delete it and try again" >&2; exit 1; }
fi
echo "$venv/bin/python"
