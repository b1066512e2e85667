"""One run from command to folder."""
