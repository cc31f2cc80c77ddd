-- When a failed run failed, for the list of failed runs. An index on `updated_at`, though only over failed runs, had every
-- update of every row go to all indexes: PostgreSQL asks whether an indexed column changed, not whether the row is in the
-- index. This column changes only where a run fails or is taken up again. Adding it writes the table anew: some six seconds a
-- million uploads, in which nobody else reads or writes it.
ALTER TABLE uploads ADD COLUMN failed_at timestamptz
    GENERATED ALWAYS AS (CASE WHEN status = 'failed' THEN updated_at END) STORED;
CREATE INDEX uploads_failed_at_id_idx ON uploads (failed_at, id) WHERE failed_at IS NOT NULL;
DROP INDEX uploads_updated_at_id_idx;
