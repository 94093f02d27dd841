"""The blob storage emulator: containers, block blobs and append blobs on SQLite. What it acknowledged is on disk."""
