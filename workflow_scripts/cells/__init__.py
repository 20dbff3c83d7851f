"""Cell types from tokens (Results, Fig. 3)."""
