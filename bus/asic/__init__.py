"""ASiC-E: signed containers that prove themselves to whoever holds the file, as ETSI EN 319 162-1 has them.

``zipped``     the ZIP file: written in one way only, and read only where it was written in that way
``container``  what an ASiC-E container holds beside its files: ``mimetype``, the manifest, one XAdES signature over all of them

One way only, because a file format with room in it can be changed without anyone noticing: each octet of a container is either covered by
the signature, or is what it must be.
"""

from bus.asic.container import SUFFIX, Container, read, write

__all__ = ["SUFFIX", "Container", "read", "write"]
