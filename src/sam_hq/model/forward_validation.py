"""What the model's forward checks besides the prompts, before any heavy work."""

import warnings

import torch

from sam_hq_numpy.number_limits import check_flag, shown

from ..configuration_sam_hq import AnyVisionConfig, SamHQConfig
from .losses import IGNORED_LABEL
from .prompt_validation import check_real_tensor, check_within

# Normalised pixels are within 3 of 0, those of 0 to 255 that were not rescaled within 1200.
_LARGEST_PIXEL = 1e4


def values_are_readable() -> bool:
    """Whether code may branch on numbers: not while a graph is compiled or exported, nor below `torch.func.vmap`."""
    if torch.compiler.is_compiling():
        return False
    transforms = torch._C._functorch.get_interpreter_stack() or ()
    return all(each.key() != torch._C._functorch.TransformType.Vmap for each in transforms)


def check_pixel_values(pixel_values: torch.Tensor, config: AnyVisionConfig) -> None:
    """Check images.

    Args:
        pixel_values: Normalised, padded images (B, 3, S, S).
        config: The encoder's configuration.

    Raises:
        TypeError: If they are no floating point tensor.
        ValueError: If they have another shape than the encoder takes, or there is none.
    """
    if not isinstance(pixel_values, torch.Tensor):
        raise TypeError(f"pixel_values must be a tensor, got {type(pixel_values).__name__}")
    wanted = (config.num_channels, config.image_size, config.image_size)
    if pixel_values.ndim != 4 or tuple(pixel_values.shape[1:]) != wanted or pixel_values.shape[0] == 0:
        raise ValueError(
            f"pixel_values must have shape (images, {wanted[0]}, {wanted[1]}, {wanted[2]}) with at least one image, as "
            f"the processor pads them, got {tuple(pixel_values.shape)}"
        )
    if not pixel_values.is_floating_point():
        raise TypeError(f"pixel_values must be normalised floating point numbers, got {pixel_values.dtype}")
    if pixel_values.layout != torch.strided:
        raise TypeError(f"pixel_values must be a plain tensor, got a {pixel_values.layout} one")
    if values_are_readable() and not pixel_values.is_meta:
        check_within("pixel_values", pixel_values, _LARGEST_PIXEL)


def check_image_inputs(
    config: SamHQConfig,
    pixel_values: torch.Tensor | None,
    image_embeddings: torch.Tensor | None,
    intermediate_embeddings: list[torch.Tensor] | None,
    hq_features: torch.Tensor | None,
) -> torch.Tensor:
    """Check that there are either images or cached embeddings, and these.

    Args:
        config: The model's configuration.
        pixel_values: (B, 3, S, S), or None.
        image_embeddings: See `check_embeddings`; None with `pixel_values`.
        intermediate_embeddings: Likewise.
        hq_features: Likewise.

    Returns:
        The one of the first two that is given.

    Raises:
        TypeError: If they are not tensors.
        ValueError: If both or neither are given, or they are not what this model takes.
    """
    if pixel_values is None and image_embeddings is not None:
        check_embeddings(config, image_embeddings, intermediate_embeddings, hq_features)
        return image_embeddings
    if pixel_values is None or image_embeddings is not None:
        given = "neither" if pixel_values is None else "both"
        raise ValueError(f"give either pixel_values or image_embeddings, but got {given}")
    if intermediate_embeddings is not None or hq_features is not None:
        raise ValueError("intermediate_embeddings and hq_features go with image_embeddings, not with pixel_values")
    check_pixel_values(pixel_values, config.vision_config)
    return pixel_values


def check_embeddings(
    config: SamHQConfig,
    image_embeddings: torch.Tensor,
    intermediate_embeddings: list[torch.Tensor] | None,
    hq_features: torch.Tensor | None = None,
) -> None:
    """Check cached embeddings, against each other and against the model.

    Args:
        config: The model's configuration.
        image_embeddings: (B, C, h, w).
        intermediate_embeddings: List of (B, h, w, C'), or None where `hq_features` are given.
        hq_features: (B, C / 8, 4h, 4w), or None.

    Raises:
        TypeError: If they are not tensors.
        ValueError: If a part is missing, is of another batch, or is not what this model makes.
    """
    if image_embeddings is None:
        raise ValueError("image_embeddings is missing: intermediate_embeddings and hq_features only go along with it")
    if intermediate_embeddings is None and hq_features is None:
        raise ValueError(
            "intermediate_embeddings is missing: image_embeddings alone would drop the high-quality branch; "
            "get_image_embeddings returns both, pass both back"
        )
    grid, width = config.vision_config.image_embedding_size, config.vision_config.output_channels
    parts = [("image_embeddings", image_embeddings, (width, grid, grid))]
    if intermediate_embeddings is not None:
        if not isinstance(intermediate_embeddings, list | tuple) or not intermediate_embeddings:
            got = intermediate_embeddings
            described = f"a tensor of shape {tuple(got.shape)}" if isinstance(got, torch.Tensor) else shown(got, 80)
            raise TypeError(f"intermediate_embeddings must be a list with at least one tensor, got {described}")
        wanted = (grid, grid, config.vision_config.intermediate_size)
        parts.append(("intermediate_embeddings[0]", intermediate_embeddings[0], wanted))
    if hq_features is not None:
        parts.append(("hq_features", hq_features, (width // 8, 4 * grid, 4 * grid)))
    for name, part, wanted in parts:
        check_real_tensor(name, part)
        if not part.is_floating_point():
            raise TypeError(f"{name} must hold floating point numbers, got {part.dtype}")
        if tuple(part.shape[1:]) != wanted:
            raise ValueError(f"{name} must have shape (images, {str(wanted)[1:]}, got {tuple(part.shape)}")
        if part.shape[0] != image_embeddings.shape[0]:
            raise ValueError(
                f"{name} is of a batch of {part.shape[0]}, image_embeddings of a batch of {image_embeddings.shape[0]}"
            )
        # The sum is the quickest that is not finite where one number is not.
        if values_are_readable() and not torch.isfinite(part.detach().sum(dtype=torch.float32)):
            raise ValueError(f"{name} must be finite, got NaN or infinity")


def check_flags(**flags: object) -> None:
    """Refuse flags that are neither True nor False, such as "no", which would count as True.

    Args:
        **flags: What came, by the argument's name.

    Raises:
        TypeError: If one is something else.
    """
    if not torch.compiler.is_compiling():
        for name, value in flags.items():
            check_flag(name, value)


def check_mask_labels(labels: torch.Tensor, batch_size: int, count: int, check_values: bool = True) -> None:
    """Check the labels of a loss.

    Args:
        labels: Binary masks (B, P, H, W), -100 where nothing is known.
        batch_size: Number of images.
        count: Number of objects per image.
        check_values: Whether the numbers are looked at too.

    Raises:
        TypeError: If they are no tensor of real numbers.
        ValueError: If they are for other images or objects, or hold another value.
    """
    if not isinstance(labels, torch.Tensor):
        raise TypeError(f"labels must be a tensor, got {type(labels).__name__}")
    if labels.is_complex():
        raise TypeError(f"labels must hold real numbers, got {labels.dtype}")
    if labels.ndim != 4 or tuple(labels.shape[:2]) != (batch_size, count) or 0 in labels.shape:
        raise ValueError(
            f"labels must have shape (images, objects, height, width) = ({batch_size}, {count}, H, W), got "
            f"{tuple(labels.shape)}"
        )
    if check_values:
        unknown = (labels != 0) & (labels != 1) & (labels != IGNORED_LABEL)
        if unknown.any():
            raise ValueError(
                f"labels may hold 1 (object), 0 (background) and {IGNORED_LABEL} (not known), got "
                f"{labels[unknown][0].item():g}"
            )


def are_for_no_object(*prompts: torch.Tensor | None) -> bool:
    """Whether prompts were given, and all of them are (images, 0, ...): there are no masks then."""
    given = [prompt for prompt in prompts if prompt is not None]
    return len(given) > 0 and all(
        isinstance(prompt, torch.Tensor) and prompt.ndim > 1 and prompt.shape[1] == 0 for prompt in given
    )


def with_one_object(prompt: torch.Tensor | None) -> torch.Tensor | None:
    """(images, 0, ...) as zeros (images, 1, ...): one object whose mask is thrown away."""
    return None if prompt is None else prompt.new_zeros((prompt.shape[0], 1, *prompt.shape[2:]))


def warn_of_untrained_hq_token(config: SamHQConfig, hq_token_only: bool, stacklevel: int = 3) -> None:
    """Warn where the HQ token's masks are asked for alone, but were trained to be added to SAM's.

    Args:
        config: The model's configuration.
        hq_token_only: Whether they are asked for.
        stacklevel: Of the caller whose line the warning names, as `warnings.warn` counts.
    """
    if hq_token_only and not config.hq_token_trained_alone and not torch.compiler.is_compiling():
        warnings.warn(
            "hq_token_only=True, but this model's HQ token was trained only as a correction of SAM's masks "
            "(hq_token_trained_alone is False in its configuration); alone its masks are useless: leave the option out",
            stacklevel=stacklevel,
        )


def checked_persam_inputs(
    config: SamHQConfig,
    tokens: tuple[int, int, int],
    dtype: torch.dtype,
    attention_similarity: torch.Tensor | None,
    target_embedding: torch.Tensor | None,
) -> dict[str, torch.Tensor | None]:
    """Check what is added inside the decoder.

    Args:
        config: The model's configuration.
        tokens: Numbers of images, objects and tokens, the decoder's own among them.
        dtype: The decoder's.
        attention_similarity: Broadcasts to (B*P, heads, n, h*w), or None.
        target_embedding: Broadcasts to (B, P, n, C), or None.

    Returns:
        Both, with as many dimensions as what they are added to; empty where there is neither.

    Raises:
        TypeError: If one is no floating point tensor.
        ValueError: If one does not broadcast, or is not finite; scores of minus infinity may be.
    """
    if attention_similarity is None and target_embedding is None:
        return {}
    images, count, length = tokens
    decoder, pixels = config.mask_decoder_config, config.vision_config.image_embedding_size**2
    scores, targets = (images * count, decoder.num_attention_heads, length, pixels), (*tokens, decoder.hidden_size)
    return {
        "attention_similarity": _broadcast("attention_similarity", attention_similarity, scores, dtype),
        "target_embedding": _broadcast("target_embedding", target_embedding, targets, dtype),
    }


def _broadcast(
    name: str, persam_input: torch.Tensor | None, shape: tuple[int, ...], dtype: torch.dtype
) -> torch.Tensor | None:
    """The same numbers in that dtype, with as many dimensions as `shape`, the leading ones of 1."""
    if persam_input is None:
        return None
    if not isinstance(persam_input, torch.Tensor) or not persam_input.is_floating_point():
        got = persam_input.dtype if isinstance(persam_input, torch.Tensor) else type(persam_input).__name__
        raise TypeError(f"{name} must be a tensor of floating point numbers, got {got}")
    sides = list(zip(reversed(persam_input.shape), reversed(shape), strict=False))
    if persam_input.ndim > len(shape) or any(given not in (1, wanted) for given, wanted in sides):
        raise ValueError(f"{name} must broadcast to {shape}, got shape {tuple(persam_input.shape)}")
    narrow = persam_input.reshape((1,) * (len(shape) - persam_input.ndim) + tuple(persam_input.shape)).to(dtype)
    # A score of minus infinity closes a pixel to a token; of all others, NaN masks would come.
    if values_are_readable() and not (narrow.isfinite() if name == "target_embedding" else narrow < torch.inf).all():
        raise ValueError(f"{name} must be finite in {dtype}, got NaN, infinity or numbers too large")
    return narrow
