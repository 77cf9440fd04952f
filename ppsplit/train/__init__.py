"""Training: targets, loss, schedule, averaging, checkpoints to resume from, and the loop that joins them."""
