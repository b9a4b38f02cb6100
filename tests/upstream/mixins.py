"""transformers' common test mixins, from the sdist of the installed version, which `make upstream` unpacks."""

import importlib
import sys
from importlib.metadata import version
from types import ModuleType

from conftest import REPOSITORY

TESTS = REPOSITORY / "build" / "upstream" / f"transformers-{version('transformers')}" / "tests"
PACKAGE = "transformers_common_tests"


def _stand_in(name: str, **content: object) -> None:
    sys.modules[name] = module = ModuleType(name)
    vars(module).update(content)


if not TESTS.is_dir():
    raise FileNotFoundError(f"{TESTS} is missing: run `make upstream`")
_stand_in(PACKAGE, __path__=[str(TESTS)])
# Not in the sdist, and not about models like ours: exports of language models, text generation, fixtures on the Hub.
_stand_in(f"{PACKAGE}.exporters", __path__=[])
_stand_in(f"{PACKAGE}.exporters.test_export", ExportTesterMixin=type("ExportTesterMixin", (), {}))
_stand_in(f"{PACKAGE}.generation", __path__=[])
_stand_in(f"{PACKAGE}.generation.test_utils", GenerationTesterMixin=type("GenerationTesterMixin", (), {}))
_stand_in("fetch_hub_objects_for_ci", url_to_local_path=lambda url: url)

modeling = importlib.import_module(f"{PACKAGE}.test_modeling_common")
processing = importlib.import_module(f"{PACKAGE}.test_processing_common")
image_processing = importlib.import_module(f"{PACKAGE}.test_image_processing_common")
