"""Routes that take photos in, through the gateway or straight to the object store."""
