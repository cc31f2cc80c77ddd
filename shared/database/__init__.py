"""PostgreSQL itself: how to connect, the schema and its migrations, rate limits, and a server from a wheel."""
