"""The commands: one file each, what a user types and what it prints."""
