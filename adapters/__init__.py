"""Channel adapters, both sides of each protocol: ``adapters/<name>`` is ``<name>:`` in routes.yaml. See ``bus/endpoint.py``."""
