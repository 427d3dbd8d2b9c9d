"""The demo, a client of study/: what it runs and how far it is (plan), its folder and results, and its pictures."""
