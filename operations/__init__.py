"""What operators do from a terminal: `python -m operations`, with the app's own settings."""
