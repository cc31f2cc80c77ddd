"""The OpenAPI document: what routes say of themselves, with examples and errors."""
