"""Collect warnings about slow configurations: they are logged, and `describe()` lists them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

logger = logging.getLogger("glic_deploy")


class Notices:
    """Collect messages that say what is slower than necessary, why, and what to type. Threads may share the object."""

    def __init__(self) -> None:
        self._messages: dict[str, None] = {}
        self._lock = threading.Lock()

    def add(self, message: str) -> None:
        """Log a message as a warning and keep it. A message that was added before is not logged again."""
        with self._lock:
            if message in self._messages:
                return
            self._messages[message] = None
        logger.warning(message)

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._messages))


PROCESS = Notices()
"""Notices that concern every codec of this process, such as a cache that cannot be written."""
