"""The frames that images and masks are in; `low_res_masks_to_photo` brings the decoder's masks to photo size.

photo frame    (H, W): the picture as the user has it, upright.
resized frame  (new_h, new_w): its longest side scaled to the model's, aspect ratio kept; prompts are in its pixels.
padded frame   (S, S): the resized picture in the top left corner; the encoder sees it.
low-res frame  (s, s): the padded frame at the mask decoder's resolution, S / s = 4 at full size.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from sam_hq_numpy.prompt_labels import ROUGH_MASK_LOGIT

from ..model.losses import IGNORED_LABEL

# Floats at the padded and at the photo's resolution held at once while masks are upscaled to photo size: 256 MB.
MAX_FLOATS_AT_ONCE = 64 * 1024 * 1024


def photo_masks_to_labels(
    masks: torch.Tensor,
    reshaped_size: Sequence[int],
    frame_size: Sequence[int],
    label_size: Sequence[int],
) -> torch.Tensor:
    """Sample binary masks at the pixel centres of the padded model frame, nearest neighbour.

    Args:
        masks: (P, H, W) in the photo frame.
        reshaped_size: (new_h, new_w) of the resized frame.
        frame_size: (height, width) of the padded frame.
        label_size: (height, width) of the labels, the padded frame at any resolution.

    Returns:
        (P, *label_size) int64, -100 where a centre lies in the padding.
    """
    labels = masks.to(torch.int64)
    valid = []
    for axis, dim in ((0, 1), (1, 2)):
        centres = (torch.arange(label_size[axis], dtype=torch.float64) + 0.5) * frame_size[axis] / label_size[axis]
        photo_side = masks.shape[dim]
        nearest = (centres * photo_side / reshaped_size[axis]).long().clamp(max=photo_side - 1)
        labels = labels.index_select(dim, nearest.to(masks.device))
        valid.append((centres < reshaped_size[axis]).to(masks.device))
    return labels.masked_fill(~(valid[0][:, None] & valid[1][None, :]), IGNORED_LABEL)


def photo_masks_to_logits(
    masks: torch.Tensor,
    reshaped_size: Sequence[int],
    frame_size: Sequence[int],
    mask_size: Sequence[int],
) -> torch.Tensor:
    """Turn rough masks at photo size into mask prompts.

    The mask is resized with antialiasing to the resized frame, padded with background, averaged down to the low-res
    frame, and what it says there is taken as a probability whose logit is clipped at +-10.

    Args:
        masks: (P, H, W) probabilities in [0, 1], photo frame.
        reshaped_size: (new_h, new_w) of the resized frame.
        frame_size: (height, width) of the padded frame.
        mask_size: (height, width) of the mask prompts.

    Returns:
        (P, *mask_size) float32 logits.
    """
    logits = masks.new_empty((len(masks), *mask_size), dtype=torch.float32)
    clip = float(torch.sigmoid(torch.tensor(-ROUGH_MASK_LOGIT, dtype=torch.float64)))
    padding = (0, frame_size[1] - reshaped_size[1], 0, frame_size[0] - reshaped_size[0])
    for mask, logit in zip(masks, logits, strict=True):
        resized = F.interpolate(
            mask[None, None].float(), tuple(reshaped_size), mode="bilinear", align_corners=False, antialias=True
        )
        probability = F.adaptive_avg_pool2d(F.pad(resized, padding), (mask_size[0], mask_size[1]))[0, 0].double()
        logit.copy_(torch.logit(probability.clamp(0, 1), eps=clip))
    return logits


def low_res_masks_to_photo(
    masks: torch.Tensor,
    reshaped_size: Sequence[int],
    original_size: Sequence[int],
    frame_size: Sequence[int],
    mask_threshold: float = 0.0,
    binarize: bool = True,
) -> torch.Tensor:
    """Bring low-resolution logits to photo size: up to the padded frame, crop the padding, on to the photo, threshold.

    Both steps are bilinear, as the authors'. Masks go through in groups, so that the float temporaries stay bounded
    however many masks and however large the image.

    Args:
        masks: (..., h, w) logits in the low-res frame, any floating dtype; computed in float32.
        reshaped_size: (new_h, new_w) of the resized frame.
        original_size: (H, W) of the image.
        frame_size: (height, width) of the padded frame.
        mask_threshold: A pixel above it is in the mask.
        binarize: False returns the logits instead.

    Returns:
        (..., H, W) bool, or float32 logits.

    Source: segment_anything_hq/modeling/sam.py, `Sam.postprocess_masks`.
    """
    leading = masks.shape[:-2]
    low_res = masks.reshape(-1, 1, *masks.shape[-2:])
    floats_per_mask = frame_size[0] * frame_size[1] + original_size[0] * original_size[1]
    group = max(1, MAX_FLOATS_AT_ONCE // floats_per_mask)

    def bring(part: torch.Tensor) -> torch.Tensor:
        padded = F.interpolate(part.float(), tuple(frame_size), mode="bilinear", align_corners=False)
        cropped = padded[..., : reshaped_size[0], : reshaped_size[1]]
        logits = F.interpolate(cropped, tuple(original_size), mode="bilinear", align_corners=False)[:, 0]
        return logits > mask_threshold if binarize else logits

    if 0 < len(low_res) <= group:  # nothing to put together, so no second copy
        return bring(low_res).reshape(*leading, *original_size)
    photo = low_res.new_empty((len(low_res), *original_size), dtype=torch.bool if binarize else torch.float32)
    for start in range(0, len(low_res), group):
        photo[start : start + group] = bring(low_res[start : start + group])
    return photo.reshape(*leading, *original_size)
