"""What one seed decides before anything happens: how big the run is, how the bus is tuned, and how often what goes wrong.

Rare branches are made likely: each kind of trouble is absent from half of the seeds, so that the others are seen without it, and in the
other half it is drawn from rare to constant.
"""

import random
from dataclasses import dataclass
from datetime import timedelta

from bus.options import PushOptions

#: Each kind of timed trouble, with the shortest and the longest mean time between two of them, in seconds.
TIMED = {
    "kill": (20, 400),
    "stop": (60, 400),
    "freeze": (30, 300),
    "takeover": (60, 400),
    "reload": (20, 300),
    "clock": (60, 400),
    "outage": (30, 300),
    "partner-mood": (20, 200),
    "operator": (20, 200),
    "prune": (60, 300),
}
#: Each kind of trouble that strikes by chance, with its rarest and its most frequent probability a time.
CHANCES = {
    "die-at-point": (0.001, 0.05),
    "freeze-at-point": (0.001, 0.1),
    "commit-refused": (0.005, 0.1),
    "commit-unknown": (0.005, 0.2),
    "slow-commit": (0.01, 0.3),
    "request-lost": (0.01, 0.3),
    "request-doubled": (0.01, 0.3),
    "answer-lost": (0.01, 0.3),
    "answer-late": (0.01, 0.3),
    "partner-defers": (0.02, 0.5),
    "partner-refuses": (0.02, 0.2),
    "nudge-lost": (0.05, 0.9),
    "our-bug": (0.02, 0.9),
    "other-content": (0.02, 0.3),
    "no-id": (0.05, 0.5),
    "impatient": (0.05, 0.5),
    "confirm-again": (0.05, 0.5),
    "never-confirm": (0.02, 0.3),
    "declines": (0.02, 0.3),
}


@dataclass(frozen=True)
class Knobs:
    """``mean``: seconds between two troubles of a kind; ``chance``: of a trouble, each time. Neither holds what this seed is without.
    ``server``: the store is taken for a server's, not for an embedded one.
    """

    mean: dict[str, float]
    chance: dict[str, float]
    server: bool
    orderly: bool
    messages: int
    horizon: float
    scale: float
    poll: float
    housekeeping: float
    lease: float
    lane: PushOptions
    give_up: timedelta
    first: timedelta
    most: timedelta
    mailbox: timedelta
    confirm_within: timedelta
    nodes: int

    @classmethod
    def draw(cls, dice: random.Random) -> "Knobs":
        """All of it, from the seed's dice."""
        mean = {kind: dice.uniform(*span) for kind, span in TIMED.items() if dice.random() < 0.5}
        chance = {kind: least * (most / least) ** dice.random() for kind, (least, most) in CHANCES.items() if dice.random() < 0.5}
        scale = dice.choice((1.0, 1.0, 1.0, 30.0))
        horizon = dice.uniform(60, 400) * scale
        return cls(
            mean={kind: seconds * scale for kind, seconds in mean.items()},
            chance=chance,
            server=dice.random() < 0.5,
            orderly=dice.random() < 0.2,
            messages=dice.randint(1, 14),
            horizon=horizon,
            scale=scale,
            poll=dice.choice((15.0, 60.0)) * scale,
            housekeeping=dice.choice((20.0, 90.0)) * scale,
            lease=dice.choice((30.0, 180.0)) * scale,
            lane=PushOptions(
                width=dice.choice((1, 2, 32)),
                open_after=dice.choice((1, 2, 5)),
                probe_first=timedelta(seconds=dice.choice((1.0, 30.0)) * scale),
                probe_most=timedelta(seconds=60.0 * scale),
            ),
            give_up=timedelta(seconds=dice.choice((0.3, 1.0, 3.0)) * horizon),
            first=timedelta(seconds=dice.choice((1.0, 30.0))),
            most=timedelta(seconds=dice.choice((30.0, 120.0)) * scale),
            mailbox=timedelta(seconds=dice.choice((0.5, 100.0)) * horizon),
            confirm_within=timedelta(seconds=0.2 * horizon),
            nodes=dice.choice((1, 2, 2, 3)),
        )
