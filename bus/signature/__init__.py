"""Signatures on XML: one strict profile each for XML-DSig, XAdES and WS-Security; deny by default.

``xmldsig``          an enveloped signature on a document
``xmldsig_by_id``    a signature on one element of a document
``xades``            an enveloped one with signed properties: who, when (XAdES-B-B), and its time-stamp (B-T)
``xades_files``      the same over files beside it, as containers have them
``wss``              a SOAP envelope's Body, Timestamp, headers and attachments, signed by an X.509 token
``username``         a SOAP envelope's UsernameToken
``policy``           which signature methods count for whom

Each verifier raises ``Rejected`` or returns what was verified: the octets that the signature covers, never a flag.
"""
