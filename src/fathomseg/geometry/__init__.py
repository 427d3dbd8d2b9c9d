"""Camera, pose and warp: pure functions, always float32."""
