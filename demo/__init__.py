"""The embedded study: its settings, its cohorts and the simulator of their raw archives."""
