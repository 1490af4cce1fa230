# Sourced: makes .venv where there is none, installs xmc into it with the extras in $1, and activates it.
[ -d .venv ] || "${PYTHON:-python3}" -m venv .venv
source .venv/bin/activate
python -m pip install --quiet --constraint constraints.txt --editable ".${1:-}"
