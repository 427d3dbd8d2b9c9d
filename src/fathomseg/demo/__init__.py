"""The demo: what it does (plan), its recipes, doing it (work), showing how far it is, and its pictures."""
