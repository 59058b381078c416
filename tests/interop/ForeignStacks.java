import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.security.KeyFactory;
import java.security.KeyStore;
import java.security.PrivateKey;
import java.security.Provider;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import javax.security.auth.callback.Callback;
import javax.security.auth.callback.CallbackHandler;
import javax.xml.crypto.dom.DOMCryptoContext;
import javax.xml.crypto.dom.DOMStructure;
import javax.xml.crypto.dsig.CanonicalizationMethod;
import javax.xml.crypto.dsig.Reference;
import javax.xml.crypto.dsig.SignedInfo;
import javax.xml.crypto.dsig.Transform;
import javax.xml.crypto.dsig.XMLObject;
import javax.xml.crypto.dsig.XMLSignature;
import javax.xml.crypto.dsig.XMLSignatureFactory;
import javax.xml.crypto.dsig.dom.DOMSignContext;
import javax.xml.crypto.dsig.dom.DOMValidateContext;
import javax.xml.crypto.dsig.keyinfo.KeyInfo;
import javax.xml.crypto.dsig.keyinfo.KeyInfoFactory;
import javax.xml.crypto.dsig.spec.C14NMethodParameterSpec;
import javax.xml.crypto.dsig.spec.TransformParameterSpec;
import javax.xml.parsers.DocumentBuilderFactory;
import javax.xml.transform.OutputKeys;
import javax.xml.transform.Transformer;
import javax.xml.transform.TransformerFactory;
import javax.xml.transform.dom.DOMSource;
import javax.xml.transform.stream.StreamResult;
import org.apache.ws.security.WSConstants;
import org.apache.ws.security.WSDataRef;
import org.apache.ws.security.WSEncryptionPart;
import org.apache.ws.security.WSPasswordCallback;
import org.apache.ws.security.WSSecurityEngine;
import org.apache.ws.security.WSSecurityEngineResult;
import org.apache.ws.security.components.crypto.Merlin;
import org.apache.ws.security.message.WSSecEncrypt;
import org.apache.ws.security.message.WSSecHeader;
import org.apache.ws.security.message.WSSecSignature;
import org.apache.ws.security.message.WSSecTimestamp;
import org.apache.ws.security.message.WSSecUsernameToken;
import org.apache.ws.security.message.token.UsernameToken;
import org.w3c.dom.Document;
import org.w3c.dom.Element;
import org.w3c.dom.Node;
import org.w3c.dom.NodeList;

/**
 * Java's signature stacks for the cross-verification matrix, behind one loop on standard input and output: the JDK's own
 * javax.xml.crypto, Apache Santuario as its provider, and Apache WSS4J for whole envelopes. None of them shares code with the bus.
 *
 * <p>A request is a count of fields, then each field's length and octets; the first field names the work. An answer is one letter, a length
 * and octets: A with what was asked for, R with why it was refused, U with what the stack does not support.
 */
public final class ForeignStacks {
    private static final String PASSWORD = "only-in-memory";
    private static final Set<String> UNKNOWN_HERE = Set.of("NoSuchAlgorithmException", "NoSuchMechanismException", "InvalidKeySpecException");

    private ForeignStacks() {}

    public static void main(String[] arguments) throws Exception {
        DataInputStream in = new DataInputStream(System.in);
        DataOutputStream out = new DataOutputStream(System.out);
        System.setOut(new PrintStream(System.err));
        org.apache.xml.security.Init.init();
        while (true) {
            int count;
            try {
                count = in.readInt();
            } catch (java.io.EOFException end) {
                return;
            }
            List<byte[]> fields = new ArrayList<>();
            for (int i = 0; i < count; i++) {
                fields.add(in.readNBytes(in.readInt()));
            }
            answer(out, fields);
        }
    }

    private static void answer(DataOutputStream out, List<byte[]> fields) throws Exception {
        char letter = 'A';
        byte[] octets;
        try {
            octets = work(text(fields.get(0)), fields.subList(1, fields.size()));
        } catch (Exception | LinkageError error) {
            letter = unsupported(error) ? 'U' : 'R';
            octets = innermost(error).toString().getBytes(StandardCharsets.UTF_8);
        }
        out.writeByte(letter);
        out.writeInt(octets.length);
        out.write(octets);
        out.flush();
    }

    private static byte[] work(String name, List<byte[]> fields) throws Exception {
        switch (name) {
            case "version": return System.getProperty("java.version").getBytes(StandardCharsets.UTF_8);
            case "sign": return sign(fields);
            case "verify": return verify(fields);
            case "wss-sign": return wssSign(fields);
            case "wss-verify": return wssVerify(fields);
            case "encrypt": return encrypt(fields);
            case "decrypt": return decrypt(fields);
            case "username": return username(fields);
            case "username-verify": return usernameVerify(fields);
            default: throw new IllegalArgumentException(name);
        }
    }

    // --- XML-DSig and XAdES: JSR 105, by the JDK's provider or by Santuario's -----------------------------------------

    private static Provider provider(byte[] stack) throws Exception {
        return text(stack).equals("jdk")
                ? java.security.Security.getProvider("XMLDSig")
                : new org.apache.jcp.xml.dsig.internal.dom.XMLDSigRI();
    }

    /** stack, key, certificate, signature method, digest method, document, "#" and an Id or nothing, signed properties or nothing. */
    private static byte[] sign(List<byte[]> fields) throws Exception {
        XMLSignatureFactory factory = XMLSignatureFactory.getInstance("DOM", provider(fields.get(0)));
        X509Certificate certificate = certificate(fields.get(2));
        Document document = parse(fields.get(5));
        String uri = text(fields.get(6));
        byte[] properties = fields.get(7);
        List<Reference> references = new ArrayList<>();
        String[] transforms = uri.isEmpty()
                ? new String[] {Transform.ENVELOPED, CanonicalizationMethod.EXCLUSIVE}
                : new String[] {CanonicalizationMethod.EXCLUSIVE};
        references.add(reference(factory, uri, text(fields.get(4)), null, transforms));
        List<XMLObject> objects = new ArrayList<>();
        DOMSignContext context = new DOMSignContext(privateKey(fields.get(1), certificate), document.getDocumentElement());
        registerIds(context, document);
        if (properties.length > 0) {
            Element qualifying = (Element) document.importNode(parse(properties).getDocumentElement(), true);
            Element signed = (Element) qualifying.getFirstChild();
            context.setIdAttributeNS(signed, null, "Id");
            objects.add(factory.newXMLObject(List.of(new DOMStructure(qualifying)), null, null, null));
            String type = "http://uri.etsi.org/01903#SignedProperties";
            references.add(reference(factory, "#" + signed.getAttribute("Id"), text(fields.get(4)), type, CanonicalizationMethod.EXCLUSIVE));
        }
        SignedInfo info = factory.newSignedInfo(
                factory.newCanonicalizationMethod(CanonicalizationMethod.EXCLUSIVE, (C14NMethodParameterSpec) null),
                factory.newSignatureMethod(text(fields.get(3)), null),
                references);
        KeyInfoFactory keys = factory.getKeyInfoFactory();
        KeyInfo keyInfo = keys.newKeyInfo(List.of(keys.newX509Data(List.of(certificate))));
        factory.newXMLSignature(info, keyInfo, objects, "foreign", null).sign(context);
        return octets(document);
    }

    private static Reference reference(XMLSignatureFactory factory, String uri, String digest, String type, String... names)
            throws Exception {
        List<Transform> transforms = new ArrayList<>();
        for (String name : names) {
            transforms.add(factory.newTransform(name, (TransformParameterSpec) null));
        }
        return factory.newReference(uri, factory.newDigestMethod(digest, null), transforms, type, null);
    }

    /** Every Id that there is: these are tests of signatures, and not of what they cover. */
    private static void registerIds(DOMCryptoContext context, Document document) {
        NodeList elements = document.getElementsByTagName("*");
        for (int i = 0; i < elements.getLength(); i++) {
            Element element = (Element) elements.item(i);
            if (element.hasAttributeNS(null, "Id")) {
                context.setIdAttributeNS(element, null, "Id");
            }
        }
    }

    /** stack, certificate, document, directory of the files that it refers to or nothing: with the certificate's key, whatever KeyInfo says. */
    private static byte[] verify(List<byte[]> fields) throws Exception {
        XMLSignatureFactory factory = XMLSignatureFactory.getInstance("DOM", provider(fields.get(0)));
        Document document = parse(fields.get(2));
        Element element = (Element) document.getElementsByTagNameNS(XMLSignature.XMLNS, "Signature").item(0);
        DOMValidateContext context = new DOMValidateContext(certificate(fields.get(1)).getPublicKey(), element);
        registerIds(context, document);
        if (fields.get(3).length > 0) {
            // Files beside the signature are what secure validation forbids.
            context.setProperty("org.jcp.xml.dsig.secureValidation", Boolean.FALSE);
            context.setProperty("org.apache.jcp.xml.dsig.secureValidation", Boolean.FALSE);
            context.setBaseURI(text(fields.get(3)));
        }
        XMLSignature signature = factory.unmarshalXMLSignature(context);
        if (!signature.validate(context)) {
            throw new SecurityException("validate() said false");
        }
        return new byte[0];
    }

    // --- WS-Security: WSS4J -------------------------------------------------------------------------------------------

    /** key, certificate, signature method, digest method, kind of token reference, envelope. */
    private static byte[] wssSign(List<byte[]> fields) throws Exception {
        X509Certificate certificate = certificate(fields.get(1));
        Document document = parse(fields.get(5));
        WSSecHeader header = new WSSecHeader();
        header.insertSecurityHeader(document);
        WSSecTimestamp timestamp = new WSSecTimestamp();
        timestamp.setTimeToLive(300);
        timestamp.build(document, header);
        WSSecSignature signature = new WSSecSignature();
        signature.setUserInfo("key", PASSWORD);
        signature.setKeyIdentifierType(Map.of(
                "bst", WSConstants.BST_DIRECT_REFERENCE,
                "issuer-serial", WSConstants.ISSUER_SERIAL,
                "x509-identifier", WSConstants.X509_KEY_IDENTIFIER,
                "ski", WSConstants.SKI_KEY_IDENTIFIER,
                "thumbprint", WSConstants.THUMBPRINT_IDENTIFIER).get(text(fields.get(4))));
        if (fields.get(2).length > 0) {
            signature.setSignatureAlgorithm(text(fields.get(2)));
            signature.setDigestAlgo(text(fields.get(3)));
        }
        String soap = document.getDocumentElement().getNamespaceURI();
        List<WSEncryptionPart> parts = new ArrayList<>();
        parts.add(new WSEncryptionPart("Body", soap, "Content"));
        parts.add(new WSEncryptionPart("Timestamp", WSConstants.WSU_NS, "Element"));
        NodeList addressing = document.getElementsByTagNameNS("http://www.w3.org/2005/08/addressing", "*");
        for (int i = 0; i < addressing.getLength(); i++) {
            parts.add(new WSEncryptionPart(addressing.item(i).getLocalName(), addressing.item(i).getNamespaceURI(), "Element"));
        }
        signature.setParts(parts);
        signature.build(document, holding(fields.get(0), certificate), header);
        return octets(document);
    }

    /** the partner's certificate, its authority, envelope. The Body and the Timestamp must be what was signed, by identity. */
    private static byte[] wssVerify(List<byte[]> fields) throws Exception {
        KeyStore known = KeyStore.getInstance("PKCS12");
        known.load(null, null);
        known.setCertificateEntry("partner", certificate(fields.get(0)));
        KeyStore trusted = KeyStore.getInstance("PKCS12");
        trusted.load(null, null);
        trusted.setCertificateEntry("authority", certificate(fields.get(1)));
        Merlin crypto = new Merlin();
        crypto.setKeyStore(known);
        crypto.setTrustStore(trusted);
        Document document = parse(fields.get(2));
        List<WSSecurityEngineResult> results = new WSSecurityEngine().processSecurityHeader(document, null, null, crypto);
        Set<Node> covered = new HashSet<>();
        for (WSSecurityEngineResult result : results == null ? List.<WSSecurityEngineResult>of() : results) {
            if (Integer.valueOf(WSConstants.SIGN).equals(result.get(WSSecurityEngineResult.TAG_ACTION))) {
                for (Object one : (List<?>) result.get(WSSecurityEngineResult.TAG_DATA_REF_URIS)) {
                    covered.add(((WSDataRef) one).getProtectedElement());
                }
            }
        }
        Element root = document.getDocumentElement();
        Node body = root.getElementsByTagNameNS(root.getNamespaceURI(), "Body").item(0);
        Node timestamp = root.getElementsByTagNameNS(WSConstants.WSU_NS, "Timestamp").item(0);
        if (!covered.contains(body) || !covered.contains(timestamp)) {
            throw new SecurityException("Body and Timestamp are not covered");
        }
        return new byte[0];
    }

    /** the recipient's certificate, encryption method, envelope: the Body's content encrypted, the key under RSA-OAEP. */
    private static byte[] encrypt(List<byte[]> fields) throws Exception {
        Document document = parse(fields.get(2));
        WSSecHeader header = new WSSecHeader();
        header.insertSecurityHeader(document);
        WSSecEncrypt encryption = new WSSecEncrypt();
        encryption.setUseThisCert(certificate(fields.get(0)));
        encryption.setKeyIdentifierType(WSConstants.ISSUER_SERIAL);
        encryption.setSymmetricEncAlgorithm(text(fields.get(1)));
        encryption.setKeyEncAlgo(WSConstants.KEYTRANSPORT_RSAOEP);
        encryption.build(document, new Merlin(), header);
        return octets(document);
    }

    /** our key, our certificate, envelope: gives the envelope as it was before it was encrypted. */
    private static byte[] decrypt(List<byte[]> fields) throws Exception {
        X509Certificate certificate = certificate(fields.get(1));
        Document document = parse(fields.get(2));
        new WSSecurityEngine().processSecurityHeader(document, null, password(PASSWORD), null, holding(fields.get(0), certificate));
        return octets(document);
    }

    /** name, password, "digest" or "text", envelope: a UsernameToken with a nonce and the time. */
    private static byte[] username(List<byte[]> fields) throws Exception {
        Document document = parse(fields.get(3));
        WSSecHeader header = new WSSecHeader();
        header.insertSecurityHeader(document);
        WSSecUsernameToken token = new WSSecUsernameToken();
        token.setPasswordType(text(fields.get(2)).equals("digest") ? WSConstants.PASSWORD_DIGEST : WSConstants.PASSWORD_TEXT);
        token.setUserInfo(text(fields.get(0)), text(fields.get(1)));
        token.addNonce();
        token.addCreated();
        token.build(document, header);
        return octets(document);
    }

    /** password, envelope: gives the name that the token proves. */
    private static byte[] usernameVerify(List<byte[]> fields) throws Exception {
        CallbackHandler known = password(text(fields.get(0)));
        for (WSSecurityEngineResult result : new WSSecurityEngine().processSecurityHeader(parse(fields.get(1)), null, known, null)) {
            if (result.get(WSSecurityEngineResult.TAG_USERNAME_TOKEN) != null) {
                UsernameToken token = (UsernameToken) result.get(WSSecurityEngineResult.TAG_USERNAME_TOKEN);
                return token.getName().getBytes(StandardCharsets.UTF_8);
            }
        }
        throw new SecurityException("there is no UsernameToken");
    }

    private static Merlin holding(byte[] key, X509Certificate certificate) throws Exception {
        KeyStore store = KeyStore.getInstance("PKCS12");
        store.load(null, null);
        store.setKeyEntry("key", privateKey(key, certificate), PASSWORD.toCharArray(), new Certificate[] {certificate});
        Merlin crypto = new Merlin();
        crypto.setKeyStore(store);
        return crypto;
    }

    private static CallbackHandler password(String password) {
        return callbacks -> {
            for (Callback one : callbacks) {
                ((WSPasswordCallback) one).setPassword(password);
            }
        };
    }

    // --- octets and objects -------------------------------------------------------------------------------------------

    private static String text(byte[] octets) {
        return new String(octets, StandardCharsets.UTF_8);
    }

    private static X509Certificate certificate(byte[] der) throws Exception {
        return (X509Certificate) CertificateFactory.getInstance("X.509").generateCertificate(new ByteArrayInputStream(der));
    }

    private static PrivateKey privateKey(byte[] pkcs8, X509Certificate certificate) throws Exception {
        return KeyFactory.getInstance(certificate.getPublicKey().getAlgorithm()).generatePrivate(new PKCS8EncodedKeySpec(pkcs8));
    }

    private static Document parse(byte[] octets) throws Exception {
        DocumentBuilderFactory factory = DocumentBuilderFactory.newInstance();
        factory.setNamespaceAware(true);
        return factory.newDocumentBuilder().parse(new ByteArrayInputStream(octets));
    }

    private static byte[] octets(Document document) throws Exception {
        Transformer transformer = TransformerFactory.newInstance().newTransformer();
        transformer.setOutputProperty(OutputKeys.OMIT_XML_DECLARATION, "yes");
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        transformer.transform(new DOMSource(document), new StreamResult(out));
        return out.toByteArray();
    }

    private static boolean unsupported(Throwable error) {
        for (Throwable one = error; one != null; one = one.getCause()) {
            if (UNKNOWN_HERE.contains(one.getClass().getSimpleName()) || String.valueOf(one.getMessage()).contains("nsupported")) {
                return true;
            }
        }
        return false;
    }

    private static Throwable innermost(Throwable error) {
        Throwable found = error;
        while (found.getCause() != null) {
            found = found.getCause();
        }
        return found;
    }
}
