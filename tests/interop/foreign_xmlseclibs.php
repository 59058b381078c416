<?php
/**
 * PHP's xmlseclibs for the cross-verification matrix: the signatures that PHP's SOAP and SAML programs make.
 *
 * It speaks as ForeignStacks.java does: a count of fields, each field's length and octets; A, R or U, a length and octets.
 */

declare(strict_types=1);

use RobRichards\XMLSecLibs\XMLSecurityDSig;
use RobRichards\XMLSecLibs\XMLSecurityKey;

const WSU = 'http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd';
const ENVELOPED = 'http://www.w3.org/2000/09/xmldsig#enveloped-signature';

require $argv[1] . '/xmlseclibs.php';

while (($head = fread(STDIN, 4)) !== '' && $head !== false) {
    $fields = [];
    for ($count = number($head); $count > 0; $count--) {
        $fields[] = octets(number(octets(4)));
    }
    try {
        $letter = 'A';
        $answer = $fields[0] === 'sign' ? sign(...array_slice($fields, 1)) : verify(...array_slice($fields, 1));
    } catch (Throwable $error) {
        $letter = $error->getMessage() === 'Invalid Key Type' ? 'U' : 'R';
        $answer = $error->getMessage();
    }
    fwrite(STDOUT, $letter . pack('N', strlen($answer)) . $answer);
    fflush(STDOUT);
}

function number(string $octets): int
{
    return unpack('N', $octets)[1];
}

function octets(int $count): string
{
    $octets = '';
    while (strlen($octets) < $count) {
        $octets .= fread(STDIN, $count - strlen($octets));
    }
    return $octets;
}

function parsed(string $text): DOMDocument
{
    $document = new DOMDocument();
    $document->loadXML($text);
    return $document;
}

/** References are by the Ids in $ids, or to the whole document; $keyInfo is the content of KeyInfo; $place: where the signature goes. */
function sign(string $key, string $method, string $digest, string $text, string $ids, string $keyInfo, string $place): string
{
    $document = parsed($text);
    $xpath = new DOMXPath($document);
    $signature = new XMLSecurityDSig();
    $signature->setCanonicalMethod(XMLSecurityDSig::EXC_C14N);
    if ($ids === '') {
        $signature->addReference($document, $digest, [ENVELOPED, XMLSecurityDSig::EXC_C14N], ['force_uri' => true]);
    }
    foreach (array_filter(explode(' ', $ids)) as $id) {
        $node = $xpath->query("//*[@*[local-name()='Id']='$id']")->item(0);
        $options = ['overwrite' => false] + ($node->hasAttribute('Id') ? [] : ['prefix' => 'wsu', 'prefix_ns' => WSU]);
        $signature->addReference($node, $digest, [XMLSecurityDSig::EXC_C14N], $options);
    }
    $private = new XMLSecurityKey($method, ['type' => 'private']);
    $private->loadKey($key);
    $signature->sign($private);
    $signature->appendToKeyInfo($signature->sigNode->ownerDocument->importNode(parsed($keyInfo)->documentElement, true));
    $signature->appendSignature($xpath->query("//*[local-name()='$place']")->item(0));
    return $document->saveXML();
}

/** With the certificate's key, whatever KeyInfo says. */
function verify(string $certificate, string $text): string
{
    $document = parsed($text);
    $signature = new XMLSecurityDSig();
    $signature->idKeys = ['wsu:Id'];
    $signature->idNS = ['wsu' => WSU];
    if (!$signature->locateSignature($document)) {
        throw new Exception('there is no signature');
    }
    $signature->canonicalizeSignedInfo();
    $key = $signature->locateKey();
    if (!$key) {
        throw new Exception('Invalid Key Type');
    }
    $key->loadKey($certificate, false, true);
    $signature->validateReference();
    if ($signature->verify($key) !== 1) {
        throw new Exception('verify() did not say 1');
    }
    return '';
}
