"""What is trained: one file a method."""
