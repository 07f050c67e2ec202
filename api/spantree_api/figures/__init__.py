"""Figures: sums out of the rollups -> answers."""
