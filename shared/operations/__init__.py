"""What operators do: look at runs, replay one or many, redrive dead letters, erase an upload; each act audited."""
