"""The other side: partner sites, their systems' clients, documents to send, and the demo that plays them against the bus."""
