"""The processes, one folder each. They import shared and contracts, and never each other."""
