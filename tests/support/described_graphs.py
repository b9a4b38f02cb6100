"""What stands where an exported model could: graphs that compute nothing, with the metadata of real ones."""

import json
from pathlib import Path

import onnx

from sam_hq_onnx import GraphMetadata

METADATA = GraphMetadata("0", "sam_hq_tiny_vit", "abc", "fp32", 128, 32, {"longest_edge": 128}, (0, 0, 0), (1, 1, 1))


def write_described_graph(path: Path, **changes: str) -> None:
    """Write one graph.

    Args:
        path: Its file; the name says which graph it is.
        **changes: Keys of the metadata that are to be others.
    """
    graph = onnx.helper.make_model(onnx.helper.make_graph([], path.stem, [], []))
    onnx.helper.set_model_props(graph, {**METADATA.to_strings(), "graph": path.stem, **changes})
    onnx.save(graph, path)


def write_described_export(directory: Path) -> None:
    """Write both graphs and the file of metadata into a new directory."""
    directory.mkdir()
    for name in ("encoder.onnx", "decoder.onnx"):
        write_described_graph(directory / name)
    (directory / "sam_hq.json").write_text(json.dumps(METADATA.to_strings()))
