"""Trains and evaluates networks: schedule, step, loop, devices, checkpoints and results."""
