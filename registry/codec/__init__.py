"""Consul's JSON, both ways: `decode.py` reads requests, `encode.py` writes answers. No HTTP here."""
