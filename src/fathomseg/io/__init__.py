"""Files in and out: images, videos, depth maps; the only writer of files, and progress bars."""
