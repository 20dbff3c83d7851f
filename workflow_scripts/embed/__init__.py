"""Tokens of tissues."""
