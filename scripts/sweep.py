"""Repaints a photo with every combination of settings, and lays the results side by side.

python scripts/sweep.py --content=photo.jpg --style=painting.jpg \
    --grid=init=noise,content --grid=style_weight=1,10,100
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nst_tf.commands.sweep import command

if __name__ == "__main__":
    sys.exit(command.main())
