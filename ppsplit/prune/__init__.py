"""What to drop: which channels, how many of each layer, and how to win back what that cost."""
