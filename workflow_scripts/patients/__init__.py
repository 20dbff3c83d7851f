"""Patients and tissues from tokens (Results, Fig. 4a-f)."""
