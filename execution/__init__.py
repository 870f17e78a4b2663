"""Orders on the wire, exactly once: sending, knowing, protecting, reconciling."""
