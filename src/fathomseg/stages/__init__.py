"""What the user runs: one file a verb, each read top to bottom."""
