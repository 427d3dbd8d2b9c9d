"""Loop, checkpoints, EMA, logging: knows no task by name."""
