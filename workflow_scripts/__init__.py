"""The study: one script per rule, one folder per stage."""
