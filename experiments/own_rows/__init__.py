"""Users' own files: reading them, and predictions for them."""
