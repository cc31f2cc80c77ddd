"""PostgreSQL advisory locks, by number: each lets one process at a time do what it stands for."""

MIGRATION = 0x6461726B  # "dark"
"""One migration runs at a time."""
REBUILD = 0x64617275  # "daru"
"""One rebuild of the read model runs at a time, and no migration beside it."""
