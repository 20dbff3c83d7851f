"""Similar tissues, found by their niche tokens (Results, Fig. 4g-k)."""
