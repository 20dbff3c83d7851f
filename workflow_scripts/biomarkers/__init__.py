"""Treatment response: signatures of cells, and their transfer to another cohort (Fig. 5)."""
