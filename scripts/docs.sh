#!/usr/bin/env bash
# Sets up, then builds the documentation into site/. Further arguments go to MkDocs.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/venv.sh requirements-docs.txt

export NO_MKDOCS_2_WARNING=1 # An advertisement.
"$VENV/bin/mkdocs" build --strict "$@"
echo "The documentation is $PWD/site/index.html"
