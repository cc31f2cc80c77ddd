"""A client of the gateway's HTTP interface."""
