#!/usr/bin/env bash
# From a clean clone to the page in the browser. Further arguments go to the command.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/venv.sh requirements-web.txt

exec "$VENV/bin/python" scripts/app.py "$@"
