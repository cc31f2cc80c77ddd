"""What starts a process: one service, or the whole product."""
