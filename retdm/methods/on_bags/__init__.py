"""Methods that are fitted to bags: those of a data set, or images as bags of their regions."""
