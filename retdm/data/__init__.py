"""Files on disk become batches of images and targets."""
