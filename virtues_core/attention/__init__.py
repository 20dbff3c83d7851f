"""Attention over packed sequences, with one backend chosen from several."""

from virtues_core.attention.api import allowed_backends, attend, attend_packed
from virtues_core.attention.layout import Layout, plan_layout

__all__ = ["Layout", "allowed_backends", "attend", "attend_packed", "plan_layout"]
