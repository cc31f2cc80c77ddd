"""What operators do, as functions that the command line and the HTTP interface both call; most of it replays runs."""
