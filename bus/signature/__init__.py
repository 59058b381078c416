"""Signatures on XML: one strict profile each for XML-DSig, XAdES and WS-Security; deny by default.

``xmldsig``    an enveloped signature on a document
``xades``      the same with signed properties: who, when (XAdES-B-B)
``wss``        a SOAP envelope's Body and Timestamp, signed by an X.509 token
``username``   a SOAP envelope's UsernameToken

Each verifier raises ``Rejected`` or returns what was verified: the octets that the signature covers, never a flag.
"""
