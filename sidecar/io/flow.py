"""Flow control: when reading pauses, and why."""

from __future__ import annotations

import enum

# uvloop's own low-water mark is 16 bytes (a missing factor of 1024), which makes every drained byte
# a resume; these give one pause and one resume for every 48 KiB.
HIGH_WATER = 64 * 1024
LOW_WATER = 16 * 1024


class Hold(enum.IntFlag):
    """Why reading is paused; it goes on when no reason is left. Separate booleans end in stuck reads."""

    NONE = 0
    SLOW_PEER = 1  # the other side cannot take more
    PIPELINED = 2  # a further request waits for the current one
