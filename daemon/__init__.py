"""What the daemon is made of: wiring, the child exchange, recovery, and its answers to the console."""
