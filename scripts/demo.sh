#!/usr/bin/env bash
# From a clean clone to a picture: sets up, then repaints the bundled photo after the bundled
# painting. Further arguments go to the command, such as --image_size=1024.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/venv.sh requirements.txt

picture=$("$VENV/bin/python" scripts/stylize.py --content=assets/chelsea.png \
  --style=assets/estuary.jpg --output=demo.png --overwrite "$@")
echo "The picture is $PWD/$picture"
