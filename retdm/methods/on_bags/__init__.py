"""Methods that are fitted to bags: given ones, or an image as its regions."""
