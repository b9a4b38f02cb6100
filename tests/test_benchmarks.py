import subprocess
import sys

from conftest import REPOSITORY

SCRIPTS = sorted(path for path in (REPOSITORY / "benchmarks").glob("*.py") if "__main__" in path.read_text())

# Each as if it were started by itself: with its own folder and no more on the path.
CODE = """
import runpy, sys
before = list(sys.path)
for script in sys.argv[1:]:
    sys.path[:] = [script.rpartition("/")[0], *before]
    for name in [name for name, module in sys.modules.items() if "/tests/" in str(getattr(module, "__file__", ""))]:
        del sys.modules[name]
    sys.argv = [script, "--help"]
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        assert not end.code, script
"""


def test_every_benchmark_finds_what_it_imports(tmp_path):
    assert len(SCRIPTS) > 4
    command = [sys.executable, "-c", CODE, *map(str, SCRIPTS)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("usage: ") == len(SCRIPTS)
