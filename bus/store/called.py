"""Called: under which names a partner's rows stand (``names`` tells why they are several)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa


@dataclass(slots=True)
class Names:
    """Who is called what: ``became`` leads from each former name to the present one."""

    became: Mapping[str, str] = field(default_factory=dict)

    def current(self, name: str) -> str:
        """What the partner of this name, present or former, is called now."""
        return self.became.get(name, name)

    def of(self, name: str) -> tuple[str, ...]:
        """Every name of the partner, the present one first."""
        now = self.current(name)
        return (now, *sorted(former for former, later in self.became.items() if later == now))


def among(column: sa.ColumnElement[str], names: Sequence[str]) -> sa.ColumnElement[bool]:
    """Whether a column holds one of the names."""
    return column == names[0] if len(names) == 1 else column.in_(list(names))
