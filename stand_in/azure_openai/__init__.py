"""Emulator of Azure OpenAI: chat completions, responses, embeddings; a scripted model behind the service's contract."""
