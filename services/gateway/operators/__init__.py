"""Routes of the operators' interface, `/api/ops/*`."""
