"""The demo, a client of study/: what it runs (plan), its folder and recipes, its progress, results and pictures."""
