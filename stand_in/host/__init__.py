"""The Functions host: loads any `function_app.py` of the Python v2 model and serves it in one process."""
