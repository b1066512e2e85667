"""How sure the results in a report are: intervals of one, tests of differences between two."""
