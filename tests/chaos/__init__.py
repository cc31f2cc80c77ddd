"""The fault battery: real services as processes, a seeded schedule of faults, invariants read from the event store."""
