"""What `import sam_hq` does: it registers at once where it can, and loads the rest when it is asked for."""

import subprocess
import sys
import textwrap

import pytest

from import_processes import ImportProcesses
from source_imports import SOURCE

CHECK = """
    from transformers import AutoModel
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from transformers.pipelines import PIPELINE_REGISTRY
    from sam_hq.configuration_sam_hq import SamHQConfig
    assert CONFIG_MAPPING["sam_hq"] is SamHQConfig
    assert PIPELINE_REGISTRY.supported_tasks["mask-generation"]["impl"].__module__ == "sam_hq.registration"
"""


@pytest.fixture(scope="module")
def processes():
    running = ImportProcesses()
    yield running
    running.close()


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
def test_registered_whichever_comes_first(first, processes):
    assert processes.run(first + textwrap.dedent(CHECK)) == ""


def test_other_models_keep_their_classes(processes):
    """Every entry of transformers' tables but SAM-HQ's gives the class it gave before the import."""
    code = """
        from transformers.models.auto import configuration_auto, image_processing_auto, modeling_auto, processing_auto
        images = image_processing_auto.IMAGE_PROCESSOR_MAPPING_NAMES
        def tables():
            return {
                "config": dict(configuration_auto.CONFIG_MAPPING_NAMES),
                "model": dict(modeling_auto.MODEL_MAPPING_NAMES),
                "mask": dict(modeling_auto.MODEL_FOR_MASK_GENERATION_MAPPING_NAMES),
                "image": {key: dict(names) for key, names in images.items()},
                "processor": dict(processing_auto.PROCESSOR_MAPPING_NAMES),
            }
        before = tables()
        import sam_hq, transformers
        after = tables()
        del before["processor"]["sam_hq"]
        assert before == after
        assert transformers.SamHQModel.__module__.startswith("transformers.")
        assert transformers.pipelines.PIPELINE_REGISTRY.supported_tasks["mask-generation"]["default"]
    """
    processes.run(textwrap.dedent(code))


def test_replace_builtin_is_on_request_only_and_complete(processes):
    code = """
        import sam_hq, transformers
        names = [name for name in dir(transformers) if name.startswith("SamHQ")]
        assert "SamHQModel" in names
        for name in names:
            assert getattr(transformers, name).__module__.startswith("transformers."), name
        sam_hq.replace_builtin()
        for name in names:
            assert getattr(transformers, name).__module__.startswith("sam_hq."), name
        from transformers import SamHQModel, SamHQProcessor
        assert SamHQModel is sam_hq.SamHQModel and SamHQProcessor is sam_hq.SamHQProcessor
        from transformers.models.sam_hq import SamHQConfig
        from transformers.models.sam_hq.modeling_sam_hq import SamHQModel as by_module
        assert SamHQConfig is sam_hq.SamHQConfig and by_module is sam_hq.SamHQModel
        sam_hq.replace_builtin()
    """
    processes.run(textwrap.dedent(code))


def test_unknown_names_are_no_attributes():
    import sam_hq

    with pytest.raises(AttributeError, match="has no attribute 'SamHQModell'"):
        sam_hq.SamHQModell  # noqa: B018
    for name in sam_hq.__all__:
        assert getattr(sam_hq, name) is not None


def test_names_that_are_not_loaded_yet_are_listed(processes):
    code = "import sam_hq; assert 'SamHQMaskGenerator' not in vars(sam_hq); print('SamHQMaskGenerator' in dir(sam_hq))"
    assert processes.run(code).strip() == "True"


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
