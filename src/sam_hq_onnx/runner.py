"""The exported model as an object: images and prompts to masks at photo size."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from sam_hq_numpy.frame_sizes import check_same_shape
from sam_hq_numpy.mask_candidates import MaskCandidates
from sam_hq_numpy.mask_generation_options import MaskGenerationOptions, check_generation_options
from sam_hq_numpy.number_limits import check_flag
from sam_hq_numpy.value_ranges import InputRange

from .embeddings import OnnxEmbeddings
from .encoder_inputs import encoder_input, image_rgb
from .generation import check_supported, generated_masks
from .masks import PhotoFrame, PhotoMasks
from .metadata import GraphMetadata
from .prompts import PROMPT_INPUTS, decoder_prompts
from .sessions import Provider, loaded_graphs

# Pixels of low-resolution masks decoded together: eight objects at full size, whose features are 64 floats a pixel.
MASK_PIXELS_AT_ONCE = 2**19


class OnnxSamHQ:
    """SAM-HQ as `sam-hq export` wrote it.

    Args:
        directory: With `encoder.onnx` and `decoder.onnx`.
        providers: onnxruntime's execution providers in the order of preference, "cpu" or "cuda", each alone or with its
            options as (name, options). All that are named must be there. None takes CUDA where this onnxruntime has it,
            else the CPU; where it has CUDA but cannot make it, it takes the CPU and warns.
        threads: Threads of the CPU's operators; None leaves it to onnxruntime.

    Raises:
        ImportError: If onnxruntime is not installed.
        TypeError: If an argument is of the wrong type.
        ValueError: If the directory holds no graphs of ours, damaged ones or two that do not belong together, or if a
            provider is not in this onnxruntime or could not be made.
    """

    def __init__(
        self,
        directory: str | Path,
        providers: str | Sequence[Provider] | None = None,
        threads: int | None = None,
    ):
        if not isinstance(directory, str | PathLike):
            raise TypeError(f"directory must be a path, got {directory!r}")
        self.encoder, self.decoder, self.metadata = loaded_graphs(Path(directory), providers, threads)

    @classmethod
    def from_sessions(cls, encoder: Any, decoder: Any, metadata: GraphMetadata) -> "OnnxSamHQ":
        """Make a runner of graphs that are loaded already.

        Args:
            encoder: Anything with onnxruntime's `run(output_names, inputs)`.
            decoder: Likewise.
            metadata: Of both.
        """
        runner = cls.__new__(cls)
        runner.encoder, runner.decoder, runner.metadata = encoder, decoder, metadata
        return runner

    @property
    def providers(self) -> list[str]:
        """The execution providers that are in use, in order of preference; none where onnxruntime runs nothing.

        That is so for graphs that `from_sessions` got from elsewhere, such as programs of torch.export.
        """
        return self.encoder.get_providers() if hasattr(self.encoder, "get_providers") else []

    def embed(
        self,
        images: object,
        max_pixels: int | None = None,
        input_range: InputRange = None,
        timeout: float | None = None,
    ) -> OnnxEmbeddings:
        """Encode images once, to prompt them many times.

        Args:
            images: One image or a list of them: paths, URLs, PIL images, bytes or arrays; see
                `encoder_inputs.image_rgb`.
            max_pixels: Larger images are refused before they are decoded; None: Pillow's own limit.
            input_range: Values of images of more than 8 bits that become black and white, as (low, high), or "auto"
                for the lowest and the highest of each; None: the whole range of the type.
            timeout: Seconds to wait for an image given as URL; None waits as long as it takes.

        Returns:
            What `segment` and `decode` take.

        Raises:
            TypeError: If something is no image, or `max_pixels` no whole number.
            ValueError: If there is no image, or one cannot be read.
        """
        listed = list(images) if isinstance(images, list | tuple) else [images]
        if not listed:
            raise ValueError("images is empty, at least one image is needed")
        pixel_values, original, reshaped = encoder_input(
            [image_rgb(image, max_pixels, input_range, timeout) for image in listed], self.metadata
        )
        image_embeddings, hq_features = self.encoder.run(
            ["image_embeddings", "hq_features"], {"pixel_values": pixel_values}
        )
        _check_answer("encoder", image_embeddings, hq_features)
        return OnnxEmbeddings(image_embeddings, hq_features, original, reshaped, self.metadata.model)

    def decode(
        self,
        embeddings: OnnxEmbeddings,
        prompts: Mapping[str, np.ndarray],
        multimask_output: bool = True,
        hq_token_only: bool = False,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Run the decoder, on a part of the objects at a time, so that memory does not grow with their number.

        Args:
            embeddings: From `embed`.
            prompts: The decoder's inputs from `input_points` to `has_mask`, in the resized frame.
            multimask_output: Whether the three candidates are returned, or the mask for clear prompts.
            hq_token_only: Whether masks are the HQ token's alone.

        Returns:
            `pred_masks` (B, P, M, s, s) and `iou_scores` (B, P, M), float32.

        Raises:
            TypeError: If a flag is neither True nor False, or the embeddings are none.
            ValueError: If the embeddings are of another model, or an input is missing among the prompts, or of another
                number of images or objects.
        """
        check_flag("multimask_output", multimask_output)
        check_flag("hq_token_only", hq_token_only)
        self._check_embeddings(embeddings)
        missing = [name for name in PROMPT_INPUTS if name not in prompts]
        if missing:
            raise ValueError(f"prompts must hold {', '.join(PROMPT_INPUTS)}, but have no {', '.join(missing)}")
        images, (_, count) = len(embeddings.original_sizes), np.shape(prompts["has_box"])
        for name in PROMPT_INPUTS:
            if (shape := np.shape(prompts[name]))[:2] != (images, count):
                raise ValueError(
                    f"{name} must be of {images} images and {count} objects as has_box is, got shape {shape}"
                )
        common = {
            "image_embeddings": embeddings.image_embeddings,
            "hq_features": embeddings.hq_features,
            "multimask_output": np.array(multimask_output),
            "hq_token_only": np.array(hq_token_only),
        }
        if hq_token_only and not self.metadata.hq_token_trained_alone:
            warnings.warn(
                "hq_token_only=True, but this model's HQ token was trained only as a correction of SAM's masks; "
                "alone its masks are useless: leave the option out",
                stacklevel=2,
            )
        if count == 0:
            shape = (images, 0, 3 if multimask_output and not hq_token_only else 1)
            side = self.metadata.mask_size
            return np.zeros((*shape, side, side), dtype=np.float32), np.zeros(shape, dtype=np.float32)
        at_once = max(1, MASK_PIXELS_AT_ONCE // (images * self.metadata.mask_size**2))
        parts = [
            self.decoder.run(
                ["pred_masks", "iou_scores"],
                {**common, **{name: values[:, start : start + at_once] for name, values in prompts.items()}},
            )
            for start in range(0, count, at_once)
        ]
        for part in parts:
            _check_answer("decoder", *part)
        if len(parts) == 1:
            return parts[0][0], parts[0][1]
        masks, scores = zip(*parts, strict=True)
        return np.concatenate(masks, axis=1), np.concatenate(scores, axis=1)

    def segment(
        self,
        images: object,
        input_points: Any = None,
        input_labels: Any = None,
        input_boxes: Any = None,
        input_masks: Any = None,
        multimask_output: bool = True,
        hq_token_only: bool = False,
        max_pixels: int | None = None,
        input_range: InputRange = None,
        timeout: float | None = None,
    ) -> list[PhotoMasks]:
        """Segment what prompts show. Coordinates are x, y in pixels of the upright photo.

        Images may differ in their number of objects and objects in their number of points. Without any prompt there is
        one object per image, of the model's own choice.

        Args:
            images: One image or a list of them, see `embed`; or the embeddings that it returned.
            input_points: [image][object][point][x, y], or [image][point][x, y] for one object per image.
            input_labels: 1 foreground, 0 background, nested as the points; all foreground where they are left out.
            input_boxes: [image][object][x0, y0, x1, y1].
            input_masks: [image][object] of mask logits (s, s).
            multimask_output: Whether three candidates are returned for each object, best first, or one mask.
            hq_token_only: Whether the mask is the HQ token's alone.
            max_pixels: As in `embed`.
            input_range: As in `embed`.
            timeout: As in `embed`.

        Returns:
            The masks of each image.

        Raises:
            TypeError: If something is no image or no prompt, or a flag neither True nor False.
            ValueError: If an image cannot be read, embeddings are of another model, or prompts are misshapen, not
                finite or contradict each other.
        """
        check_flag("multimask_output", multimask_output)
        check_flag("hq_token_only", hq_token_only)
        embeddings = images
        if not isinstance(embeddings, OnnxEmbeddings):
            embeddings = self.embed(images, max_pixels, input_range, timeout)
        self._check_embeddings(embeddings)
        prompts, valid = decoder_prompts(
            embeddings.original_sizes,
            embeddings.reshaped_sizes,
            self.metadata.mask_size,
            input_points,
            input_labels,
            input_boxes,
            input_masks,
        )
        pred_masks, iou_scores = self.decode(embeddings, prompts, multimask_output, hq_token_only)
        threshold = self.metadata.mask_threshold
        return [
            PhotoMasks(self.frame(original, reshaped).masks(logits[kept], threshold), scores[kept], logits[kept])
            for logits, scores, kept, original, reshaped in zip(
                pred_masks, iou_scores, valid, embeddings.original_sizes, embeddings.reshaped_sizes, strict=True
            )
        ]

    def generate(
        self, image: object, options: MaskGenerationOptions | None = None, **more_options: Any
    ) -> dict | list[dict]:
        """Find the masks of everything in an image, as `SamHQMaskGenerator.generate` does.

        Args:
            image: One image, as in `embed`.
            options: All options; those in `more_options` go before them. None: those that suit the model.
            **more_options: See `sam_hq_numpy.mask_generation_options.MaskGenerationOptions`; `tile_size` is refused,
                `progress_bar` shows nothing.

        Returns:
            With `output_mode` None a dictionary of `masks`, `scores` (N,) and, on request, `rle_mask` and
            `bounding_boxes`; otherwise a list of records.

        Raises:
            TypeError: If `options` are none, an option does not exist or is of the wrong type, or the image is none.
            ValueError: If an option has an impossible value or is not supported, or the image cannot be read.
        """
        if options is not None:
            check_generation_options(options)
        chosen = (options or self._suited_options()).updated(more_options)
        return self.candidates(image, chosen).result(chosen)

    def iterate(self, image: object, **options: Any) -> Iterator[dict]:
        """Find the masks of everything in an image and give the records one by one.

        Args:
            image: As in `generate`.
            **options: As in `generate`; `output_mode` is "binary_mask" unless given.

        Raises:
            TypeError: As `generate`, when the first record is asked for.
            ValueError: Likewise.
        """
        chosen = self._suited_options().updated(options)
        yield from self.candidates(image, chosen).records(chosen.output_mode or "binary_mask")

    def _suited_options(self) -> MaskGenerationOptions:
        return MaskGenerationOptions().updated(self.metadata.mask_generation)

    def candidates(self, image: object, options: MaskGenerationOptions) -> MaskCandidates:
        """As `generate`, with the masks still run-length encoded.

        Args:
            image: As in `generate`.
            options: All options.

        Returns:
            N masks in the frame of the photo, with boxes, scores and the points that showed them.

        Raises:
            TypeError: If `options` are none, or the image is none.
            ValueError: If an option is not supported, or the image cannot be read.
        """
        check_generation_options(options)
        check_supported(options)
        photo = image_rgb(image, options.max_pixels, options.input_range, options.timeout)
        return generated_masks(self, photo, options)

    def frame(self, original_size: tuple[int, int], reshaped_size: tuple[int, int]) -> PhotoFrame:
        """How low-resolution masks are upscaled to an image of this size.

        Args:
            original_size: Its height and width.
            reshaped_size: Its height and width in the resized frame.

        Raises:
            ValueError: If a size is not two whole numbers from 1, or that in the resized frame larger than the frame.
        """
        frame = PhotoFrame(original_size, reshaped_size, self.metadata.image_size, self.metadata.mask_size)
        squashed = [] if "longest_edge" in self.metadata.size else [reshaped_size]
        check_same_shape([original_size], [reshaped_size], squashed)
        return frame

    def _check_embeddings(self, embeddings: OnnxEmbeddings) -> None:
        if not isinstance(embeddings, OnnxEmbeddings):
            raise TypeError(f"embeddings must be what embed returns, got {type(embeddings).__name__}")
        if embeddings.model != self.metadata.model:
            raise ValueError(
                f"the embeddings are of the model {embeddings.model!r}, the decoder is of {self.metadata.model!r}; "
                "prompt them with the runner that made them"
            )


def _check_answer(graph: str, *answers: np.ndarray) -> None:
    if not all(np.isfinite(answer.sum(dtype=np.float64)) for answer in answers):
        raise ValueError(f"the {graph}'s answer is not finite: its weights are damaged, or its input is")
