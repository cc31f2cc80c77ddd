"""How events travel: the outbox's relay, RabbitMQ or an embedded transport, queues, consumers and dead letters."""
