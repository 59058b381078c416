<?xml version="1.0" encoding="UTF-8"?>
<!--
  An edXML document (normalised: see normalise.xsl) for the partner agency's incoming register, in the agency's own format
  urn:example:agency:incoming:v1 (agency.xsd; both are fictitious). Files are copied as base64, once; one that the exchange wrapped in
  a single-entry zip is marked packed="zip", because XSLT cannot unpack it. Runs with every access denied.
-->
<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform" xmlns="urn:example:agency:incoming:v1"
                xmlns:q="http://www.mic.gov.vn/TBT/QCVN_102_2016" exclude-result-prefixes="q">
  <xsl:output method="xml" encoding="UTF-8" indent="no"/>
  <xsl:strip-space elements="*"/>

  <xsl:variable name="header" select="/q:edXML/q:edXMLEnvelope/q:edXMLHeader/q:MessageHeader"/>
  <xsl:variable name="business" select="/q:edXML/q:edXMLEnvelope/q:edXMLHeader/q:TraceHeaderList/q:Bussiness"/>
  <xsl:variable name="files" select="/q:edXML/q:AttachmentEncoded/q:Attachment"/>

  <xsl:template match="/">
    <IncomingDocument id="{normalize-space($header/q:DocumentId)}">
      <ReferenceNumber><xsl:value-of select="concat(normalize-space($header/q:Code/q:CodeNumber), '/', normalize-space($header/q:Code/q:CodeNotation))"/></ReferenceNumber>
      <Kind><xsl:call-template name="kind"/></Kind>
      <xsl:if test="normalize-space($header/q:DocumentType/q:TypeName)"><Type><xsl:value-of select="$header/q:DocumentType/q:TypeName"/></Type></xsl:if>
      <Subject><xsl:value-of select="normalize-space($header/q:Subject)"/></Subject>
      <Issuer code="{normalize-space($header/q:From/q:OrganId)}"><xsl:value-of select="$header/q:From/q:OrganName"/></Issuer>
      <Recipients>
        <xsl:for-each select="$header/q:To">
          <Recipient code="{normalize-space(q:OrganId)}"><xsl:value-of select="q:OrganName"/></Recipient>
        </xsl:for-each>
      </Recipients>
      <xsl:if test="normalize-space($header/q:SignerInfo/q:FullName)"><Signer><xsl:value-of select="$header/q:SignerInfo/q:FullName"/></Signer></xsl:if>
      <IssuedOn><xsl:call-template name="date"><xsl:with-param name="text" select="$header/q:PromulgationInfo/q:PromulgationDate"/></xsl:call-template></IssuedOn>
      <xsl:if test="normalize-space($header/q:DueDate)">
        <AnswerBy><xsl:call-template name="date"><xsl:with-param name="text" select="$header/q:DueDate"/></xsl:call-template></AnswerBy>
      </xsl:if>
      <Urgency><xsl:call-template name="urgency"/></Urgency>
      <xsl:for-each select="$header/q:ResponseFor[normalize-space(q:DocumentId) or normalize-space(q:Code)]">
        <RepliesTo id="{normalize-space(q:DocumentId)}"><xsl:value-of select="q:Code"/></RepliesTo>
      </xsl:for-each>
      <Files><xsl:apply-templates select="$files"/></Files>
    </IncomingDocument>
  </xsl:template>

  <xsl:template match="q:Attachment">
    <xsl:variable name="name" select="translate(q:AttachmentName, 'ABCDEFGHIJKLMNOPQRSTUVWXYZ', 'abcdefghijklmnopqrstuvwxyz')"/>
    <File mediaType="application/octet-stream">
      <xsl:call-template name="media-type"><xsl:with-param name="name" select="$name"/></xsl:call-template>
      <xsl:if test="normalize-space(q:ContentType) = 'application/zip' and substring($name, string-length($name) - 3) != '.zip'">
        <xsl:attribute name="packed">zip</xsl:attribute>
      </xsl:if>
      <Name><xsl:value-of select="q:AttachmentName"/></Name>
      <xsl:if test="normalize-space(q:Description)"><Description><xsl:value-of select="q:Description"/></Description></xsl:if>
      <Content><xsl:copy-of select="q:ContentTransferEncoded/text()"/></Content>
    </File>
  </xsl:template>

  <!-- The media type of the file itself, by its name's ending; the attribute given first stands for all others. -->
  <xsl:template name="media-type">
    <xsl:param name="name"/>
    <xsl:variable name="four" select="substring($name, string-length($name) - 3)"/>
    <xsl:variable name="five" select="substring($name, string-length($name) - 4)"/>
    <xsl:choose>
      <xsl:when test="$four = '.pdf'"><xsl:attribute name="mediaType">application/pdf</xsl:attribute></xsl:when>
      <xsl:when test="$four = '.doc'"><xsl:attribute name="mediaType">application/msword</xsl:attribute></xsl:when>
      <xsl:when test="$five = '.docx'"><xsl:attribute name="mediaType">application/vnd.openxmlformats-officedocument.wordprocessingml.document</xsl:attribute></xsl:when>
      <xsl:when test="$four = '.xls'"><xsl:attribute name="mediaType">application/vnd.ms-excel</xsl:attribute></xsl:when>
      <xsl:when test="$five = '.xlsx'"><xsl:attribute name="mediaType">application/vnd.openxmlformats-officedocument.spreadsheetml.sheet</xsl:attribute></xsl:when>
      <xsl:when test="$four = '.zip'"><xsl:attribute name="mediaType">application/zip</xsl:attribute></xsl:when>
      <xsl:when test="$four = '.txt'"><xsl:attribute name="mediaType">text/plain</xsl:attribute></xsl:when>
    </xsl:choose>
  </xsl:template>

  <xsl:template name="kind">
    <xsl:variable name="type" select="normalize-space($business/q:BussinessDocType)"/>
    <xsl:choose>
      <xsl:when test="$type = '1'">recall</xsl:when>
      <xsl:when test="$type = '2'">update</xsl:when>
      <xsl:when test="$type = '3'">replacement</xsl:when>
      <xsl:otherwise>new</xsl:otherwise>
    </xsl:choose>
  </xsl:template>

  <xsl:template name="urgency">
    <xsl:variable name="priority" select="normalize-space($header/q:OtherInfo/q:Priority)"/>
    <xsl:choose>
      <xsl:when test="$priority = '1'">Khẩn</xsl:when>
      <xsl:when test="$priority = '2'">Thượng khẩn</xsl:when>
      <xsl:when test="$priority = '3'">Hỏa tốc</xsl:when>
      <xsl:when test="$priority = '4'">Hỏa tốc hẹn giờ</xsl:when>
      <xsl:otherwise>Thường</xsl:otherwise>
    </xsl:choose>
  </xsl:template>

  <!-- yyyy/MM/dd becomes yyyy-MM-dd. -->
  <xsl:template name="date">
    <xsl:param name="text"/>
    <xsl:value-of select="translate(substring(normalize-space($text), 1, 10), '/', '-')"/>
  </xsl:template>
</xsl:stylesheet>
