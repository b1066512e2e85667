"""The folder of a run: its files, what to do with what is there, and what was recorded."""
