"""Repaints a photo in the manner of a painting.

python scripts/stylize.py --content=photo.jpg --style=painting.jpg
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nst_tf.commands import stylize

if __name__ == "__main__":
    sys.exit(stylize.main())
