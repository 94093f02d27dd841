"""The durable engine: orchestrations, activities, timers and entities on SQLite. It runs no user code itself."""
