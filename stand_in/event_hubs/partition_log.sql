-- The statements of partition_log.py, each with its name.

-- name: create_tables
-- The events' table has rowids: large blobs in a table without them cost four times the space.
-- The index answers where a reader starts without touching the events.
CREATE TABLE IF NOT EXISTS hubs (
    hub_id          INTEGER PRIMARY KEY,
    name            TEXT    NOT NULL UNIQUE COLLATE NOCASE,
    partition_count INTEGER NOT NULL,
    created_ms      INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS events (
    hub_id          INTEGER NOT NULL REFERENCES hubs (hub_id),
    partition       INTEGER NOT NULL,
    sequence_number INTEGER NOT NULL,
    offset          INTEGER NOT NULL,
    enqueued_ms     INTEGER NOT NULL,
    partition_key   TEXT,
    header          BLOB    NOT NULL,
    annotations     BLOB    NOT NULL,
    tail            BLOB    NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS events_in_order
    ON events (hub_id, partition, sequence_number, offset, enqueued_ms);

-- name: insert_hub
INSERT INTO hubs (name, partition_count, created_ms) VALUES (:name, :partition_count, :created_ms)
RETURNING hub_id;

-- name: select_hub
SELECT hub_id, name, partition_count, created_ms FROM hubs WHERE name = :name;

-- name: insert_event
INSERT INTO events (hub_id, partition, sequence_number, offset, enqueued_ms, partition_key, header, annotations, tail)
VALUES (:hub_id, :partition, :sequence_number, :offset, :enqueued_ms, :partition_key, :header, :annotations, :tail);

-- name: select_events
SELECT sequence_number, offset, enqueued_ms, partition_key, header, annotations, tail
FROM events
WHERE hub_id = :hub_id AND partition = :partition AND sequence_number >= :from_sequence_number
ORDER BY sequence_number
LIMIT :most;

-- name: select_last_event
SELECT sequence_number, offset, enqueued_ms
FROM events
WHERE hub_id = :hub_id AND partition = :partition
ORDER BY sequence_number DESC
LIMIT 1;

-- name: select_first_from_offset
SELECT sequence_number FROM events
WHERE hub_id = :hub_id AND partition = :partition AND offset >= :least
ORDER BY sequence_number
LIMIT 1;

-- name: select_first_from_time
SELECT sequence_number FROM events
WHERE hub_id = :hub_id AND partition = :partition AND enqueued_ms >= :least
ORDER BY sequence_number
LIMIT 1;
