"""The floors: the least that the same servers and libraries cost, without darkroom."""
