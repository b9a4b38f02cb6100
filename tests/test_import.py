"""What `import sam_hq` does: it registers at once where it can, and loads the rest when it is asked for."""

import subprocess
import sys
import textwrap

import pytest

from source_imports import SOURCE

CHECK = """
    from transformers import AutoModel
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from transformers.pipelines import PIPELINE_REGISTRY
    from sam_hq.configuration_sam_hq import SamHQConfig
    assert CONFIG_MAPPING["sam_hq"] is SamHQConfig
    assert PIPELINE_REGISTRY.supported_tasks["mask-generation"]["impl"].__module__ == "sam_hq.registration"
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


@pytest.mark.parametrize(
    "first",
    ["import sam_hq, transformers", "import transformers, sam_hq", "from sam_hq.modeling_sam_hq import SamHQModel"],
)
def test_registered_whichever_comes_first(first):
    assert run_python(first + textwrap.dedent(CHECK)) == ""


def test_unknown_names_are_no_attributes():
    import sam_hq

    with pytest.raises(AttributeError, match="has no attribute 'SamHQModell'"):
        sam_hq.SamHQModell  # noqa: B018
    for name in sam_hq.__all__:
        assert getattr(sam_hq, name) is not None


def test_names_that_are_not_loaded_yet_are_listed():
    code = "import sam_hq; assert 'SamHQMaskGenerator' not in vars(sam_hq); print('SamHQMaskGenerator' in dir(sam_hq))"
    assert run_python(code).strip() == "True"


@pytest.mark.parametrize("missing", ["torch", "transformers"])
def test_the_runner_keeps_its_former_name_where_torch_or_transformers_is_missing(missing):
    code = f"""
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name == {missing!r}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
import warnings
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    from sam_hq.onnx_runtime import OnnxSamHQ
assert [entry.category for entry in seen] == [FutureWarning], seen
import sam_hq_onnx
assert OnnxSamHQ is sam_hq_onnx.OnnxSamHQ
assert not {{"torch", "transformers"}} & set(sys.modules)
"""
    assert run_python(code) == ""
