"""What `fathom study` is made of: workers, a table and its statistics, report and plot. Knows nothing of networks."""
