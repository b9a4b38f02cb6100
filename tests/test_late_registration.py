"""Importing the package loads neither torch nor transformers, and yet our classes are there once transformers is."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src"
CHECK = """
    from transformers import AutoModel
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from transformers.pipelines import PIPELINE_REGISTRY
    from sam_hq.late_registration import RegistrationOnImport
    from sam_hq.configuration_sam_hq import SamHQConfig
    assert CONFIG_MAPPING["sam_hq"] is SamHQConfig
    assert PIPELINE_REGISTRY.supported_tasks["mask-generation"]["impl"].__module__ == "sam_hq.registration"
    assert not any(isinstance(finder, RegistrationOnImport) for finder in sys.meta_path)
"""


def run_python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", "import sys\n" + code],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={"PYTHONPATH": str(SOURCE), "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_importing_alone_loads_neither_torch_nor_transformers():
    code = """
import sam_hq
assert sam_hq.EMBEDDED_CHECKPOINT and sam_hq.__version__ and "SamHQModel" in dir(sam_hq)
assert not {"torch", "transformers"} & set(sys.modules)
import importlib.util
assert importlib.util.find_spec("transformers").origin.endswith("__init__.py")
assert not {"torch", "transformers"} & set(sys.modules)
"""
    assert run_python(code) == ""


@pytest.mark.parametrize(
    "first",
    [
        "import sam_hq, transformers",
        "from sam_hq.modeling_sam_hq import SamHQModel",
        "import sam_hq.onnx_runtime; import transformers",
    ],
)
def test_registered_whichever_comes_first(first):
    assert run_python(first + textwrap.dedent(CHECK)) == ""


def test_unknown_names_are_no_attributes():
    import sam_hq

    with pytest.raises(AttributeError, match="has no attribute 'SamHQModell'"):
        sam_hq.SamHQModell  # noqa: B018
    assert set(sam_hq.__all__) <= set(dir(sam_hq))
    for name in sam_hq.__all__:
        assert getattr(sam_hq, name) is not None


def test_nothing_waits_where_torch_is_missing():
    code = """
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
import sam_hq
from sam_hq.late_registration import RegistrationOnImport
assert not any(isinstance(finder, RegistrationOnImport) for finder in sys.meta_path)
"""
    assert run_python(code) == ""
