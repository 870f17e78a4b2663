"""The command line: talks to the running daemon, reads its journal, or starts it."""
