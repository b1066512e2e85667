"""Train a method on data: ``python train.py --help``."""

from retdm.__main__ import run

if __name__ == "__main__":
    run("train")
