-- The task hub: everything stored for one app. Times are ticks of 100 ns since 1970.

CREATE TABLE IF NOT EXISTS instances (
    instance_id   TEXT PRIMARY KEY,
    execution_id  TEXT NOT NULL,
    name          TEXT NOT NULL,
    version       TEXT,
    status        TEXT NOT NULL,
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL,
    input         TEXT,
    output        TEXT,
    custom_status TEXT,
    parent        TEXT
);

-- The events of the current execution, each as the JSON object that its function sees.
CREATE TABLE IF NOT EXISTS history (
    instance_id TEXT NOT NULL,
    position    INTEGER NOT NULL,
    event       TEXT NOT NULL,
    PRIMARY KEY (instance_id, position)
) WITHOUT ROWID;

-- Events on their way to an instance. A timer is a message that is not due yet.
CREATE TABLE IF NOT EXISTS messages (
    sequence     INTEGER PRIMARY KEY,
    instance_id  TEXT NOT NULL,
    execution_id TEXT,
    due_at       INTEGER NOT NULL,
    event        TEXT NOT NULL
);

-- Activities that have not returned yet.
CREATE TABLE IF NOT EXISTS tasks (
    sequence     INTEGER PRIMARY KEY,
    instance_id  TEXT NOT NULL,
    execution_id TEXT NOT NULL,
    task_id      INTEGER NOT NULL,
    name         TEXT NOT NULL,
    input        TEXT NOT NULL
);

CREATE TABLE IF NOT EXISTS entities (
    entity_id   TEXT PRIMARY KEY,
    is_existing INTEGER NOT NULL,
    state       TEXT,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL
);

-- Operations that an entity has not done yet.
CREATE TABLE IF NOT EXISTS operations (
    sequence  INTEGER PRIMARY KEY,
    entity_id TEXT NOT NULL,
    message   TEXT NOT NULL
);

-- The host that works on this hub, until its lease expires (seconds since 1970). `address` is where it answers clients.
CREATE TABLE IF NOT EXISTS owner (
    only       INTEGER PRIMARY KEY CHECK (only = 1),
    token      TEXT NOT NULL,
    pid        INTEGER NOT NULL,
    address    TEXT NOT NULL,
    expires_at REAL NOT NULL
);

-- What the management API lists: an entity is shown as an instance that is always running.
CREATE VIEW IF NOT EXISTS shown AS
    SELECT instance_id, execution_id, name, version, status, created_at, updated_at,
           input, output, custom_status, parent, NULL AS is_existing
    FROM instances
    UNION ALL
    SELECT entity_id, '', entity_id, NULL, 'Running', created_at, updated_at,
           state, NULL, NULL, NULL, is_existing
    FROM entities;
