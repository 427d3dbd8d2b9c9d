"""The training step and its loop, optimiser, checkpoints, logging: knows no task by name."""
