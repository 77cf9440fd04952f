"""Top-1 and top-5 by hand."""

from __future__ import annotations

import numpy as np
import pytest

from ppsplit.classification import Classification
from ppsplit.metrics.top_k import top_k


def ranked(*class_ids: int) -> Classification:
    return Classification(np.array(class_ids, np.int64), np.linspace(1, 0, len(class_ids)).astype(np.float32))


def test_by_hand() -> None:
    found = [ranked(1, 2, 3, 4, 5, 6), ranked(9, 8, 7, 6, 5, 4), ranked(2, 0), ranked()]
    assert top_k(found, [1, 5, 7, 0]) == {"top1": 0.25, "top5": 0.5}
    assert top_k(found[:1], [6]) == {"top1": 0.0, "top5": 0.0}


@pytest.mark.parametrize(("count", "truth"), [(0, []), (1, []), (1, [1, 2])])
def test_without_images_there_is_no_share(count: int, truth: list) -> None:
    with pytest.raises(ValueError, match="classifications for"):
        top_k([ranked(1)] * count, truth)
