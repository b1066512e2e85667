"""Evaluate a trained run's best checkpoint again: ``python test.py --help``."""

from retdm.__main__ import run

if __name__ == "__main__":
    run("test")
