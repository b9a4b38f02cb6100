"""Work done in a fork of this process."""

import os
import sys
import traceback
from collections.abc import Callable
from typing import IO


def run_forked(work: Callable[[], object], out: IO[str]) -> int:
    """Do the work in a fork, and return its exit status; what it prints goes to `out`."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 1
    try:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
        work()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
