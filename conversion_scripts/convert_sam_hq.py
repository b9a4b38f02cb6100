"""Convert a checkpoint of the authors: the same as `sam-hq convert`, with the same arguments."""

import sys

from sam_hq_cli.main import main

if __name__ == "__main__":
    sys.exit(main(["convert", *sys.argv[1:]]))
