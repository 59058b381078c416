"""The govbus machine: a durable, evidence-keeping message bus. Start reading at ``engine.py``."""

__version__ = "0.1.0"
