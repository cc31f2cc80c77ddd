"""What every route shares: bodies, session tokens, ownership, rate limits, deadlines and errors."""
