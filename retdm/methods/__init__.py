"""Methods: what is trained, one file a method in networks, on_features and on_bags."""
