"""Durable state, one operation at a time."""
