"""Proofs: one message's evidence, put together from the store, and verified by someone who has neither the store nor our word.

``manifest``    what the parts of an evidence are: ``evidence.json``
``collecting``  from the store, or an archive of it, to the parts; ``used``: by which route, schema and stylesheet
``given``       the verifier's own trust, a directory in which each role has a place of its own
``authorities`` whom a verification believes, and in which role: by that directory, or by the certificates named in the container
``case``        a container's parts, read strictly, for the topics to look at
``chain``       journal rows, checkpoints and time-stamps          ``sender``    the sender's signed request
``outcomes``    receipts, deliveries and partners' replies         ``verifying`` all of it, line by line

``collect`` and ``verify`` are the way in. The file is an ASiC-E container (``bus.asic``); docs/evidence.md says how to check it without us.
"""

from bus.proofs.collecting import Sources, collect
from bus.proofs.lines import Line, Report, Verdict
from bus.proofs.verifying import verify

__all__ = ["Line", "Report", "Sources", "Verdict", "collect", "verify"]
