"""Mutated input against what reads from the network; `python -m tests.fuzz` runs it for as long as you like."""
