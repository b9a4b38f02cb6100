"""`python -m sam_hq`: the command `sam-hq`, where its script is not on the path."""

import sys

from sam_hq_cli.main import main

if __name__ == "__main__":
    sys.exit(main())
