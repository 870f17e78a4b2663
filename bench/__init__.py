"""Performance figures: one file each; every run measures its own floor."""
