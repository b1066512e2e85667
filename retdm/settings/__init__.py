"""The settings of a run: composed from YAML and the command line, checked, and held in one object."""
