# Sourced: makes .venv where there is none, installs xmc into it with the extras in $1, and activates it.
if [ ! -d .venv ]; then
  echo "making .venv and installing xmc with torch into it: a few minutes, nothing is shown until then" >&2
  "${PYTHON:-python3}" -m venv .venv
fi
source .venv/bin/activate
python -m pip install --quiet --constraint constraints.txt --editable ".${1:-}"
