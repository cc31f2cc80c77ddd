"""The projection: from an event to the change of its upload's row in the read model. Pure."""
