"""A run as files that need no retdm."""
