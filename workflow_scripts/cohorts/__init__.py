"""From archives to published cohorts: retrieve, ingest, split, preprocess."""
