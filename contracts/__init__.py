"""What crosses a process boundary: events and HTTP bodies. Imports msgspec and the standard library only."""
