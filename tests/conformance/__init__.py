"""KuCoin's own clients and specification against the sandbox."""
