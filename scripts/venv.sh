# Makes the virtual environment and installs requirements, once; sourced by demo.sh and test.sh.
#
#   source scripts/venv.sh requirements.txt
#
# VENV names the folder, .venv by default. PYTHON names the interpreter that makes it. Afterwards
# "$VENV/bin/python" is ready. Nothing is installed again until a requirements file changes.

VENV=${VENV:-.venv}
if [ ! -x "$VENV/bin/python" ]; then
  python=${PYTHON:-python3}
  if ! "$python" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))'; then
    echo "Python 3.10 to 3.13 is needed; name one with PYTHON=python3.12 bash $0" >&2
    exit 1
  fi
  echo "Making $VENV with $("$python" --version) ..." >&2
  if ! "$python" -m venv "$VENV"; then
    rm -rf "$VENV"
    echo "On Debian and Ubuntu, 'sudo apt install python3-venv' adds what is missing." >&2
    exit 1
  fi
fi

stamp="$VENV/.installed-$1"
wanted=$(cat requirements*.txt | cksum)
if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
  echo "Installing $1 into $VENV (with TensorFlow, which is large, a few minutes) ..." >&2
  "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check -r "$1"
  echo "$wanted" > "$stamp"
fi
