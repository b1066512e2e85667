"""Training: stages, rules and optimizers of one Lightning fit, its checkpoints, progress and pictures."""
