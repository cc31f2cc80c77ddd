"""How a stage runs: from a message to its recorded outcome, with retries, a circuit breaker and a dispatcher."""
