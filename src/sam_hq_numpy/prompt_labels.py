"""What the numbers of prompts mean: labels of points, and logits of masks."""

FOREGROUND_LABEL = 1
BACKGROUND_LABEL = 0
NOT_A_POINT_LABEL = -1
PADDING_LABEL = -10
POINT_LABELS = (FOREGROUND_LABEL, BACKGROUND_LABEL, NOT_A_POINT_LABEL, PADDING_LABEL)

# A rough mask is sure of nothing beyond what SAM's own low-resolution logits say, which reach about 10 to 20.
ROUGH_MASK_LOGIT = 10.0
# What is far above them overflows in the norms of the mask embedding.
LARGEST_LOGIT = 1e4
