-- How soon each client may call again, shared by all gateways. Not worth a log entry: after a crash everybody starts anew.
CREATE UNLOGGED TABLE rate_limits (
    caller text PRIMARY KEY,
    due_at timestamptz NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);
