"""AMQP 1.0 as Event Hubs uses it, without I/O: bytes in, bytes out. Sections cited are those of the OASIS standard."""
