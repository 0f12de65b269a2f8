"""Opens a page for photos and paintings in the browser.

python scripts/app.py
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nst_tf.commands import app

if __name__ == "__main__":
    sys.exit(app.main())
