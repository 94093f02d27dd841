"""The stand-in: a local host for any Python v2 durable app, and emulators of the services around it."""
