"""What a split costs: AP, bytes, milliseconds and memory, measured where they pass."""
