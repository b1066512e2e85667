"""Readers of the user's own files: one format a file."""
