"""SAM-HQ without torch: exported graphs, numpy, Pillow and onnxruntime.

    from sam_hq_onnx import OnnxSamHQ

    runner = OnnxSamHQ("exported")
    (found,) = runner.segment("photo.jpg", input_points=[[[[620, 340]]]])
    found.masks, found.scores

Importing this package imports neither torch nor transformers. `sam-hq export` writes what it runs.
"""

from .embeddings import OnnxEmbeddings
from .masks import PhotoMasks
from .metadata import GraphMetadata
from .runner import OnnxSamHQ

__all__ = ["GraphMetadata", "OnnxEmbeddings", "OnnxSamHQ", "PhotoMasks"]
