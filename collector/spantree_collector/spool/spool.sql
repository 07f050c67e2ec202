-- name: create_body
-- `received_ns` to `size_bytes` stand before `payload`, so that counting never reads an overflow page.
CREATE TABLE body (
    id INTEGER PRIMARY KEY,
    tenant_id INTEGER NOT NULL DEFAULT 0,
    received_ns INTEGER NOT NULL,
    encoding TEXT NOT NULL,
    compression TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    payload BLOB NOT NULL
);

-- name: add_tenant
-- A file of format 1, from before there were tenants.
ALTER TABLE body ADD COLUMN tenant_id INTEGER NOT NULL DEFAULT 0;

-- name: create_body_tenant_idx
-- Serves `take_of_tenant` and `tenants`.
CREATE INDEX body_tenant_idx ON body (tenant_id, id, size_bytes);

-- name: totals
-- What is waiting, read once at start.
SELECT count(*), coalesce(sum(size_bytes), 0), coalesce(max(id), 0) FROM body;

-- name: tenants
-- Whose bodies wait, the last one of each and how many bytes they are; read once at start.
SELECT tenant_id, max(id), sum(size_bytes) FROM body GROUP BY tenant_id;

-- name: oldest
-- When the body that has waited longest came in.
SELECT received_ns FROM body ORDER BY id LIMIT 1;

-- name: oldest_of_tenant
-- When the body of one tenant that has waited longest came in. Served by body_tenant_idx.
SELECT received_ns FROM body WHERE tenant_id = ? ORDER BY id LIMIT 1;

-- name: insert
-- One request body.
INSERT INTO body (id, tenant_id, received_ns, encoding, compression, size_bytes, payload) VALUES (?, ?, ?, ?, ?, ?, ?);

-- name: take
-- The bodies after a position, oldest first.
SELECT id, tenant_id, received_ns, encoding, compression, size_bytes, payload FROM body WHERE id > ? ORDER BY id;

-- name: take_of_tenant
-- One tenant's bodies after a position, oldest first.
SELECT id, tenant_id, received_ns, encoding, compression, size_bytes, payload
FROM body
WHERE tenant_id = ? AND id > ?
ORDER BY id;

-- name: remove
-- A run of neighbouring bodies, whose spans PostgreSQL has committed.
DELETE FROM body WHERE id BETWEEN ? AND ? RETURNING tenant_id, size_bytes;
