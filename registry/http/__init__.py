"""The HTTP side, one file per endpoint family; `router.py` finds the endpoint, `call.py` is one request."""
