-- One `complete` at a time for each announced upload, whichever gateway it reaches; a refusal is final and told again.
ALTER TABLE pending_uploads
    ADD COLUMN completing_until timestamptz,
    ADD COLUMN refusal_code text,
    ADD COLUMN refusal_message text;
