#!/bin/sh
# Runs SCRIPT with the Python of the comparison tests: run.sh PYTHON REQUIRED SCRIPT ARGUMENT...
# The environment (FILIGREE_PYTHON, FILIGREE_PYTHON_REQUIRED) goes before the arguments. Exit code 77: not run.
python=${FILIGREE_PYTHON:-$1}
required=${FILIGREE_PYTHON_REQUIRED:-$2}
shift 2

usual=${FILIGREE_VENV:-${XDG_CACHE_HOME:-$HOME/.cache}/filigree/venv}/bin/python
if [ -z "$python" ] && [ -x "$usual" ]; then python=$usual; fi

packages='numpy, safetensors.numpy, tiktoken, tokenizers'
if [ -n "$python" ] && "$python" -c "import $packages"; then
  exec "$python" "$@"
fi
echo "No Python with the packages of the comparison tests ($packages)${python:+: $python lacks some}." >&2
echo 'deploy/python.sh makes one and prints its path: export FILIGREE_PYTHON=$(deploy/python.sh) and run the test again.' >&2
case $required in
  '' | 0 | OFF | off | FALSE | false | NO | no) exit 77 ;;
  *) exit 1 ;;
esac
