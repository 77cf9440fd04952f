"""Numbers about results: COCO average precision, divergence of scores, summaries of timings."""
