"""What `fathom study` is made of: claims and workers, statistics, tables and plots. Knows nothing of networks."""
