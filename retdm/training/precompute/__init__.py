"""Arrays that are computed once for a data set and cached: features of images, distances between bags."""
