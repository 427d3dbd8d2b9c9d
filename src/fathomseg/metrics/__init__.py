"""What predictions are measured by: classes, depth, camera motion."""
