"""Where the bytes lie: one port, two adapters. Events and messages carry keys, never bytes and never URLs."""
