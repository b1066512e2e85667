"""Methods that are fitted to the feature vectors of a frozen backbone."""
