"""The only code that talks to a cloud service, one module and one SDK each, and the environment (`settings.py`)."""
