using System;
using System.Collections.Generic;
using System.IO;
using System.Net;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Security.Cryptography.Xml;
using System.Text;
using System.Xml;

/// <summary>
/// .NET's SignedXml, as Mono has it, for the cross-verification matrix: a canonical form and a digest that share no code with libxml2.
/// It speaks as ForeignStacks.java does: a count of fields, each field's length and octets; A, R or U, a length and octets.
/// </summary>
public static class ForeignSignedXml
{
    public static void Main()
    {
        var input = new BinaryReader(Console.OpenStandardInput());
        var output = new BinaryWriter(Console.OpenStandardOutput());
        while (true)
        {
            int count;
            try
            {
                count = Number(input);
            }
            catch (EndOfStreamException)
            {
                return;
            }
            var fields = new List<byte[]>();
            for (var i = 0; i < count; i++)
            {
                fields.Add(input.ReadBytes(Number(input)));
            }
            Answer(output, fields);
        }
    }

    private static int Number(BinaryReader input)
    {
        return IPAddress.NetworkToHostOrder(input.ReadInt32());
    }

    private static void Answer(BinaryWriter output, List<byte[]> fields)
    {
        var letter = 'A';
        byte[] octets;
        try
        {
            octets = Text(fields[0]) == "sign" ? Sign(fields) : Verify(fields);
        }
        catch (Exception error)
        {
            letter = error is NotSupportedException || error.Message.Contains("SignatureDescription") ? 'U' : 'R';
            octets = Encoding.UTF8.GetBytes(error.GetType().Name + ": " + error.Message);
        }
        output.Write((byte)letter);
        output.Write(IPAddress.HostToNetworkOrder(octets.Length));
        output.Write(octets);
        output.Flush();
    }

    /// <summary>
    /// key (RSAKeyValue), signature method, digest method, document, references ("uri type" a line), content of KeyInfo, an object or
    /// nothing, local name of the element that the signature goes into.
    /// </summary>
    private static byte[] Sign(List<byte[]> fields)
    {
        var document = Parsed(fields[4]);
        var signed = new ById(document);
        var key = new RSACryptoServiceProvider(new CspParameters(24));
        key.FromXmlString(Text(fields[1]));
        signed.SigningKey = key;
        signed.Signature.Id = "foreign";
        signed.SignedInfo.CanonicalizationMethod = SignedXml.XmlDsigExcC14NTransformUrl;
        signed.SignedInfo.SignatureMethod = Text(fields[2]);
        if (fields[7].Length > 0)
        {
            signed.AddObject(new DataObject { Data = Parsed(fields[7]).ChildNodes });
        }
        foreach (var line in Text(fields[5]).Split('\n'))
        {
            var words = line.Split(' ');
            var reference = new Reference(words[0]) { DigestMethod = Text(fields[3]), Type = words[1].Length > 0 ? words[1] : null };
            if (words[0].Length == 0)
            {
                reference.AddTransform(new XmlDsigEnvelopedSignatureTransform());
            }
            reference.AddTransform(new XmlDsigExcC14NTransform());
            signed.AddReference(reference);
        }
        signed.KeyInfo = new KeyInfo();
        signed.KeyInfo.AddClause(new KeyInfoNode(Parsed(fields[6]).DocumentElement));
        signed.ComputeSignature();
        var place = (XmlElement)document.SelectSingleNode("//*[local-name()='" + Text(fields[8]) + "']");
        place.AppendChild(document.ImportNode(signed.GetXml(), true));
        return Encoding.UTF8.GetBytes(document.OuterXml);
    }

    /// <summary>certificate, document: with the certificate's key, whatever KeyInfo says.</summary>
    private static byte[] Verify(List<byte[]> fields)
    {
        var document = Parsed(fields[2]);
        var signed = new ById(document);
        signed.LoadXml((XmlElement)document.GetElementsByTagName("Signature", SignedXml.XmlDsigNamespaceUrl)[0]);
        if (!signed.CheckSignature(new X509Certificate2(fields[1]).PublicKey.Key))
        {
            throw new CryptographicException("CheckSignature said false");
        }
        return new byte[0];
    }

    private static string Text(byte[] octets)
    {
        return Encoding.UTF8.GetString(octets);
    }

    private static XmlDocument Parsed(byte[] octets)
    {
        var document = new XmlDocument { PreserveWhitespace = true, XmlResolver = null };
        document.Load(new MemoryStream(octets));
        return document;
    }

    /// <summary>SignedXml that finds wsu:Id as well, and what lies in an object that is not in the document yet: what .NET's users write.</summary>
    private sealed class ById : SignedXml
    {
        public ById(XmlDocument document) : base(document)
        {
        }

        public override XmlElement GetIdElement(XmlDocument document, string id)
        {
            var found = Find(document, id);
            foreach (DataObject one in Signature.ObjectList)
            {
                found = found ?? Find(one.GetXml(), id);
            }
            return found;
        }

        private static XmlElement Find(XmlNode where, string id)
        {
            return (XmlElement)where.SelectSingleNode("descendant-or-self::*[@*[local-name()='Id']='" + id + "']");
        }
    }
}
