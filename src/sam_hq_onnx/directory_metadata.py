"""What an exported directory says about itself: its two graphs, and the file beside them that must say the same."""

from collections.abc import Mapping
from pathlib import Path

from sam_hq_numpy.json_files import read_json_object

from .metadata import DECODER_FILE, ENCODER_FILE, METADATA_FILE, GraphMetadata
from .metadata_fields import FIELDS, read_field

# Not settings: the file has no graph of its own, and is as good as new beside graphs that another version wrote.
_MAY_DIFFER = ("graph", "version")


def directory_metadata(
    directory: Path,
    encoder: Mapping[str, str],
    decoder: Mapping[str, str],
    files: tuple[str, str] = (ENCODER_FILE, DECODER_FILE),
) -> GraphMetadata:
    """Read what both graphs say, which is what counts, and hold the file of metadata against it, if there is one.

    Args:
        directory: Where they are.
        encoder: Keys and values inside the encoder.
        decoder: Those inside the decoder.
        files: Names of both in the directory, for messages.

    Raises:
        ValueError: If something is missing, impossible or of another format; if the graphs are of different models or
            say different things; or if the file says something that no graph says.
    """
    graphs = dict(zip(files, (encoder, decoder), strict=True))
    metadata, of_decoder = (
        GraphMetadata.from_strings(strings, repr(str(directory / file)), graph)
        for (file, strings), graph in zip(graphs.items(), ("encoder", "decoder"), strict=True)
    )
    metadata.check_same_model(of_decoder, repr(str(directory)))
    if (path := directory / METADATA_FILE).is_file():
        _check_file(path, graphs)
    return metadata


def _check_file(path: Path, graphs: Mapping[str, Mapping[str, str]]) -> None:
    """Refuse a file whose settings are those of no graph; in an encoder of 8 bits `dtype` may be another."""
    strings = read_json_object(path)
    GraphMetadata.from_strings(strings, repr(str(path)))
    for key in sorted({*strings, *FIELDS} - {*_MAY_DIFFER}):
        said = _setting(strings, key, str(path))
        of_graphs = {file: _setting(values, key, file) for file, values in graphs.items()}
        if said not in of_graphs.values():
            written = " and ".join(f"{value!r} in {file}" for file, value in of_graphs.items())
            raise ValueError(
                f"{str(path)!r} contradicts the graphs beside it: {key} is {said!r} there, but {written}; only what is "
                "in the graphs counts: export the model again with other settings, or delete the file"
            )


def _setting(strings: Mapping[str, str], key: str, source: str) -> object:
    """What is meant by a key: two ways to write a number are one setting."""
    return read_field(strings, key, source) if key in FIELDS else strings.get(key)
