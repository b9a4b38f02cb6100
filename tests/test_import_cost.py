"""What `import sam_hq` adds to a program that uses transformers, counted in modules: seconds depend on the machine."""

import json
import subprocess
import sys

CODE = """
import json, sys
from transformers import AutoModel, AutoProcessor, pipeline
import transformers.modeling_layers  # every model of transformers loads it
before = set(sys.modules)
import sam_hq
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def test_importing_beside_the_auto_classes_loads_next_to_nothing():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    added = json.loads(done.stdout.splitlines()[-1])
    ours = [name for name in added if name.split(".")[0] in ("sam_hq", "sam_hq_numpy")]
    others = [name for name in added if name not in ours]
    assert "sam_hq.registration" in ours  # the Auto classes know ours
    # 57 and 2 when this was written: model, processor, registration, but not the pipeline, training or conversion.
    assert len(ours) <= 60, ours
    assert len(others) <= 10, others
    assert not {"sam_hq.generation.pipeline", "sam_hq.hub.conversion", "sam_hq.plotting"} & set(ours)
