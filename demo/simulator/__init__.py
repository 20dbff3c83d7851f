"""Seeded tissues and patients with planted truth, written as published archives."""
