"""Prometheus metrics, all of them, each with its sentence. Labels are names from routes.yaml and codes: never ids, never content."""

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, generate_latest

ACCEPTED = Counter("govbus_messages_accepted_total", "Messages accepted for good.", ["route"])
REFUSED = Counter("govbus_messages_refused_total", "Messages refused at the door.", ["endpoint", "code"])
LEGACY_SIGNATURES = Counter(
    "govbus_legacy_signatures_total",
    "Signatures that counted only because a partner's policy names their method.",
    ["partner", "algorithm"],
)
DELIVERIES = Counter("govbus_attempts_total", "Deliveries by what became of an attempt.", ["target", "outcome"])
BACKLOG = Gauge("govbus_backlog", "Deliveries standing in a state.", ["target", "state"])
OLDEST = Gauge("govbus_oldest_delivery_seconds", "Age of the oldest delivery that stands in a state.", ["target", "state"])
STOPPED_LANES = Gauge("govbus_lane_stopped", "1 while a lane sends only probes, because its partner is down.", ["target"])
UNCONFIRMED = Gauge("govbus_unconfirmed", "Mailbox deliveries not confirmed within their route's confirm-within.", ["owner"])
ATTEMPT_SECONDS = Histogram(
    "govbus_attempt_seconds", "Time one attempt took.", ["target"], buckets=(0.001, 0.005, 0.02, 0.1, 0.5, 2, 10, 60, 300)
)
BYTES_IN_FLIGHT = Gauge("govbus_door_bytes_in_flight", "Request bytes held in memory at the door.")
CERTIFICATE_DAYS = Gauge("govbus_certificate_days_left", "Days until a certificate expires.", ["name"])
REVOCATION_QUESTIONS = Counter("govbus_revocation_questions_total", "Questions to responders and lists.", ["partner", "kind", "outcome"])
REVOCATION_DOWN = Gauge("govbus_revocation_unavailable", "1 while nobody answers about a partner's certificates.", ["partner"])
REVOCATION_ACCEPTED = Counter("govbus_revocation_accepted_total", "Uses of certificates of unknown status, by when-unknown.", ["partner"])
TOKEN_UP = Gauge("govbus_token_up", "Whether a key in a PKCS#11 token signs.", ["name"])

TIMESTAMP_AGE = Gauge("govbus_timestamp_age_seconds", "Age of the last time-stamp on the journal, or of the first checkpoint.")

BROKER = Gauge("govbus_broker_connected", "Whether nudges between nodes can be heard and told; without them nodes poll.", ["side"])
LOG_LINES_LOST = Counter("govbus_log_lines_lost_total", "Lines of the log that standard error did not take.")
NUDGES = Counter("govbus_nudges_heard_total", "Nudges from other processes of this bus.")


def text() -> bytes:
    """The exposition format, version 0.0.4."""
    return generate_latest(REGISTRY)
