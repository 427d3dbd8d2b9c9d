"""Camera, pose and warp: pure functions, float32 even under autocast (float64 stays float64).

Conventions are those of `fathomseg.types`: pinhole cameras, pixel centres at integers, z-depth in metres with 0 for
"invalid", transforms named target-first (`src_T_tgt`).
"""
