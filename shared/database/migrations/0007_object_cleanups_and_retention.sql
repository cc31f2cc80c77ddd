-- An upload is announced before its first byte is stored, also where the photo comes through the gateway: then the row says
-- nothing of the person. It goes in the transaction that registers the upload, which fails without it.
ALTER TABLE pending_uploads
    ALTER COLUMN email DROP NOT NULL,
    ALTER COLUMN session_token_digest DROP NOT NULL,
    ALTER COLUMN content_type DROP NOT NULL,
    ALTER COLUMN size_bytes DROP NOT NULL;

-- Uploads with objects in the object store that may have to be removed: after an erasure, an announcement that expired, a
-- registration whose client may still write. Written in the transaction of that act; the row goes once the object store has
-- confirmed, and not before `until`: until then somebody may still write one more. The next look is at `due_at`.
CREATE TABLE object_cleanups (
    upload_id uuid PRIMARY KEY,
    due_at timestamptz NOT NULL,
    until timestamptz NOT NULL
);
CREATE INDEX object_cleanups_due_at_idx ON object_cleanups (due_at);

-- How long each upload has been kept, by this database's clock and no gateway's; a row is written with UploadRegistered and
-- goes with UploadErased. `started` is set once an upload is found to have been started. The next look is not before
-- `look_at`. Uploads that are older than this table are kept as if they had come today.
CREATE TABLE kept_uploads (
    upload_id uuid PRIMARY KEY,
    since timestamptz NOT NULL DEFAULT now(),
    started boolean NOT NULL DEFAULT false,
    look_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO kept_uploads (upload_id) SELECT id FROM uploads WHERE email <> '';
CREATE INDEX kept_uploads_since_idx ON kept_uploads (since);
CREATE INDEX kept_uploads_unstarted_idx ON kept_uploads (since) WHERE NOT started;
-- What was registered before this release left its announcement, with the e-mail in it, until it expired.
WITH registered AS (DELETE FROM pending_uploads USING uploads WHERE uploads.id = pending_uploads.id RETURNING pending_uploads.*)
INSERT INTO object_cleanups (upload_id, due_at, until)
SELECT id, expires_at + interval '10 minutes', expires_at + interval '10 minutes' FROM registered;
