"""Pictures of a run: images with their predictions, heat maps, curves and bars of labels, the embedding space."""
