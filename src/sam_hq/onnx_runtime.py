"""The former name of `sam_hq_onnx`, kept for one release."""

import warnings

from sam_hq_onnx import GraphMetadata, OnnxEmbeddings, OnnxSamHQ, PhotoMasks

warnings.warn(
    "sam_hq.onnx_runtime is now sam_hq_onnx; the old name will be removed in the next release", FutureWarning, 2
)

__all__ = ["GraphMetadata", "OnnxEmbeddings", "OnnxSamHQ", "PhotoMasks"]
