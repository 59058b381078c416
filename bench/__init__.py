"""The bus, measured against its floor (``make bench``): how near it comes to the best known way of doing the same work."""
