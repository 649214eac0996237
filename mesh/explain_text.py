"""The exchanges of one trace as a story that can be read from top to bottom. Pure."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

from mesh.policy_text import table

Exchange = Mapping[str, Any]

CLIENT_GONE = 499  # what a sidecar notes when the caller does not wait any longer

# Ours first; what a sidecar adds later stands behind them under its own name.
_CANDIDATE_COLUMNS = ("endpoint", "version", "breaker", "health", "weight", "cost", "cost_ms", "pending")


def story(document: Mapping[str, Any]) -> list[str]:
    """Lines for a terminal; `document` is the control API's answer."""
    exchanges = document["exchanges"]
    tries = sum(max(0, len(each.get("attempts") or ()) - 1) for each in exchanges)
    lines = [
        f"trace {document['trace_id']}: {len(exchanges)} exchange{'s' * (len(exchanges) != 1)}"
        + (f", {tries} extra attempt{'s' * (tries != 1)}" if tries else "")
    ]
    for exchange in exchanges:
        lines += ["", *_exchange(exchange)]
    if document.get("silent"):
        lines += ["", f"did not answer: {', '.join(document['silent'])}"]
    return lines


def _exchange(exchange: Exchange) -> Iterator[str]:
    yield " ".join(_headline(exchange))
    facts = dict(_facts(exchange))
    width = max(map(len, facts), default=0)
    for name, value in facts.items():
        yield f"  {name.ljust(width)}  {value}"
    if exchange.get("candidates"):
        yield "  candidates"
        yield from (f"    {line}" for line in _candidates(exchange["candidates"]))
    if exchange.get("attempts"):
        yield "  attempts"
        yield from (f"    {line}" for line in table(_ATTEMPT, map(_attempt, exchange["attempts"])))


def _headline(exchange: Exchange) -> Iterator[str]:
    at = float(exchange.get("at") or 0.0)
    yield f"{time.strftime('%H:%M:%S', time.localtime(at))}.{int(at % 1 * 1000):03d}"
    yield f"{exchange.get('instance')} {exchange.get('direction')}:"
    yield f"{exchange.get('method')} {exchange.get('host')}{exchange.get('path')}"
    yield f"→ {exchange.get('status') or 'no answer'}"
    if exchange.get("flag") not in (None, "", "-"):
        yield f"{exchange['flag']}"
    yield f"in {_ms(exchange.get('duration_ms'))}"
    if exchange.get("kept"):
        yield f"(kept: {exchange['kept']})"


def _facts(exchange: Exchange) -> Iterator[tuple[str, str]]:
    if exchange.get("upstream"):  # an inbound exchange that ended before its app has none
        version = exchange.get("policy_version")
        rule = f"{exchange.get('route') or 'none'} → {exchange['upstream']}"
        yield "rule", rule + (f" (policies at version {version})" if version else "")
    limit, left = exchange.get("limit_ms"), exchange.get("remaining_ms")
    if limit is not None:
        yield "deadline", f"{_ms(limit)}" + ("" if left is None else f", {_ms(left)} left at the end")
    if exchange.get("budget"):
        yield "budget", _words(exchange["budget"])
    if exchange.get("detail"):
        yield "because", str(exchange["detail"])
    yield "answered", _answered(exchange)


def _answered(exchange: Exchange) -> str:
    attempts = exchange.get("attempts") or ()
    last = attempts[-1] if attempts else None
    if last is not None and last.get("status") and last.get("status") == exchange.get("status"):
        return f"by {last.get('endpoint')}, attempt {last.get('number')}"
    if not exchange.get("status"):
        return "by nobody"
    if exchange["status"] == CLIENT_GONE:
        return "by nobody: the caller was gone"
    return "by this sidecar itself"


def _candidates(rows: list[Mapping[str, Any]]) -> list[str]:
    more = [key for row in rows for key in row if key not in (*_CANDIDATE_COLUMNS, "address")]
    # what says nothing of any candidate only makes the table wide
    columns = [
        key
        for key in (*_CANDIDATE_COLUMNS, *dict.fromkeys(more))
        if any(row.get(key) is not None and row[key] is not False and row[key] != "" for row in rows)
    ]
    return table(
        [column.upper() for column in columns], ([_cell(row.get(key)) for key in columns] for row in rows)
    )


_ATTEMPT = ("#", "ENDPOINT", "WHY", "AT", "TOOK", "STATUS", "OUTCOME", "BREAKER")


def _attempt(row: Mapping[str, Any]) -> list[str]:
    breaker = _cell(row.get("breaker")) + (" (probe)" if row.get("probe") else "")
    return [
        _cell(row.get("number")),
        _cell(row.get("endpoint")),
        _cell(row.get("reason") or ("first try" if row.get("number") == 1 else None)),
        f"+{_ms(row.get('start_ms'))}",
        _ms(row.get("duration_ms")),
        _cell(row.get("status") or None),
        _cell(row.get("outcome")),
        breaker,
    ]


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    return _words(value) if isinstance(value, Mapping) else str(value)


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_cell(each)}" for key, each in value.items())
    return _cell(value)


def _ms(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value / 1000:.4g} s" if value >= 1000 else f"{value:.3g} ms"
