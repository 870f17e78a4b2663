"""The inner rooms of `kucoin_client.py`: the wire, the meaning of codes, the shapes of answers."""
