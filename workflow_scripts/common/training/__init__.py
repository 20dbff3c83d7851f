"""The training engine, for any model: schedules, processes, checkpoints, watching and the loop."""
