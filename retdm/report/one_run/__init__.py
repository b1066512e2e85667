"""The page of a single run: what a colleague wants to see of it, drawn from its folder alone."""
