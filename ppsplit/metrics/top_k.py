"""How often a classifier's best guesses hold the truth."""

from __future__ import annotations

from typing import Dict, Sequence

from ppsplit.classification import Classification

COUNTED = (1, 5)  # as is usual for ImageNet
MOST_COUNTED = max(COUNTED)


def top_k(found: Sequence[Classification], class_ids: Sequence[int]) -> Dict[str, float]:
    """Top-1 and top-5 accuracy.

    Args:
        found: of each image, with at least five classes (or all that there are).
        class_ids: the true class of each.

    Returns:
        top1, top5: share of the images, 0..1, whose true class is the best, and among the best five.

    Raises:
        ValueError: no image, or not as many classes as images.
    """
    if not found or len(found) != len(class_ids):
        raise ValueError(f"{len(found)} classifications for {len(class_ids)} images")
    ranks = [list(one.class_ids[:MOST_COUNTED]) for one in found]
    return {
        f"top{k}": sum(truth in ranked[:k] for ranked, truth in zip(ranks, class_ids)) / len(found) for k in COUNTED
    }
