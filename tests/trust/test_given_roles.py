"""The rule by which a verifier's places vouch: pinned before authorities, and an authority of two parties vouches for neither."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from authority_server import Issuer, pem
from cryptography import x509

from bus.proofs import given
from bus.proofs.given import Given, Unvouched

A, B, SITE = "partners/000.00.00.G18", "partners/000.00.00.G22", "site"


def laid(root: Path, **places: tuple[x509.Certificate, ...]) -> Given:
    """A trust directory: ``a``, ``b`` and ``site`` with these certificates."""
    for name, certificates in places.items():
        place = root / {"a": A, "b": B}.get(name, name)
        place.mkdir(parents=True)
        for number, one in enumerate(certificates):
            (place / f"{number}.crt").write_bytes(pem(one))
    return given.read(root)


def who(trust: Given, place: str, certificate: x509.Certificate) -> str:
    """The place that vouches, or the key of the refusal."""
    try:
        return trust.who([place], certificate, datetime.now(UTC))
    except Unvouched as refusal:
        return refusal.key


def test_an_authority_of_two_parties_vouches_for_neither_and_a_pinned_certificate_does(tmp_path: Path) -> None:
    """The Government's authority has issued certificates to everybody: its word says that there is such a holder, not which party it is."""
    shared = Issuer("CA Chính phủ")
    a, b, site = (shared.leaf(name) for name in ("A", "B", "site"))
    both = laid(tmp_path / "shared", a=(shared.certificate,), b=(shared.certificate,), site=(shared.certificate,))
    assert [who(both, place, one) for place in (A, B, SITE) for one in (a, b, site)] == ["certificate-ambiguous"] * 9
    pinned = laid(tmp_path / "pinned", a=(a, shared.certificate), b=(b, shared.certificate), site=(site, shared.certificate))
    assert [who(pinned, place, one) for place, one in ((A, a), (B, b), (SITE, site))] == [A, B, SITE]
    assert [who(pinned, place, one) for place, one in ((A, b), (B, a), (SITE, a), (SITE, b), (A, site))] == ["certificate-elsewhere"] * 5


def test_a_certificate_pinned_in_one_place_does_not_count_in_another_by_a_shared_authority(tmp_path: Path) -> None:
    """The site is known by the shared authority, the partner by its own certificate: that one does not sign for the site."""
    shared = Issuer("CA Chính phủ")
    a, site = shared.leaf("A"), shared.leaf("site")
    trust = laid(tmp_path, a=(a,), site=(shared.certificate,))
    assert (who(trust, SITE, a), who(trust, SITE, site), who(trust, A, site)) == ("certificate-elsewhere", SITE, "certificate-elsewhere")


def test_the_same_certificate_laid_into_two_places_is_both(tmp_path: Path) -> None:
    """A ministry that runs the site and is a party of it: whoever lays exactly its certificate into both places has said so."""
    own = Issuer("CA").leaf("Bộ")
    trust = laid(tmp_path, a=(own,), site=(own,))
    assert (who(trust, A, own), who(trust, SITE, own)) == (A, SITE)


def test_intermediates_of_one_place_do_not_lead_into_another(tmp_path: Path) -> None:
    """One root, an intermediate for the site and one for a partner: the partner's leaf has no path in the site's place."""
    root = Issuer("Root")
    ours, theirs = Issuer("CA site", parent=root), Issuer("CA A", parent=root)
    leaf, own = theirs.leaf("A"), ours.leaf("site")
    trust = laid(tmp_path, a=(theirs.certificate,), site=(root.certificate, ours.certificate))
    assert (who(trust, A, leaf), who(trust, SITE, own), who(trust, SITE, leaf)) == (A, SITE, "certificate-elsewhere")
    alone = laid(tmp_path / "alone", site=(root.certificate, ours.certificate))
    assert who(alone, SITE, leaf) == "certificate-unvouched"


def test_a_cross_signed_authority_counts_where_its_cross_certificate_lies(tmp_path: Path) -> None:
    """The partner's authority has a certificate of the site's root, too. In the partner's place it vouches for the partner alone."""
    root = Issuer("Root")
    theirs = Issuer("CA A")
    extensions = [(one.value, one.critical) for one in theirs.certificate.extensions]
    cross = root.sign("CA A", theirs.key.public_key(), extensions, theirs.certificate.not_valid_after_utc - datetime.now(UTC))
    leaf = theirs.leaf("A")
    trust = laid(tmp_path, a=(theirs.certificate, cross), site=(root.certificate,))
    assert (who(trust, A, leaf), who(trust, SITE, leaf)) == (A, "certificate-elsewhere")
    both = laid(tmp_path / "both", a=(theirs.certificate,), site=(root.certificate, cross))
    assert who(both, SITE, leaf) == who(both, A, leaf) == "certificate-ambiguous"


@pytest.mark.parametrize("names", [("Bộ Thông tin", "Root"), ("site", "Root")])
def test_names_in_certificates_decide_nothing(tmp_path: Path, names: tuple[str, str]) -> None:
    """An authority of the same name and a leaf of the same name, with other keys."""
    root, false = Issuer("Root"), Issuer(names[1])
    trust = laid(tmp_path, site=(root.certificate,), a=(false.certificate,))
    assert (who(trust, SITE, false.leaf(names[0])), who(trust, SITE, root.leaf(names[0]))) == ("certificate-elsewhere", SITE)
