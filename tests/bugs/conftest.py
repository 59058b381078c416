"""What tests of a store stand on, for faults that were found in it."""

from store_fixtures import certs, clock, evidence, keyring, open_store, url

__all__ = ["certs", "clock", "evidence", "keyring", "open_store", "url"]
