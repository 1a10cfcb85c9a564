"""Reads users' own files and writes predictions for them."""
