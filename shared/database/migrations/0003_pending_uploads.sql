-- Uploads that a client sends straight to the object store, from the moment it may until they are registered or expire.
-- No event yet: nothing has happened to an upload that may never come.
CREATE TABLE pending_uploads (
    id uuid PRIMARY KEY,
    email text NOT NULL,
    session_token_digest text NOT NULL,
    content_type text NOT NULL,
    size_bytes bigint NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX pending_uploads_expires_at_idx ON pending_uploads (expires_at);
