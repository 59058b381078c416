"""PDF signatures: where the legal signature of an official document is (Decree 30/2020/NĐ-CP, appendix I; ISO 32000-1 12.8; PAdES).

``find`` tells in microseconds whether octets are a PDF that may be signed; ``Inspector.inspect`` says what each of its signatures proves.
The parser (pyHanko) works in a process of its own with limits of its own: a hostile PDF can end that process and nothing else.

Standards: ISO 32000-1 (PDF 1.7) sections 12.8 and 7.5.6 (incremental updates), ETSI EN 319 142-1 (PAdES), RFC 5652 (CMS), RFC 3161.
"""

from bus.pdf.inspector import Inspector, Limits, anchors_of, inspector
from bus.pdf.report import Anchors, Inspection, Signature, State, find

__all__ = ["Anchors", "Inspection", "Inspector", "Limits", "Signature", "State", "anchors_of", "find", "inspector"]
