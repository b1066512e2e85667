"""Published data sets: one file each, which reads the layout of its publisher."""
