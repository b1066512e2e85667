"""Components that several methods share: encoders, heads, poolings, distances, classifiers."""
