"""Runs the command as `python -m nst_tf`."""

import sys

from nst_tf.commands import stylize

if __name__ == "__main__":
    sys.exit(stylize.main(["python -m nst_tf", *sys.argv[1:]]))
