"""The step, the loop around it, checkpoints and logging: knows no task by name."""
