"""What a study would run and take: `python -m workflow_scripts.plan`, or `make plan`."""
