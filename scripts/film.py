"""Repaints a clip after a painting.

python scripts/film.py --content=clip.mp4 --style=painting.jpg --output=painted.mp4
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nst_tf.commands import film

if __name__ == "__main__":
    sys.exit(film.main())
