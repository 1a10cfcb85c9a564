"""Writes what a run leaves on the disk, and reads it back."""
