-- name: create_body
-- `received_ns` to `size_bytes` stand before `payload`, so that counting never reads an overflow page.
CREATE TABLE body (
    id INTEGER PRIMARY KEY,
    received_ns INTEGER NOT NULL,
    encoding TEXT NOT NULL,
    compression TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    payload BLOB NOT NULL
);

-- name: totals
-- What is waiting, read once at start.
SELECT count(*), coalesce(sum(size_bytes), 0), coalesce(max(id), 0) FROM body;

-- name: oldest
-- When the body that has waited longest came in.
SELECT received_ns FROM body ORDER BY id LIMIT 1;

-- name: insert
-- One request body.
INSERT INTO body (id, received_ns, encoding, compression, size_bytes, payload) VALUES (?, ?, ?, ?, ?, ?);

-- name: take
-- The bodies after a position, oldest first.
SELECT id, received_ns, encoding, compression, size_bytes, payload FROM body WHERE id > ? ORDER BY id;

-- name: remove
-- A run of neighbouring bodies, whose spans PostgreSQL has committed.
DELETE FROM body WHERE id BETWEEN ? AND ? RETURNING size_bytes;
