"""What a codec learns from photos without labels: which directions matter to the task, and how values are spread."""
