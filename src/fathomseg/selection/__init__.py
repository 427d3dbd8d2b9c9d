"""Which images of a pool should be labelled: features of images, criteria, picking, and what was chosen and why."""
