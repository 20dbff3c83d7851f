"""Hidden patches filled in (Results, Fig. 2)."""
