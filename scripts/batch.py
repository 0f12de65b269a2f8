"""Repaints many photos after many paintings.

python scripts/batch.py --contents='photos/**/*.jpg' --styles='paintings/*.jpg' --output_dir=out
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nst_tf.commands.batch import command

if __name__ == "__main__":
    sys.exit(command.main())
