"""Shared parts of the commands: flags, console, progress and signals."""
