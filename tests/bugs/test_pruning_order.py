"""What was said of prunings counts in the order in which it was written, whatever the time of day was."""

from functools import partial

from bus.store import pruning


async def test_the_last_word_on_a_pruning_is_the_last_that_was_written(open_store, clock) -> None:
    """The clock stepped back between two prunings: the later one is read last all the same."""
    store = open_store()
    for event in ("pruning", "pruned"):
        await store._write(partial(pruning._say, event=event, detail={"number": 1}))
    clock.advance(hours=-1)
    for event in ("pruning", "pruned"):
        await store._write(partial(pruning._say, event=event, detail={"number": 2}))
    with store.snapshot() as snapshot:
        assert [(row.event, '"number":2' in row.detail) for row in snapshot.prunings()] == [
            ("pruning", False),
            ("pruned", False),
            ("pruning", True),
            ("pruned", True),
        ]
