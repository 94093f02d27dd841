"""An Event Hubs namespace on this machine: the protocol that azure-eventhub speaks, over a log in SQLite."""
