"""Text of users and numbers of runs, on a terminal, in a cell and in a figure."""
