"""Pure rules: no thread, clock, randomness, socket or file in here."""
