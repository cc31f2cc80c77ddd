"""The command line: operators' commands, the start of a process, and an HTTP client."""
