-- The tables of the blob storage emulator. Times are whole microseconds since 1970, etags are rising integers.

CREATE TABLE IF NOT EXISTS containers (
    id       INTEGER PRIMARY KEY,
    name     TEXT    NOT NULL UNIQUE,
    etag     INTEGER NOT NULL,
    modified INTEGER NOT NULL,
    metadata TEXT    NOT NULL              -- a JSON object of strings
);

-- A blob that is overwritten becomes a new row, so pieces never change once they are written.
CREATE TABLE IF NOT EXISTS blobs (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    container_id INTEGER NOT NULL REFERENCES containers (id),
    name         TEXT    NOT NULL,
    blob_type    TEXT    NOT NULL,          -- BlockBlob or AppendBlob
    size         INTEGER NOT NULL,
    block_count  INTEGER NOT NULL,
    etag         INTEGER NOT NULL,
    created      INTEGER NOT NULL,
    modified     INTEGER NOT NULL,
    http_headers TEXT    NOT NULL,          -- a JSON object: Content-Type and its like, as GET repeats them
    metadata     TEXT    NOT NULL,          -- a JSON object of strings
    UNIQUE (container_id, name)
);

-- The bytes of a blob, one row for each committed block, keyed by where it starts: an append is one insert at the end
-- of its blob's rows, and a range is one walk along the key.
CREATE TABLE IF NOT EXISTS pieces (
    blob_id  INTEGER NOT NULL,
    start    INTEGER NOT NULL,
    block_id TEXT,                          -- the block's base64 id, for blocks committed by Put Block List
    data     BLOB    NOT NULL,
    PRIMARY KEY (blob_id, start)
) WITHOUT ROWID;

-- Blocks that were put and not committed yet; the blob need not exist.
CREATE TABLE IF NOT EXISTS staged_blocks (
    container_id INTEGER NOT NULL,
    blob_name    TEXT    NOT NULL,
    block_id     TEXT    NOT NULL,
    data         BLOB    NOT NULL,
    PRIMARY KEY (container_id, blob_name, block_id)
);
