"""What the services have in common. Imports contracts; never a service."""
