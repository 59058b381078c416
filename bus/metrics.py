"""Prometheus metrics, all of them, each with its sentence. Labels are names from routes.yaml and codes: never ids, never content.

One truth for all workers of a site (``bus.tally``): whichever answers sums up what all have counted, and joins what each says of now. What
is worked out when it is asked for (backlogs, certificates, the disk) is the answering worker's own word and stands on no board.
"""

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from bus.tally import Series, Tally

_TALLY: Final = Tally()
Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. ``join``: what several workers' values are together. ``bounds``: those of a histogram's buckets."""

    name: str
    text: str
    labelled: tuple[str, ...] = ()
    join: Callable[[Sequence[float]], float] = sum
    bounds: tuple[float, ...] = ()

    def labels(self, *values: str) -> Series:
        """The series of these label values."""
        if len(values) != len(self.labelled):
            raise ValueError(f"{self.name} has labels {self.labelled}, not {len(values)} of them")
        return Series(_TALLY, self.name, values, self.bounds)

    def inc(self, amount: float = 1.0) -> None:
        """Count, where there are no labels."""
        self.labels().inc(amount)

    def set(self, value: float) -> None:
        """Say how it stands, where there are no labels."""
        self.labels().set(value)

    @property
    def value(self) -> float:
        """How it stands in this process, where there are no labels."""
        return self.labels().value

    def clear(self) -> None:
        """Take back every series of this process."""
        _TALLY.own.drop(lambda key: key[0] == self.name)

    def families(self) -> Iterator[Family]:
        """As it is exposed."""
        values = _TALLY.together(self.name, self.join)
        if self.bounds:
            yield self._histogram(values)
            return
        counts = self.name.endswith("_total")
        family = (CounterMetricFamily if counts else GaugeMetricFamily)(self.name, self.text, labels=self.labelled)
        for (_, labels), value in values.items():
            family.add_metric(labels, value)
        if not self.labelled and counts and not values:
            family.add_metric((), 0.0)
        yield family

    def _histogram(self, values: Mapping[tuple[str, tuple[str, ...]], float]) -> HistogramMetricFamily:
        family = HistogramMetricFamily(self.name, self.text, labels=self.labelled)
        for labels in dict.fromkeys(labels for _, labels in values):
            total, buckets = 0.0, list[tuple[str, float]]()
            for bound in (*map(str, self.bounds), "+Inf"):
                total += values.get((bound, labels), 0.0)
                buckets.append((bound, total))
            family.add_metric(labels, buckets, values.get(("sum", labels), 0.0))
        return family


@dataclass(slots=True)
class Reading:
    """A gauge that the answering process works out each time it is asked for."""

    name: str
    text: str
    labelled: tuple[str, ...] = ()
    _values: Mapping[tuple[str, ...], float] = field(default_factory=dict)

    def tell(self, values: Mapping[tuple[str, ...], float]) -> None:
        """How it stands now: all of it."""
        self._values = values

    def families(self) -> Iterator[Family]:
        """As it is exposed."""
        family = GaugeMetricFamily(self.name, self.text, labels=self.labelled)
        for labels, value in self._values.items():
            family.add_metric(labels, value)
        yield family


ACCEPTED = Metric("govbus_messages_accepted_total", "Messages accepted for good.", ("route",))
REFUSED = Metric("govbus_messages_refused_total", "Messages refused at the door.", ("endpoint", "code"))
REFUSED_PARTNERS = Metric("govbus_refused_total", "Messages refused at the door, by partner; of strangers where it is empty.", ("partner",))
LEGACY_SIGNATURES = Metric(
    "govbus_legacy_signatures_total",
    "Signatures that counted only because a partner's policy names their method.",
    ("partner", "algorithm"),
)
DELIVERIES = Metric("govbus_attempts_total", "Deliveries by what became of an attempt.", ("target", "outcome"))
BURIED = Metric("govbus_buried_total", "Deliveries that ended behind the door without success.", ("route", "target", "code"))
BACKLOG = Reading("govbus_backlog", "Deliveries standing in a state; 0 for a target that is empty.", ("target", "state"))
OLDEST = Reading("govbus_oldest_delivery_seconds", "Age of the oldest delivery that stands in a state.", ("target", "state"))
MAILBOX_MESSAGES = Reading("govbus_mailbox_messages", "Documents and statuses that wait in a partner's mailbox.", ("owner",))
MAILBOX_BYTES = Reading("govbus_mailbox_bytes", "Octets that wait in a partner's mailbox.", ("owner",))
MAILBOX_SHARE = Reading("govbus_mailbox_share", "How full a partner's mailbox is: 1 where its quota is used up.", ("owner",))
STOPPED_LANES = Metric("govbus_lane_stopped", "1 while a lane sends only probes, because its partner is down.", ("target",), max)
CONDITION = Metric("govbus_condition", "1 while something needs a person's attention: what, and about which part.", ("key", "about"), max)
UNCONFIRMED = Metric("govbus_unconfirmed", "Mailbox deliveries not confirmed within their route's confirm-within.", ("owner",), max)
ATTEMPT_SECONDS = Metric(
    "govbus_attempt_seconds", "Time one attempt took.", ("target",), bounds=(0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0, 300.0)
)
BYTES_IN_FLIGHT = Metric("govbus_door_bytes_in_flight", "Request bytes held in memory at the door.")
POOL_FULL = Metric("govbus_work_put_off_total", "Work that found no room in its pool, and was answered 4.3.2.", ("pool",))
CERTIFICATE_DAYS = Reading("govbus_certificate_days_left", "Days until a certificate expires.", ("name",))
REVOCATION_QUESTIONS = Metric("govbus_revocation_questions_total", "Questions to responders and lists.", ("partner", "kind", "outcome"))
REVOCATION_DOWN = Metric("govbus_revocation_unavailable", "1 while nobody answers about a partner's certificates.", ("partner",), max)
REVOCATION_ACCEPTED = Metric("govbus_revocation_accepted_total", "Uses of certificates of unknown status, by when-unknown.", ("partner",))
TOKEN_UP = Metric("govbus_token_up", "Whether a key in a PKCS#11 token signs.", ("name",), min)
TIMESTAMP_AGE = Metric("govbus_timestamp_age_seconds", "Age of the last time-stamp on the journal, or of the first checkpoint.", (), min)
BROKER = Metric("govbus_broker_connected", "Whether nudges between nodes can be heard and told; without them nodes poll.", ("side",), min)
LOG_LINES_LOST = Metric("govbus_log_lines_lost_total", "Lines of the log that standard error did not take.")
NUDGES = Metric("govbus_nudges_heard_total", "Nudges from other processes of this bus.")
DISK_FREE = Reading("govbus_disk_free_bytes", "Bytes that the daemon may still write under data/.")
BUILD = Reading("govbus_build_info", "1, with the version of govbus and of Python that runs.", ("version", "python"))

#: Everything, in the order of its exposition.
_ALL: Final = tuple(each for each in list(globals().values()) if isinstance(each, Metric | Reading))
#: What says how things stand now: a worker that died says nothing any more.
_GAUGES: Final = frozenset(each.name for each in _ALL if isinstance(each, Metric) and not each.bounds and not each.name.endswith("_total"))


class _Everything(Collector):
    def collect(self) -> Iterable[Family]:
        return (family for each in _ALL for family in each.families())


REGISTRY: Final = CollectorRegistry(auto_describe=False)
REGISTRY.register(_Everything())


def share(workers: Sequence[str]) -> None:
    """Before the workers are forked: let them count together."""
    _TALLY.share(workers)


def join(worker: str) -> None:
    """In a worker, first of all: go on where the one that it replaces left off."""
    _TALLY.join(worker)
    _TALLY.own.drop(lambda key: key[0] in _GAUGES)


def elsewhere(metric: Metric, *values: str) -> float:
    """The largest value of a series in the other workers."""
    return _TALLY.elsewhere((metric.name, "", values))


def standing(metric: Metric) -> dict[tuple[str, ...], float]:
    """How a metric stands, of all workers, by its labels."""
    return {labels: value for (_, labels), value in _TALLY.together(metric.name, metric.join).items()}


def forget(label: str, known: Iterable[str]) -> None:
    """Take back every series of this process whose ``label`` is not among ``known``: what it named was removed by a reload."""
    names = frozenset(known)
    places = {each.name: each.labelled.index(label) for each in _ALL if isinstance(each, Metric) and label in each.labelled}
    _TALLY.own.drop(lambda key: key[0] in places and key[2][places[key[0]]] not in names)


def text() -> bytes:
    """The exposition format, version 0.0.4."""
    return generate_latest(REGISTRY)


def _version() -> str:
    try:
        return version("govbus")
    except PackageNotFoundError:
        return "unknown"


BUILD.tell({(_version(), platform.python_version()): 1.0})
