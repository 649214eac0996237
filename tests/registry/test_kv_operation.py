"""Transactions are as large as the registry takes, and no larger."""

import json

from registry.client import MAX_BYTES, MAX_OPERATIONS, KVOperation, in_parts


def test_parts_are_within_both_limits_and_in_order() -> None:
    operations = [KVOperation(f"k{number}", b"x" * (number * 100), number, number) for number in range(200)]
    operations.append(KVOperation("gone", None, 0, 7))
    parts = list(in_parts(operations))
    assert [one for part in parts for one in part] == operations
    for part in parts:
        body = json.dumps([operation.json() for operation in part])
        assert len(part) <= MAX_OPERATIONS
        assert len(body) <= sum(operation.size for operation in part) <= MAX_BYTES
    assert max(map(len, parts)) == MAX_OPERATIONS
    assert list(in_parts([])) == []


def test_one_that_is_too_large_alone_stands_alone() -> None:
    """The registry says why it does not take it."""
    large, small = KVOperation("a", b"x" * MAX_BYTES), KVOperation("b", b"")
    assert list(in_parts([small, large, small])) == [[small], [large], [small]]
