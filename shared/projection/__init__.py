"""The read model `uploads`: from event to row change, and what readers ask of it."""
