"""One module for each of the operators' commands."""
