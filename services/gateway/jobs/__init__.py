"""Routes of a job: start it, retry it, follow its status, read its result."""
