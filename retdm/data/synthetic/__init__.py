"""Data that the program draws: landscapes, mosaics of them, bags."""
