"""Sequences of the measured proteins and their ESM-2 embeddings."""
