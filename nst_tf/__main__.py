"""The command, for `python -m nst_tf`."""

import sys

from nst_tf import cli

if __name__ == "__main__":
    sys.exit(cli.main(["python -m nst_tf", *sys.argv[1:]]))
