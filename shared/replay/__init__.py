"""Resuming failed runs, one or ten thousand; what the command line and the operators' HTTP interface both call."""
