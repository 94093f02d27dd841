"""An emulator of Azure SignalR Service in Serverless mode: clients listen, the app sends over REST.

`server.py` starts it; `access_tokens.py` has the well-known key and the connection string to hand to an app.
"""
