"""The truth: events, the read model's rows and the outbox, written together in one PostgreSQL transaction."""
