"""Consul's `filter` parameter: `parse.py` reads the expression, `fields.py` knows what may be selected
in each kind of answer, `match.py` binds the two and says of a row whether it stays."""

from registry.filters.fields import CHECK, HEALTH, NODE, SERVICE, SERVICE_NODE
from registry.filters.match import Filter
from registry.filters.parse import FilterError

__all__ = ["CHECK", "HEALTH", "NODE", "SERVICE", "SERVICE_NODE", "Filter", "FilterError"]
