"""Routing: which destination and which rules a request gets.

`documents.py` validates Istio's VirtualService and DestinationRule (a field that is not honoured is refused
by name), `compile.py` turns a whole set of documents into one `RouteTable` and one `UpstreamPolicy` per
destination, `table.py` matches requests against it. A table is immutable and swapped whole: a request keeps
the one it began with.
"""
