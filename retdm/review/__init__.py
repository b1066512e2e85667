"""Labels reviewed: cells that are probably wrong, found by scores out of fold, and what a person decided about them."""
