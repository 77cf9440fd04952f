"""Numbers about results: COCO average precision, summaries of timings."""
