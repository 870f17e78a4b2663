"""Whatever blocks: clock, threads, locks, rate budget, price stream, journal, settings, logs."""
