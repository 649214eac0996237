"""What makes the registry durable: an append-only journal of commits, and snapshots that shorten it.

The one fsync policy: a write is in the operating system's hands before it is acknowledged, so killing
the process loses nothing; the disk has it within `FSYNC_EVERY`, so a power cut may cost that much.
`rows.py` turns rows into JSON and back, `frames.py` guards each line with a checksum, `files.py` names
and reads the files, `journal.py` writes them.
"""

from registry.journal.files import Recovery, recover
from registry.journal.journal import Journal, JournalError

__all__ = ["Journal", "JournalError", "Recovery", "recover"]
