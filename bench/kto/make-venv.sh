#!/usr/bin/env bash
# Makes the Python environment of bench/kto and bench/overhead: TRL, transformers, peft and torch from PyPI, in the folder given.
#   bench/kto/make-venv.sh ~/.cache/prospect-bench/venv
set -euo pipefail
folder=${1:?usage: make-venv.sh <folder>}
python3 -m venv "$folder"
"$folder/bin/pip" install --quiet -r "$(dirname "$0")/requirements.txt"
echo "PROSPECT_PEERS_PYTHON=$folder/bin/python"
