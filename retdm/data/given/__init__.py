"""Images and targets that a caller has in memory, or in files anywhere, as a data set of files."""
