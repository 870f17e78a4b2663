"""A KuCoin of one's own: the exchange's futures protocol on loopback, with play money."""
