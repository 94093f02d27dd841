-- Statements of the task hub, by name. One Python method each.

-- name: save_instance
INSERT OR REPLACE INTO instances
    (instance_id, execution_id, name, version, status, created_at, updated_at, input, output, custom_status, parent)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: delete_instance
DELETE FROM instances WHERE instance_id = ?;

-- name: append_event
INSERT INTO history (instance_id, position, event) VALUES (?, ?, ?);

-- name: replace_event
UPDATE history SET event = ?3 WHERE instance_id = ?1 AND position = ?2;

-- name: delete_history
DELETE FROM history WHERE instance_id = ?;

-- name: add_message
INSERT INTO messages (sequence, instance_id, execution_id, due_at, event) VALUES (?, ?, ?, ?, ?);

-- name: delete_message
DELETE FROM messages WHERE sequence = ?;

-- name: add_task
INSERT INTO tasks (sequence, instance_id, execution_id, task_id, name, input) VALUES (?, ?, ?, ?, ?, ?);

-- name: delete_task
DELETE FROM tasks WHERE sequence = ?;

-- name: save_entity
INSERT OR REPLACE INTO entities (entity_id, is_existing, state, created_at, updated_at) VALUES (?, ?, ?, ?, ?);

-- name: delete_entity
DELETE FROM entities WHERE entity_id = ?;

-- name: add_operation
INSERT INTO operations (sequence, entity_id, message) VALUES (?, ?, ?);

-- name: delete_operation
DELETE FROM operations WHERE sequence = ?;

-- name: read_instance
SELECT instance_id, execution_id, name, version, status, created_at, updated_at, input, output, custom_status, parent
FROM instances WHERE instance_id = ?;

-- name: read_history
SELECT event FROM history WHERE instance_id = ? ORDER BY position;

-- name: read_entity
SELECT entity_id, is_existing, state, created_at, updated_at FROM entities WHERE entity_id = ?;

-- name: read_live_instances
SELECT instance_id, execution_id, name, version, status, created_at, updated_at, input, output, custom_status, parent
FROM instances WHERE status IN ('Pending', 'Running', 'Suspended');

-- name: read_messages
SELECT sequence, instance_id, execution_id, due_at, event FROM messages ORDER BY sequence;

-- name: read_tasks
SELECT sequence, instance_id, execution_id, task_id, name, input FROM tasks ORDER BY sequence;

-- name: read_operations
SELECT sequence, entity_id, message FROM operations ORDER BY sequence;

-- name: read_last_sequence
SELECT max(
    (SELECT coalesce(max(sequence), 0) FROM messages),
    (SELECT coalesce(max(sequence), 0) FROM tasks),
    (SELECT coalesce(max(sequence), 0) FROM operations)
);

-- name: query_shown
SELECT instance_id, execution_id, name, version, status, created_at, updated_at,
       input, output, custom_status, parent, is_existing
FROM shown
WHERE instance_id >= :start
  AND (:prefix_end IS NULL OR (instance_id >= :prefix AND instance_id < :prefix_end))
  AND (:created_from IS NULL OR created_at >= :created_from)
  AND (:created_to IS NULL OR created_at <= :created_to)
  AND (:statuses IS NULL OR status IN (SELECT value FROM json_each(:statuses)))
ORDER BY instance_id
LIMIT :top;

-- name: query_entities
SELECT entity_id, is_existing, state, created_at, updated_at
FROM entities
WHERE entity_id >= :start
  AND entity_id >= :prefix AND entity_id < :prefix_end
  AND (:updated_from IS NULL OR updated_at >= :updated_from)
  AND (:updated_to IS NULL OR updated_at <= :updated_to)
ORDER BY entity_id
LIMIT :top;

-- name: take_hub
INSERT OR REPLACE INTO owner (only, token, pid, address, expires_at) VALUES (1, ?, ?, ?, ?);

-- name: renew_hub
UPDATE owner SET expires_at = ?2 WHERE token = ?1;

-- name: leave_hub
DELETE FROM owner WHERE token = ?;

-- name: read_owner
SELECT token, pid, address, expires_at FROM owner;

-- name: is_owner
SELECT 1 FROM owner WHERE token = ?;
