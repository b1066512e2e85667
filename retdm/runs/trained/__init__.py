"""A trained run in use: an object that predicts, and files that need no retdm."""
