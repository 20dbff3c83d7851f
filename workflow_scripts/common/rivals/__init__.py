"""The rival models (Methods, "Comparisons and baselines"), written from their published texts."""
