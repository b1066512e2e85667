"""Methods that train a network by gradients."""
