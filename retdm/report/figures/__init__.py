"""Figures of a report: what is computed from runs, and how it is drawn."""
