"""What is chosen for a run: composed from YAML and the command line, checked, and held in one object."""
