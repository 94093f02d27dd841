-- Every statement of the blob storage emulator. A line "-- name: x" begins the statement x.

-- name: insert_container
-- Does nothing when the name is taken.
INSERT INTO containers (name, etag, modified, metadata) VALUES (:name, :etag, :modified, :metadata)
ON CONFLICT (name) DO NOTHING;

-- name: find_container
SELECT id, name, etag, modified, metadata FROM containers WHERE name = :name;

-- name: list_containers
SELECT id, name, etag, modified, metadata FROM containers WHERE name >= :first ORDER BY name LIMIT :limit;

-- name: update_container_metadata
UPDATE containers SET metadata = :metadata, etag = :etag, modified = :modified WHERE id = :id;

-- name: delete_container
DELETE FROM containers WHERE id = :id;

-- name: delete_pieces_of_container
DELETE FROM pieces WHERE blob_id IN (SELECT id FROM blobs WHERE container_id = :container_id);

-- name: delete_blobs_of_container
DELETE FROM blobs WHERE container_id = :container_id;

-- name: delete_staged_blocks_of_container
DELETE FROM staged_blocks WHERE container_id = :container_id;

-- name: find_blob
-- No row: no such container. A row without a blob id: no such blob.
SELECT c.id, b.id, b.name, b.blob_type, b.size, b.block_count, b.etag, b.created, b.modified, b.http_headers, b.metadata
FROM containers c LEFT JOIN blobs b ON b.container_id = c.id AND b.name = :blob
WHERE c.name = :container;

-- name: list_blobs
SELECT container_id, id, name, blob_type, size, block_count, etag, created, modified, http_headers, metadata
FROM blobs WHERE container_id = :container_id AND name >= :first ORDER BY name LIMIT :limit;

-- name: insert_blob
INSERT INTO blobs (container_id, name, blob_type, size, block_count, etag, created, modified, http_headers, metadata)
VALUES (:container_id, :name, :blob_type, :size, :block_count, :etag, :created, :modified, :http_headers, :metadata);

-- name: update_blob_end
-- After an append.
UPDATE blobs SET size = :size, block_count = :block_count, etag = :etag, modified = :modified WHERE id = :id;

-- name: update_blob_description
UPDATE blobs SET http_headers = :http_headers, metadata = :metadata, etag = :etag, modified = :modified WHERE id = :id;

-- name: delete_blob
DELETE FROM blobs WHERE id = :id;

-- name: insert_piece
INSERT INTO pieces (blob_id, start, block_id, data) VALUES (:blob_id, :start, :block_id, :data);

-- name: read_pieces
-- The pieces that touch the range from :first up to, not including, :end; :first must lie inside the blob.
SELECT start, data FROM pieces
WHERE blob_id = :blob_id AND start < :end
  AND start >= (SELECT max(start) FROM pieces WHERE blob_id = :blob_id AND start <= :first)
ORDER BY start;

-- name: list_committed_blocks
SELECT block_id, length(data), start FROM pieces
WHERE blob_id = :blob_id AND block_id IS NOT NULL ORDER BY start;

-- name: copy_committed_block
INSERT INTO pieces (blob_id, start, block_id, data)
SELECT :blob_id, :start, block_id, data FROM pieces WHERE blob_id = :from_blob_id AND start = :from_start;

-- name: delete_pieces
DELETE FROM pieces WHERE blob_id = :blob_id;

-- name: stage_block
INSERT INTO staged_blocks (container_id, blob_name, block_id, data)
VALUES (:container_id, :blob_name, :block_id, :data)
ON CONFLICT (container_id, blob_name, block_id) DO UPDATE SET data = excluded.data;

-- name: list_staged_blocks
SELECT block_id, length(data) FROM staged_blocks
WHERE container_id = :container_id AND blob_name = :blob_name ORDER BY block_id;

-- name: commit_staged_block
INSERT INTO pieces (blob_id, start, block_id, data)
SELECT :blob_id, :start, block_id, data FROM staged_blocks
WHERE container_id = :container_id AND blob_name = :blob_name AND block_id = :block_id;

-- name: delete_staged_blocks
DELETE FROM staged_blocks WHERE container_id = :container_id AND blob_name = :blob_name;

-- name: find_last_etag
SELECT max(coalesce((SELECT max(etag) FROM containers), 0), coalesce((SELECT max(etag) FROM blobs), 0));
