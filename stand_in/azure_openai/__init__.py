"""Emulator of Azure OpenAI's chat completions: the wire contract of the service, with a scripted model behind it."""
