"""Training: schedule, step, loop, devices, checkpoints, results."""
