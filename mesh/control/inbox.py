"""What was sent to one open page and is not read yet, bounded in messages and in bytes."""

import asyncio

# A page that reads slower than this many messages, or bytes, is sent everything anew instead. A message is
# some hundred bytes; all open pages share what was sent to all of them.
MAX_BEHIND = 256
MAX_BEHIND_BYTES = 2 * 1024 * 1024

Message = tuple[str, str]


class Inbox:
    """Messages in their order; None stands for everything anew."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Message | None] = asyncio.Queue()
        self._size = 0

    def put(self, message: Message) -> None:
        """A message more; it takes the place of all others when they are too many."""
        size = len(message[1])
        if self._queue.qsize() >= MAX_BEHIND or self._size + size > MAX_BEHIND_BYTES:
            self.begin_anew()
            return
        self._size += size
        self._queue.put_nowait(message)

    def begin_anew(self) -> None:
        """Everything, in the place of what was not read yet."""
        while not self._queue.empty():
            self._queue.get_nowait()
        self._size = 0
        self._queue.put_nowait(None)

    async def get(self) -> Message | None:
        """The next one; waits for it."""
        message = await self._queue.get()
        if message is not None:
            self._size -= len(message[1])
        return message
