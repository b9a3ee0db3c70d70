"""Trials whose work reports through a callback."""

from collections.abc import Callable, Iterator
from queue import SimpleQueue
from threading import Thread
from typing import Any

from rec_rl.experiments.runner import Event


def telling(work: Callable[[Callable[[Event], None]], dict[str, Any]]) -> Iterator[Event]:
    """Runs ``work`` in a thread and yields what it tells, then its result."""
    events: SimpleQueue[Event | BaseException] = SimpleQueue()

    def run() -> None:
        try:
            events.put({"result": work(events.put)})
        except BaseException as error:  # handed to the reader, who raises it
            events.put(error)

    Thread(target=run, daemon=True).start()
    while True:
        event = events.get()
        if isinstance(event, BaseException):
            raise event
        yield event
        if "result" in event:
            return
