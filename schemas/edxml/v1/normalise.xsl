<?xml version="1.0" encoding="UTF-8"?>
<!--
  Whatever edXML a counterparty writes, in the one form that every receiver on the exchange understands: the element order of the
  exchange's Java library, the literal prefix edXML:, an un-prefixed AttachmentEncoded, standard spellings, yyyy/MM/dd dates.
  Documents and statuses. Empty elements and Signature are left out (no receiver checks the latter, and no reordered message could
  keep it valid); the content of the files is copied as it is. What is mandatory and was not there is not made up: the result is
  then refused by document.xsd or status.xsd. A file that the manifest names but that is not there is not named any more.

  Not done here, because XSLT 1.0 cannot: Unicode NFC, base64, unpacking, time zones (a zone in a time is cut off, not converted).
  No document(), no extension: runs with every access denied.
-->
<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform"
                xmlns:edXML="http://www.mic.gov.vn/TBT/QCVN_102_2016" exclude-result-prefixes="edXML">
  <xsl:output method="xml" encoding="UTF-8" indent="no"/>
  <xsl:strip-space elements="*"/>

  <xsl:variable name="ns" select="'http://www.mic.gov.vn/TBT/QCVN_102_2016'"/>
  <xsl:variable name="envelope" select="(/edXML:edXML/edXML:edXMLEnvelope | /edXML:edXML/edXML:EdXMLEnvelope | /edXML:edXMLEnvelope | /edXML:EdXMLEnvelope)[1]"/>
  <xsl:variable name="header" select="$envelope/edXML:edXMLHeader/edXML:MessageHeader"/>
  <xsl:variable name="traces" select="$envelope/edXML:edXMLHeader/edXML:TraceHeaderList[1]"/>
  <xsl:variable name="business" select="($traces/edXML:Bussiness | $traces/edXML:Business)[1]"/>
  <xsl:variable name="references" select="$envelope/edXML:edXMLBody/edXML:edXMLManifest/edXML:Reference"/>
  <xsl:variable name="attachments" select="(/*/edXML:AttachmentEncoded | $envelope/edXML:AttachmentEncoded)[1]/edXML:Attachment"/>

  <!-- ContentId without "cid:", which some writers put up to three times. -->
  <xsl:key name="reference" match="edXML:Reference"
           use="substring(normalize-space(edXML:ContentId), 1 + 4 * starts-with(normalize-space(edXML:ContentId), 'cid:')
                + 4 * starts-with(normalize-space(edXML:ContentId), 'cid:cid:') + 4 * starts-with(normalize-space(edXML:ContentId), 'cid:cid:cid:'))"/>

  <xsl:template match="/">
    <edXML xmlns="http://www.mic.gov.vn/TBT/QCVN_102_2016">
      <edXML:edXMLEnvelope xmlns:edXML="http://www.mic.gov.vn/TBT/QCVN_102_2016">
        <edXML:edXMLHeader>
          <edXML:MessageHeader>
            <xsl:choose>
              <xsl:when test="$header/edXML:To"><xsl:apply-templates select="$header" mode="document"/></xsl:when>
              <xsl:otherwise><xsl:apply-templates select="$header" mode="status"/></xsl:otherwise>
            </xsl:choose>
          </edXML:MessageHeader>
          <xsl:if test="$header/edXML:To"><xsl:call-template name="trace-list"/></xsl:if>
        </edXML:edXMLHeader>
        <xsl:if test="$header/edXML:To">
          <edXML:edXMLBody>
            <edXML:edXMLManifest version="1.0">
              <xsl:apply-templates select="$attachments" mode="reference"/>
            </edXML:edXMLManifest>
          </edXML:edXMLBody>
        </xsl:if>
      </edXML:edXMLEnvelope>
      <xsl:if test="$header/edXML:To and $attachments">
        <AttachmentEncoded><xsl:apply-templates select="$attachments" mode="file"/></AttachmentEncoded>
      </xsl:if>
    </edXML>
  </xsl:template>

  <!-- The two headers, in the order of writing. -->
  <xsl:template match="edXML:MessageHeader" mode="document">
    <xsl:apply-templates select="edXML:From" mode="organ"/>
    <xsl:apply-templates select="edXML:To" mode="organ"/>
    <xsl:apply-templates select="edXML:DocumentId[1]" mode="token"/>
    <xsl:apply-templates select="edXML:Code[1]" mode="record"/>
    <xsl:apply-templates select="edXML:PromulgationInfo[1]" mode="record"/>
    <xsl:apply-templates select="edXML:DocumentType[1]" mode="record"/>
    <xsl:apply-templates select="edXML:Subject[1]" mode="text"/>
    <xsl:apply-templates select="edXML:Content[1]" mode="text"/>
    <xsl:apply-templates select="edXML:SignerInfo[1]" mode="record"/>
    <xsl:apply-templates select="edXML:DueDate[1]" mode="date"/>
    <xsl:apply-templates select="edXML:OtherInfo[1]" mode="record"/>
    <xsl:apply-templates select="edXML:ResponseFor" mode="record"/>
    <xsl:call-template name="element">
      <xsl:with-param name="name" select="'SteeringType'"/>
      <!-- 0 occurs, and means 1; so does an absent or unreadable one. -->
      <xsl:with-param name="value">
        <xsl:choose>
          <xsl:when test="number(edXML:SteeringType) = 2 or number(edXML:SteeringType) = 3"><xsl:value-of select="number(edXML:SteeringType)"/></xsl:when>
          <xsl:otherwise>1</xsl:otherwise>
        </xsl:choose>
      </xsl:with-param>
    </xsl:call-template>
    <xsl:apply-templates select="edXML:ResponseForTask[1]" mode="record"/>
    <xsl:apply-templates select="edXML:ApplicationType[1]" mode="text"/>
    <xsl:apply-templates select="edXML:ToPlaces[1]" mode="record"/>
  </xsl:template>

  <xsl:template match="edXML:MessageHeader" mode="status">
    <xsl:apply-templates select="edXML:From" mode="organ"/>
    <xsl:apply-templates select="edXML:ResponseFor[1]" mode="record"/>
    <xsl:apply-templates select="edXML:StaffInfo" mode="record"/>
    <xsl:call-template name="element">
      <xsl:with-param name="name" select="'StatusCode'"/>
      <xsl:with-param name="value">
        <xsl:if test="string-length(normalize-space(edXML:StatusCode)) = 1">0</xsl:if>
        <xsl:value-of select="normalize-space(edXML:StatusCode)"/>
      </xsl:with-param>
    </xsl:call-template>
    <xsl:apply-templates select="edXML:Description[1]" mode="text"/>
    <xsl:apply-templates select="edXML:Timestamp[1]" mode="time"/>
  </xsl:template>

  <xsl:template match="edXML:From | edXML:To" mode="organ">
    <xsl:element name="edXML:{local-name()}">
      <xsl:apply-templates select="edXML:OrganId[1]" mode="token"/>
      <xsl:call-template name="element">
        <xsl:with-param name="name" select="'OrganizationInCharge'"/>
        <xsl:with-param name="value" select="(edXML:OrganizationInCharge | edXML:OrganInCharge)[1]"/>
      </xsl:call-template>
      <!-- An organisation without a name goes by its code: a receiver fails without OrganName. -->
      <xsl:call-template name="element">
        <xsl:with-param name="name" select="'OrganName'"/>
        <xsl:with-param name="value" select="(edXML:OrganName[normalize-space()] | edXML:OrganId[not(../edXML:OrganName[normalize-space()])])[1]"/>
      </xsl:call-template>
      <xsl:apply-templates select="edXML:OrganAdd[1]" mode="text"/>
      <xsl:apply-templates select="edXML:Email[1]" mode="text"/>
      <xsl:apply-templates select="edXML:Telephone[1]" mode="text"/>
      <xsl:apply-templates select="edXML:Fax[1]" mode="text"/>
      <xsl:apply-templates select="edXML:Website[1]" mode="text"/>
    </xsl:element>
  </xsl:template>

  <!-- A record with anything in it: its fields in the order of writing; an empty one disappears. -->
  <xsl:template match="edXML:*" mode="record">
    <xsl:if test="normalize-space(.)">
      <xsl:element name="edXML:{local-name()}">
        <xsl:apply-templates select="." mode="fields"/>
      </xsl:element>
    </xsl:if>
  </xsl:template>

  <xsl:template match="edXML:Code" mode="fields">
    <xsl:apply-templates select="edXML:CodeNumber[1]" mode="text"/>
    <xsl:apply-templates select="edXML:CodeNotation[1]" mode="text"/>
  </xsl:template>

  <xsl:template match="edXML:PromulgationInfo" mode="fields">
    <xsl:apply-templates select="edXML:Place[1]" mode="text"/>
    <xsl:apply-templates select="edXML:PromulgationDate[1]" mode="date"/>
  </xsl:template>

  <xsl:template match="edXML:DocumentType" mode="fields">
    <xsl:apply-templates select="edXML:Type[1]" mode="number"/>
    <xsl:apply-templates select="edXML:TypeDetail[1]" mode="number"/>
    <xsl:apply-templates select="edXML:TypeName[1]" mode="text"/>
  </xsl:template>

  <xsl:template match="edXML:SignerInfo" mode="fields">
    <xsl:apply-templates select="edXML:Competence[1]" mode="text"/>
    <xsl:apply-templates select="edXML:Position[1]" mode="text"/>
    <xsl:apply-templates select="edXML:FullName[1]" mode="text"/>
  </xsl:template>

  <xsl:template match="edXML:OtherInfo" mode="fields">
    <xsl:apply-templates select="edXML:Priority[number() &lt;= 4][1]" mode="number"/>
    <xsl:apply-templates select="edXML:SphereOfPromulgation[1]" mode="text"/>
    <xsl:apply-templates select="edXML:TyperNotation[1]" mode="text"/>
    <xsl:apply-templates select="edXML:PromulgationAmount[1]" mode="number"/>
    <xsl:apply-templates select="edXML:PageAmount[1]" mode="number"/>
    <xsl:apply-templates select="edXML:ReplyFors[1]" mode="text"/>
    <xsl:apply-templates select="edXML:Direction[normalize-space() = 'true' or normalize-space() = 'false'][1]" mode="token"/>
    <xsl:apply-templates select="edXML:ReferenceCodes[1]" mode="text"/>
    <xsl:apply-templates select="edXML:Appendixes[1]" mode="record"/>
  </xsl:template>

  <xsl:template match="edXML:ResponseFor" mode="fields">
    <xsl:apply-templates select="edXML:OrganId[1]" mode="token"/>
    <xsl:apply-templates select="edXML:Code[1]" mode="text"/>
    <xsl:apply-templates select="edXML:DocumentId[1]" mode="token"/>
    <xsl:apply-templates select="edXML:PromulgationDate[1]" mode="date"/>
  </xsl:template>

  <xsl:template match="edXML:StaffInfo" mode="fields">
    <xsl:apply-templates select="edXML:Department[1]" mode="text"/>
    <xsl:apply-templates select="edXML:DepartmentId[1]" mode="text"/>
    <xsl:apply-templates select="edXML:Staff[1]" mode="text"/>
    <xsl:apply-templates select="edXML:StaffId[1]" mode="text"/>
    <xsl:apply-templates select="edXML:Email[1]" mode="text"/>
    <xsl:apply-templates select="edXML:Mobile[1]" mode="text"/>
  </xsl:template>

  <xsl:template match="edXML:Appendixes" mode="fields"><xsl:apply-templates select="edXML:Appendix" mode="text"/></xsl:template>
  <xsl:template match="edXML:ResponseForTask" mode="fields"><xsl:apply-templates select="edXML:TaskCode" mode="text"/></xsl:template>
  <xsl:template match="edXML:ToPlaces" mode="fields"><xsl:apply-templates select="edXML:Place" mode="text"/></xsl:template>
  <xsl:template match="edXML:OrganIdList" mode="fields"><xsl:apply-templates select="edXML:OrganId" mode="token"/></xsl:template>
  <xsl:template match="edXML:ReplacementInfoList" mode="fields"><xsl:apply-templates select="edXML:ReplacementInfo" mode="record"/></xsl:template>
  <xsl:template match="edXML:ReceiverList" mode="fields"><xsl:apply-templates select="edXML:Receiver" mode="record"/></xsl:template>

  <xsl:template match="edXML:ReplacementInfo" mode="fields">
    <xsl:apply-templates select="edXML:DocumentId[1]" mode="token"/>
    <xsl:apply-templates select="edXML:OrganIdList[1]" mode="record"/>
  </xsl:template>

  <xsl:template match="edXML:Receiver" mode="fields">
    <xsl:apply-templates select="edXML:OrganId[1]" mode="token"/>
    <xsl:apply-templates select="edXML:ReceiverType[1]" mode="flag"/>
  </xsl:template>

  <!-- The trace list: Bussiness first, as the exchange's library writes it; a hop without a readable time says nothing. -->
  <xsl:template name="trace-list">
    <xsl:element name="edXML:TraceHeaderList">
      <xsl:apply-templates select="$traces/edXML:Paper[1]" mode="text"/>
      <xsl:element name="edXML:Bussiness">
        <xsl:apply-templates select="$business/edXML:DocumentId[1]" mode="token"/>
        <xsl:variable name="type" select="normalize-space(($business/edXML:BussinessDocType | $business/edXML:BusinessDocType)[1])"/>
        <xsl:call-template name="element">
          <xsl:with-param name="name" select="'BussinessDocType'"/>
          <xsl:with-param name="value">
            <xsl:choose>
              <xsl:when test="$type = '1' or $type = '2' or $type = '3'"><xsl:value-of select="$type"/></xsl:when>
              <xsl:otherwise>0</xsl:otherwise>
            </xsl:choose>
          </xsl:with-param>
        </xsl:call-template>
        <xsl:call-template name="element">
          <xsl:with-param name="name" select="'BussinessDocReason'"/>
          <xsl:with-param name="value" select="($business/edXML:BussinessDocReason | $business/edXML:BusinessDocReason)[1]"/>
        </xsl:call-template>
        <xsl:apply-templates select="$business/edXML:Paper[1]" mode="flag"/>
        <xsl:for-each select="($business/edXML:BussinessDocumentInfo | $business/edXML:BusinessDocumentInfo)[normalize-space()]">
          <xsl:element name="edXML:BussinessDocumentInfo">
            <xsl:apply-templates select="edXML:DocumentInfo[1]" mode="flag"/>
            <xsl:apply-templates select="edXML:DocumentReceiver[1]" mode="flag"/>
            <xsl:apply-templates select="edXML:ReceiverList[1]" mode="record"/>
          </xsl:element>
        </xsl:for-each>
        <xsl:apply-templates select="$business/edXML:ReplacementInfoList" mode="record"/>
        <xsl:apply-templates select="$business/edXML:StaffInfo" mode="record"/>
      </xsl:element>
      <xsl:for-each select="$traces/edXML:TraceHeader">
        <xsl:variable name="time"><xsl:call-template name="time"><xsl:with-param name="text" select="edXML:Timestamp[1]"/></xsl:call-template></xsl:variable>
        <xsl:if test="string($time)">
          <xsl:element name="edXML:TraceHeader">
            <xsl:apply-templates select="edXML:OrganId[1]" mode="token"/>
            <xsl:call-template name="element">
              <xsl:with-param name="name" select="'Timestamp'"/>
              <xsl:with-param name="value" select="$time"/>
            </xsl:call-template>
          </xsl:element>
        </xsl:if>
      </xsl:for-each>
    </xsl:element>
  </xsl:template>

  <!-- Files. -->
  <xsl:template match="edXML:Attachment" mode="reference">
    <edXML:Reference xmlns:edXML="http://www.mic.gov.vn/TBT/QCVN_102_2016">
      <xsl:call-template name="naming"><xsl:with-param name="prefix" select="'edXML:'"/></xsl:call-template>
    </edXML:Reference>
  </xsl:template>

  <xsl:template match="edXML:Attachment" mode="file">
    <Attachment xmlns="http://www.mic.gov.vn/TBT/QCVN_102_2016">
      <xsl:call-template name="naming"/>
      <xsl:element name="edXML:ContentTransferEncoded"><xsl:copy-of select="edXML:ContentTransferEncoded[1]/text()"/></xsl:element>
    </Attachment>
  </xsl:template>

  <!-- The four naming elements, the same in both places: what an attachment does not say its reference may. -->
  <xsl:template name="naming">
    <xsl:param name="prefix"/>
    <xsl:variable name="place" select="position()"/>
    <xsl:variable name="own" select="normalize-space(edXML:ContentId)"/>
    <xsl:variable name="id" select="substring($own, 1 + 4 * starts-with($own, 'cid:') + 4 * starts-with($own, 'cid:cid:')
                                    + 4 * starts-with($own, 'cid:cid:cid:'))"/>
    <xsl:variable name="same" select="key('reference', $id)[$id != '']"/>
    <xsl:variable name="reference" select="$same[1] | $references[not($same)][$place]"/>
    <xsl:variable name="attachment-name">
      <xsl:choose>
        <xsl:when test="normalize-space(edXML:AttachmentName)"><xsl:value-of select="edXML:AttachmentName"/></xsl:when>
        <xsl:when test="normalize-space($reference/edXML:AttachmentName)"><xsl:value-of select="$reference/edXML:AttachmentName"/></xsl:when>
        <xsl:otherwise>attachment-<xsl:value-of select="$place"/></xsl:otherwise>
      </xsl:choose>
    </xsl:variable>
    <xsl:variable name="description" select="(edXML:Description[normalize-space()] | $reference/edXML:Description[not(normalize-space(current()/edXML:Description))])[1]"/>
    <xsl:variable name="label">
      <xsl:call-template name="label">
        <xsl:with-param name="name" select="translate($attachment-name, 'ABCDEFGHIJKLMNOPQRSTUVWXYZ', 'abcdefghijklmnopqrstuvwxyz')"/>
        <xsl:with-param name="written" select="normalize-space((edXML:ContentType[normalize-space()]
                                               | $reference/edXML:ContentType[not(normalize-space(current()/edXML:ContentType))])[1])"/>
      </xsl:call-template>
    </xsl:variable>
    <xsl:element name="{$prefix}ContentId" namespace="{$ns}">
      <xsl:text>cid:</xsl:text>
      <xsl:choose>
        <xsl:when test="$id"><xsl:value-of select="$id"/></xsl:when>
        <xsl:otherwise>file-<xsl:value-of select="$place"/></xsl:otherwise>
      </xsl:choose>
    </xsl:element>
    <xsl:if test="$prefix"><xsl:element name="{$prefix}ContentType" namespace="{$ns}"><xsl:value-of select="$label"/></xsl:element></xsl:if>
    <xsl:if test="not($prefix)"><xsl:element name="AttachmentName" namespace="{$ns}"><xsl:value-of select="$attachment-name"/></xsl:element></xsl:if>
    <xsl:if test="normalize-space($description)">
      <xsl:element name="{$prefix}Description" namespace="{$ns}"><xsl:value-of select="$description"/></xsl:element>
    </xsl:if>
    <xsl:if test="$prefix"><xsl:element name="{$prefix}AttachmentName" namespace="{$ns}"><xsl:value-of select="$attachment-name"/></xsl:element></xsl:if>
    <xsl:if test="not($prefix)"><xsl:element name="ContentType" namespace="{$ns}"><xsl:value-of select="$label"/></xsl:element></xsl:if>
  </xsl:template>

  <!--
    The content type that makes the exchange's reader do the right thing: it unpacks what is labelled application/zip unless the name
    says .zip, and loses the whole message when that is no zip. UEsDB is PK\x03\x04 in base64, JVBER is %PDF.
  -->
  <xsl:template name="label">
    <xsl:param name="name"/>
    <xsl:param name="written"/>
    <xsl:variable name="zip" select="starts-with(edXML:ContentTransferEncoded[1], 'UEsDB')"/>
    <xsl:variable name="last" select="substring($name, string-length($name) - 4)"/>
    <xsl:variable name="package" select="contains('|.docx|.xlsx|.pptx|', concat('|', $last, '|'))
                                         or contains('|.zip|.odt|.ods|.odp|.jar|.apk|', concat('|', substring($last, 2), '|'))"/>
    <xsl:choose>
      <xsl:when test="$zip and not($package)">application/zip</xsl:when>
      <xsl:when test="not($zip) and ($written = '' or $written = 'application/zip')">
        <xsl:choose>
          <xsl:when test="starts-with(edXML:ContentTransferEncoded[1], 'JVBER')">application/pdf</xsl:when>
          <xsl:otherwise>application/octet-stream</xsl:otherwise>
        </xsl:choose>
      </xsl:when>
      <xsl:when test="$written = ''">application/zip</xsl:when>
      <xsl:otherwise><xsl:value-of select="$written"/></xsl:otherwise>
    </xsl:choose>
  </xsl:template>

  <!-- Leaves, by kind. -->
  <xsl:template name="element">
    <xsl:param name="name"/>
    <xsl:param name="value"/>
    <xsl:if test="normalize-space($value)">
      <xsl:element name="edXML:{$name}"><xsl:value-of select="$value"/></xsl:element>
    </xsl:if>
  </xsl:template>

  <xsl:template match="edXML:*" mode="text">
    <xsl:if test="normalize-space(.)">
      <xsl:element name="edXML:{local-name()}"><xsl:value-of select="."/></xsl:element>
    </xsl:if>
  </xsl:template>

  <!-- Codes and ids: blanks around them are noise, and some producers write "null" for nothing. -->
  <xsl:template match="edXML:*" mode="token">
    <xsl:if test="normalize-space(.) and normalize-space(.) != 'null'">
      <xsl:element name="edXML:{local-name()}"><xsl:value-of select="normalize-space(.)"/></xsl:element>
    </xsl:if>
  </xsl:template>

  <xsl:template match="edXML:*" mode="number">
    <xsl:if test="number(.) &gt;= 0 and number(.) = floor(number(.))">
      <xsl:element name="edXML:{local-name()}"><xsl:value-of select="number(.)"/></xsl:element>
    </xsl:if>
  </xsl:template>

  <xsl:template match="edXML:*" mode="flag">
    <xsl:if test="number(.) = 0 or number(.) = 1">
      <xsl:element name="edXML:{local-name()}"><xsl:value-of select="number(.)"/></xsl:element>
    </xsl:if>
  </xsl:template>

  <xsl:template match="edXML:*" mode="date">
    <xsl:call-template name="element">
      <xsl:with-param name="name" select="local-name()"/>
      <xsl:with-param name="value"><xsl:call-template name="day"><xsl:with-param name="text" select="."/></xsl:call-template></xsl:with-param>
    </xsl:call-template>
  </xsl:template>

  <xsl:template match="edXML:*" mode="time">
    <xsl:call-template name="element">
      <xsl:with-param name="name" select="local-name()"/>
      <xsl:with-param name="value"><xsl:call-template name="time"><xsl:with-param name="text" select="."/></xsl:call-template></xsl:with-param>
    </xsl:call-template>
  </xsl:template>

  <!-- yyyy/MM/dd from y/m/d or d/m/y, with slashes or hyphens, whatever time follows; nothing if it is no date. -->
  <xsl:template name="day">
    <xsl:param name="text"/>
    <xsl:variable name="day" select="substring-before(concat(translate(normalize-space($text), 'T-', ' /'), ' '), ' ')"/>
    <xsl:variable name="first" select="substring-before($day, '/')"/>
    <xsl:variable name="month" select="substring-before(substring-after($day, '/'), '/')"/>
    <xsl:variable name="last" select="substring-after(substring-after($day, '/'), '/')"/>
    <xsl:choose>
      <xsl:when test="not(number($first) &gt; 0 and number($month) &gt; 0 and number($month) &lt; 13 and number($last) &gt; 0)"/>
      <xsl:when test="string-length($first) = 4 and number($last) &lt; 32">
        <xsl:value-of select="concat($first, '/', format-number($month, '00'), '/', format-number($last, '00'))"/>
      </xsl:when>
      <xsl:when test="string-length($last) = 4 and number($first) &lt; 32">
        <xsl:value-of select="concat($last, '/', format-number($month, '00'), '/', format-number($first, '00'))"/>
      </xsl:when>
    </xsl:choose>
  </xsl:template>

  <!-- yyyy/MM/dd HH:mm:ss; midnight where no readable time follows the day. -->
  <xsl:template name="time">
    <xsl:param name="text"/>
    <xsl:variable name="day"><xsl:call-template name="day"><xsl:with-param name="text" select="$text"/></xsl:call-template></xsl:variable>
    <xsl:variable name="clock" select="substring(substring-after(translate(normalize-space($text), 'T', ' '), ' '), 1, 8)"/>
    <xsl:variable name="shape" select="translate($clock, '123456789', '000000000')"/>
    <xsl:if test="string($day)">
      <xsl:value-of select="$day"/>
      <xsl:choose>
        <xsl:when test="$shape = '00:00:00'"> <xsl:value-of select="concat(' ', $clock)"/></xsl:when>
        <xsl:when test="substring($shape, 1, 5) = '00:00'"> <xsl:value-of select="concat(' ', substring($clock, 1, 5), ':00')"/></xsl:when>
        <xsl:otherwise><xsl:text> 00:00:00</xsl:text></xsl:otherwise>
      </xsl:choose>
    </xsl:if>
  </xsl:template>
</xsl:stylesheet>
