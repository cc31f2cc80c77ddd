"""The read model `uploads` in PostgreSQL: what readers ask of it, who hears of its changes, and how it is rebuilt."""
