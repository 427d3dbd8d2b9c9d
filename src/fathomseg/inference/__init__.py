"""Using a trained network: one image, folders, videos."""
