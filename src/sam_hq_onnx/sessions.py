"""Exported files to onnxruntime's sessions, on the execution providers that were asked for."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sam_hq_numpy.number_limits import check_whole

from .directory_metadata import directory_metadata
from .metadata import DECODER_FILE, ENCODER_FILE, GraphMetadata, missing_graph, other_layout
from .prompts import PROMPT_INPUTS
from .stored_weights import check_finite_weights, check_weights_beside

Provider = str | tuple[str, Mapping[str, Any]]
_ENCODER_NAMES = (["pixel_values"], ["image_embeddings", "hq_features"])
_DECODER_NAMES = (
    ["image_embeddings", "hq_features", *PROMPT_INPUTS, "multimask_output", "hq_token_only"],
    ["pred_masks", "iou_scores"],
)
# Of the graphs that labelling tools run, ours and those of `segment_anything_hq` itself.
_SAM_LAYOUT_INPUTS = {"input_image", "point_coords"}
_SHORT_NAMES = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


def loaded_graphs(
    directory: Path, providers: str | Sequence[Provider] | None, threads: int | None
) -> tuple[Any, Any, GraphMetadata]:
    """Load both graphs of a directory, and hold what they say of themselves against each other and what they are.

    Args:
        directory: See `OnnxSamHQ`.
        providers: See `OnnxSamHQ`.
        threads: See `OnnxSamHQ`.

    Returns:
        The encoder's session, the decoder's, and the metadata of both.

    Raises:
        ImportError: If onnxruntime is not installed.
        TypeError: If `providers` or `threads` are none.
        ValueError: As `OnnxSamHQ` says.
    """
    check_whole("threads", threads, at_least=1, optional=True)
    chosen = _chosen_providers(providers)
    encoder, of_encoder = _graph(directory / ENCODER_FILE, chosen, threads)
    decoder, of_decoder = _graph(directory / DECODER_FILE, chosen, threads)
    metadata = directory_metadata(directory, of_encoder, of_decoder)
    _check_made((encoder, decoder), [name for name, _ in chosen], insisted=providers is not None)
    return encoder, decoder, metadata


def _graph(path: Path, providers: Sequence[tuple[str, dict]], threads: int | None) -> tuple[Any, dict[str, str]]:
    """A graph's session, and its metadata as they are in the file."""
    session = _session(path, providers, threads)
    strings = session.get_modelmeta().custom_metadata_map
    if not _SAM_LAYOUT_INPUTS.isdisjoint(value.name for value in session.get_inputs()):
        raise ValueError(other_layout(repr(str(path))))
    metadata = GraphMetadata.from_strings(strings, repr(str(path)), path.stem)
    is_encoder = path.name == ENCODER_FILE
    _check_names(session, path, *(_ENCODER_NAMES if is_encoder else _DECODER_NAMES))
    _check_input(session, path, "pixel_values" if is_encoder else "input_masks", metadata)
    check_weights_beside(path, strings)
    check_finite_weights(path)
    return session, strings


def _check_names(session: Any, path: Path, inputs: Iterable[str], outputs: Iterable[str]) -> None:
    """Refuse a graph that lacks an input or an output that is going to be asked for."""
    for kind, wanted, given in (("input", inputs, session.get_inputs()), ("output", outputs, session.get_outputs())):
        missing = set(wanted) - {value.name for value in given}
        if missing:
            raise ValueError(f"{str(path)!r} is damaged: it has no {kind} {', '.join(sorted(missing))}")


def _check_input(session: Any, path: Path, name: str, metadata: GraphMetadata) -> None:
    """Refuse metadata whose frame is not the one that the graph takes."""
    key = "image_size" if name == "pixel_values" else "mask_size"
    side = getattr(metadata, key)
    shape = next((value.shape for value in session.get_inputs() if value.name == name), None)
    if shape is None or list(shape[-2:]) != [side, side]:
        raise ValueError(
            f"the metadata of {str(path)!r} are damaged: {key} must be the side of the graph's input {name}, which "
            f"is {'missing' if shape is None else f'of shape {shape}'}, got {side}"
        )


def _chosen_providers(providers: str | Sequence[Provider] | None) -> list[tuple[str, dict]]:
    """Full names with their options, all of them built into this onnxruntime."""
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError("the runner needs onnxruntime: pip install onnxruntime, or 'sam-hq[onnx]'") from error

    there = onnxruntime.get_available_providers()
    if providers is None:
        return [(name, {}) for name in (_SHORT_NAMES["cuda"], _SHORT_NAMES["cpu"]) if name in there]
    if not isinstance(providers, str | list | tuple):
        raise TypeError(f"providers must be None, a name or a list of names, got {providers!r}")
    chosen = [_named(entry, i) for i, entry in enumerate([providers] if isinstance(providers, str) else providers)]
    if not chosen:
        raise ValueError("providers is empty, it must name at least one; None leaves the choice to the runner")
    for name, _ in chosen:
        if name not in there:
            raise ValueError(
                f"provider {name!r} is not in this onnxruntime, which has {', '.join(there)}; short names are "
                f"{' and '.join(_SHORT_NAMES)}"
            )
    return chosen


def _named(entry: object, index: int) -> tuple[str, dict]:
    if isinstance(entry, str):
        return _SHORT_NAMES.get(entry, entry), {}
    if isinstance(entry, tuple) and len(entry) == 2 and isinstance(entry[0], str) and isinstance(entry[1], Mapping):
        return _SHORT_NAMES.get(entry[0], entry[0]), dict(entry[1])
    raise TypeError(f"providers[{index}] must be a name or a pair of a name and its options, got {entry!r}")


def _session(path: Path, providers: Sequence[tuple[str, dict]], threads: int | None) -> Any:
    import onnxruntime

    if not path.is_file():
        raise ValueError(missing_graph(path))
    options = onnxruntime.SessionOptions()
    if threads is not None:
        options.intra_op_num_threads = int(threads)
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=list(providers))
    except Exception as error:  # onnxruntime's errors have no common base
        raise ValueError(f"cannot load {str(path)!r}: {error}") from error


def _check_made(sessions: Iterable[Any], wanted: Sequence[str], insisted: bool) -> None:
    """See to it that no session silently fell back to another provider, as onnxruntime lets them."""
    made = set.intersection(*(set(session.get_providers()) for session in sessions))
    missing = [name for name in wanted if name not in made]
    if not missing:
        return
    message = f"{missing[0]} is in this onnxruntime but could not be made; are its libraries and a device there?"
    if insisted:
        raise ValueError(f"{message} providers='cpu' takes the CPU")
    warnings.warn(f"{message} The CPU is taken; providers='cpu' says so and keeps this quiet.", stacklevel=4)
