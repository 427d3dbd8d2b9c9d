"""Loop, checkpoints, EMA, logging: knows nothing of segmentation."""
