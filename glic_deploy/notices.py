"""Says that something slower than the best is used: in the package's log, and in a list that `describe()` shows."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

logger = logging.getLogger("glic_deploy")


class Notices:
    """Messages that say what is used instead of the best, why, and what to type. Safe to use from several threads."""

    def __init__(self) -> None:
        self._messages: dict[str, None] = {}
        self._lock = threading.Lock()

    def add(self, message: str) -> None:
        """Log a message as a warning and keep it. A message that is here already is not logged again."""
        with self._lock:
            if message in self._messages:
                return
            self._messages[message] = None
        logger.warning(message)

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._messages))


PROCESS = Notices()
"""What concerns every codec of this process, such as a cache that cannot be written."""
