"""How events travel and how stages react: RabbitMQ through FastStream, or embedded in one process."""
