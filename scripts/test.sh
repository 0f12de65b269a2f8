#!/usr/bin/env bash
# Sets up, then runs linting, types, the documentation and the tests. Further arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/venv.sh requirements-dev.txt

"$VENV/bin/ruff" check .
"$VENV/bin/ruff" format --check .
"$VENV/bin/mypy"
bash scripts/docs.sh
# Two files at a time: most tests wait for a start, a compilation or one core.
"$VENV/bin/python" -m pytest -n 2 --dist loadfile "$@"
