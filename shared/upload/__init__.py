"""The domain: the Upload aggregate and its saga, as pure functions. No I/O, no clock, no randomness."""
