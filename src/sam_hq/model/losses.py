"""The loss of predicted masks: binary cross entropy and Dice on sampled points.

Source: "Segment Anything in High Quality" (arXiv 2306.01567), §3.3; points by uncertainty as in PointRend
(arXiv 1912.08193). Differs: points may be kept out of regions that the labels leave open.
"""

import torch
import torch.nn.functional as F

IGNORED_LABEL = -100


def mask_loss(
    mask_logits: torch.Tensor,
    labels: torch.Tensor,
    num_points: int = 112 * 112,
    oversample_ratio: float = 3.0,
    importance_ratio: float = 0.75,
) -> torch.Tensor:
    """Binary cross entropy plus Dice of each object's mask, on points drawn where the mask is uncertain.

    Args:
        mask_logits: Predicted logits (B, P, h, w) over the padded square.
        labels: 1 on the object, 0 off it, -100 where it is not known (B, P, H, W), over the same square.
        num_points: Points drawn per object.
        oversample_ratio: How many times more points the uncertain ones are chosen from.
        importance_ratio: Share of the points chosen by uncertainty; the others are uniform.

    Returns:
        The mean over the objects with a known label anywhere, a scalar; 0 where there is none.

    Raises:
        ValueError: If the shapes do not go together.
    """
    if mask_logits.ndim != 4 or labels.ndim != 4 or mask_logits.shape[:2] != labels.shape[:2]:
        raise ValueError(
            f"labels must be (B, P, H, W) for masks (B, P, h, w), but are {tuple(labels.shape)} for masks "
            f"{tuple(mask_logits.shape)}"
        )
    logits, labels = mask_logits.flatten(0, 1).float(), labels.flatten(0, 1)
    known = labels != IGNORED_LABEL
    labelled = known.flatten(1).any(dim=1)
    points = uncertain_points(logits, known, num_points, oversample_ratio, importance_ratio)
    logits, (targets, weights) = sample_points(logits, points), sample_labels(labels, points)
    losses = point_cross_entropy(logits, targets, weights) + point_dice(logits, targets, weights)
    return losses.masked_fill(~labelled, 0.0).sum() / labelled.sum().clamp(min=1)


def sample_labels(labels: torch.Tensor, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Read labels at points.

    Args:
        labels: (N, H, W), 1, 0, and -100 where unknown.
        points: (N, K, 2) as (x, y) in [0, 1].

    Returns:
        Targets (N, K) from 0 to 1, and weights (N, K), 0 where the nearest label is unknown and 1 elsewhere.
    """
    known = (labels != IGNORED_LABEL).float()
    # Between a known and an unknown label the known one counts alone, not the mean of the two. A known nearest label
    # has a quarter of the weight at least.
    targets = sample_points((labels == 1).float(), points) / sample_points(known, points).clamp(min=0.25)
    return targets.clamp(max=1.0), sample_points(known, points, mode="nearest")


def uncertain_points(
    logits: torch.Tensor, known: torch.Tensor, num_points: int, oversample_ratio: float, importance_ratio: float
) -> torch.Tensor:
    """Draw points, most of them where the logits are nearest to 0.

    Args:
        logits: Mask logits (N, h, w).
        known: Where the labels are known (N, H, W); other points are drawn last.
        num_points: Points per object.
        oversample_ratio: How many times more points the uncertain ones are chosen from.
        importance_ratio: Share of the points chosen by uncertainty; the others are uniform.

    Returns:
        Points (N, num_points, 2) as (x, y) in [0, 1].
    """
    with torch.no_grad():
        count, device = logits.shape[0], logits.device
        candidates = torch.rand(count, int(num_points * oversample_ratio), 2, dtype=torch.float32, device=device)
        certainty = sample_points(logits, candidates).abs()
        certainty = certainty.masked_fill(sample_points(known.float(), candidates, mode="nearest") == 0, torch.inf)
        chosen = certainty.topk(int(num_points * importance_ratio), dim=1, largest=False).indices
        uncertain = candidates.gather(1, chosen.unsqueeze(-1).expand(-1, -1, 2))
        uniform = torch.rand(count, num_points - chosen.shape[1], 2, dtype=torch.float32, device=device)
        return torch.cat([uncertain, uniform], dim=1)


def sample_points(maps: torch.Tensor, points: torch.Tensor, mode: str = "bilinear") -> torch.Tensor:
    """Read maps (N, h, w) at points (N, K, 2) given as (x, y) in [0, 1]: (N, K)."""
    sampled = F.grid_sample(
        maps.unsqueeze(1), 2 * points.unsqueeze(1) - 1, mode=mode, padding_mode="border", align_corners=False
    )
    return sampled[:, 0, 0]


def point_cross_entropy(logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Binary cross entropy (N,) of weighted points (N, K)."""
    loss = F.binary_cross_entropy_with_logits(logits, targets, weights, reduction="none")
    return loss.sum(dim=1) / weights.sum(dim=1).clamp(min=1)


def point_dice(logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Dice loss (N,) of weighted points (N, K), with 1 added above and below so that empty masks have a value."""
    probabilities = logits.sigmoid() * weights
    overlap = (probabilities * targets).sum(dim=1)
    return 1 - (2 * overlap + 1) / (probabilities.sum(dim=1) + (targets * weights).sum(dim=1) + 1)
