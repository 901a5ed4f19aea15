"""Small files of every format that documents may have, made here: none is anybody else's. Standard library only."""

import hashlib
import io
import zipfile


def archive(members, stored=()):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
        for name, content in members.items():
            z.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_STORED if name in stored else zipfile.ZIP_DEFLATED)
    return out.getvalue()


W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'


def docx(body=None, title="The plan"):
    def p(text, style=""):
        style = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
        return f"<w:p>{style}<w:r><w:t>{text}</w:t></w:r></w:p>"

    def row(*cells):
        return "<w:tr>" + "".join(f"<w:tc>{p(c)}</w:tc>" for c in cells) + "</w:tr>"

    if body is None:
        body = (p("Überblick", "berschrift1") + p("First paragraph.") + p("Details", "Heading2")
                + "<w:tbl>" + row("Name", "Size") + row("alpha", "1") + "</w:tbl>"
                + "<w:p><w:r><w:br w:type=\"page\"/></w:r></w:p>" + p("On the second page."))
    return archive({
        "[Content_Types].xml": "<Types/>",
        "docProps/core.xml": f'<c:p xmlns:c="c" xmlns:dc="d"><dc:title>{title}</dc:title></c:p>',
        "word/styles.xml": f'<w:styles {W}><w:style w:styleId="berschrift1"><w:name w:val="heading 1"/></w:style></w:styles>',
        "word/document.xml": f'<?xml version="1.0"?><w:document {W}><w:body>{body}</w:body></w:document>',
    })


def pptx():
    def slide(title, *lines):
        shapes = f'<p:sp><p:nvSpPr><p:nvPr><p:ph type="title"/></p:nvPr></p:nvSpPr><p:txBody><a:p><a:r><a:t>{title}</a:t></a:r></a:p></p:txBody></p:sp>'
        shapes += "<p:sp><p:txBody>" + "".join(f"<a:p><a:r><a:t>{t}</a:t></a:r></a:p>" for t in lines) + "</p:txBody></p:sp>"
        return f'<p:sld xmlns:p="p" xmlns:a="a">{shapes}</p:sld>'

    members = {"ppt/presentation.xml": "<p/>"}
    for i in (10, 2, 1):  # not in the order of their names
        members[f"ppt/slides/slide{i}.xml"] = slide(f"Slide {i}", f"point {i}a", f"point {i}b")
    return archive(members)


def xlsx():
    sheet = ('<worksheet><sheetData><row r="1"><c r="A1" t="s"><v>0</v></c><c r="B1" t="s"><v>1</v></c></row>'
             '<row r="2"><c r="A2" s="1"><v>45000</v></c><c r="C2"><v>2.5</v></c></row></sheetData></worksheet>')
    return archive({
        "xl/workbook.xml": '<workbook><sheets><sheet name="Budget" sheetId="1"/></sheets></workbook>',
        "xl/styles.xml": '<styleSheet><cellXfs><xf numFmtId="0"/><xf numFmtId="14"/></cellXfs></styleSheet>',
        "xl/sharedStrings.xml": "<sst><si><t>Day</t></si><si><r><t>Am</t></r><r><t>ount</t></r></si></sst>",
        "xl/worksheets/sheet1.xml": sheet,
    })


def odt():
    return archive({
        "mimetype": "application/vnd.oasis.opendocument.text",
        "meta.xml": '<m xmlns:dc="d"><dc:title>Open plan</dc:title></m>',
        "content.xml": '<o:d xmlns:o="o" xmlns:text="t" xmlns:table="b"><o:body><o:text>'
                       '<text:h text:outline-level="2">Part two</text:h><text:p>Some<text:s/>words.</text:p>'
                       '<table:table><table:table-row><table:table-cell><text:p>k</text:p></table:table-cell>'
                       '<table:table-cell><text:p>v</text:p></table:table-cell></table:table-row></table:table>'
                       "</o:text></o:body></o:d>",
    })


def epub():
    return archive({
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": '<container><rootfiles><rootfile full-path="OPS/book.opf"/></rootfiles></container>',
        "OPS/book.opf": '<package xmlns:dc="d"><metadata><dc:title>A Book</dc:title></metadata><manifest>'
                        '<item id="b" href="two%20b.xhtml"/><item id="a" href="one.xhtml"/></manifest>'
                        '<spine><itemref idref="a"/><itemref idref="b"/></spine></package>',
        "OPS/one.xhtml": "<html><body><h1>Chapter One</h1><p>It begins.</p></body></html>",
        "OPS/two b.xhtml": "<html><body><h1>Chapter Two</h1><p>It ends.</p></body></html>",
    }, stored=("mimetype",))


MAIL = b"""From: =?utf-8?Q?J=C3=B6rg?= <joerg@example.org>\r
To: a@example.org\r
Subject: =?iso-8859-1?B?R3L832U=?= =?utf-8?Q?_from_here?=\r
Date: Mon, 2 Mar 2026 10:00:00 +0000\r
MIME-Version: 1.0\r
Content-Type: multipart/mixed; boundary="xx"\r
\r
--xx\r
Content-Type: multipart/alternative; boundary=yy\r
\r
--yy\r
Content-Type: text/plain; charset=iso-8859-1\r
Content-Transfer-Encoding: quoted-printable\r
\r
Sch=F6ne Gr=FC=DFe, and a long li=\r
ne.\r
--yy\r
Content-Type: text/html\r
\r
<p>html form</p>\r
--yy--\r
--xx\r
Content-Type: application/pdf; name="plan.pdf"\r
Content-Disposition: attachment; filename="plan.pdf"\r
Content-Transfer-Encoding: base64\r
\r
JVBERi0=\r
--xx--\r
"""


def rc4(key, data):
    s, j, out = list(range(256)), 0, bytearray()
    for i in range(256):
        j = (j + s[i] + key[i % len(key)]) % 256
        s[i], s[j] = s[j], s[i]
    i = j = 0
    for byte in data:
        i = (i + 1) % 256
        j = (j + s[i]) % 256
        s[i], s[j] = s[j], s[i]
        out.append(byte ^ s[(s[i] + s[j]) % 256])
    return bytes(out)


def pdf(pages, title="", password=None):
    """pages: lists of (size, text) lines; an empty list is a page without text."""
    objects = {}
    n = 4
    kids = []
    key = None
    trailer = ""
    if password is not None:  # PDF 1.7, 7.6.3: RC4 with 40 bits
        pad = bytes.fromhex("28BF4E5E4E758A4164004E56FFFA01082E2E00B6D0683E802F0CA9FE6453697A")
        user = (password.encode() + pad)[:32]
        owner = rc4(hashlib.md5(user).digest()[:5], user)
        key = hashlib.md5(user + owner + b"\xfc\xff\xff\xff" + b"id").digest()[:5]
        objects[3] = (b"<</Filter/Standard/V 1/R 2/P -4/O<" + owner.hex().encode() + b">/U<" + rc4(key, pad).hex().encode() + b">>>")
        trailer = "/Encrypt 3 0 R/ID[<6964><6964>]"
    font = n
    objects[font] = b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>"
    for lines in pages:
        n += 2
        text, y = b"", 780
        for size, line in lines:
            text += f"BT /F1 {size} Tf 50 {y} Td (".encode() + line.encode("cp1252") + b") Tj ET\n"
            y -= size + 6
        if key:
            salt = (n).to_bytes(3, "little") + b"\0\0"
            text = rc4(hashlib.md5(key + salt).digest()[:10], text)
        objects[n] = b"<</Length %d>>stream\n" % len(text) + text + b"\nendstream"
        objects[n + 1] = f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents {n} 0 R/Resources<</Font<</F1 {font} 0 R>>>>>>".encode()
        kids.append(f"{n + 1} 0 R")
    objects[1] = b"<</Type/Catalog/Pages 2 0 R>>"
    objects[2] = f"<</Type/Pages/Count {len(kids)}/Kids[{' '.join(kids)}]>>".encode()
    if title and not key:
        n += 2
        objects[n] = f"<</Title({title})>>".encode()
        trailer += f"/Info {n} 0 R"
    out, places = bytearray(b"%PDF-1.4\n"), {}
    for number in sorted(objects):
        places[number] = len(out)
        out += f"{number} 0 obj\n".encode() + objects[number] + b"\nendobj\n"
    start = len(out)
    size = max(objects) + 1
    out += f"xref\n0 {size}\n".encode()
    for number in range(size):
        out += (f"{places[number]:010} 00000 n \n" if number in places else "0000000000 65535 f \n").encode()
    out += f"trailer<</Size {size}/Root 1 0 R{trailer}>>\nstartxref\n{start}\n%%EOF".encode()
    return bytes(out)


def report_pdf():
    body = "This line of the body is long enough to fill the width of the page well"
    return pdf([[(24, "The Report"), (11, body), (11, "and ends with an exam-"), (11, "ple that goes on."), (16, "Findings"), (11, body + ".")],
                [(16, "Outlook"), (11, body), (11, "All is well on page two.")]], title="Report 2026")


def bomb_zip(megabytes=400):
    """A document whose one member unpacks to so much."""
    out = io.BytesIO()
    member = zipfile.ZipInfo("word/document.xml")
    member.compress_type = zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(out, "w") as z, z.open(member, "w", force_zip64=True) as f:
        f.write(b"<w:document><w:body>")
        block = b"<w:p><w:r><w:t>aaaaaaaaaaaaaaaaaaaa</w:t></w:r></w:p>" * 20000
        for _ in range(megabytes):
            f.write(block[:1 << 20])
    return out.getvalue()


def laughs():
    """Entities in entities: ten to the ninth when they are expanded."""
    lines = ['<!ENTITY a0 "ha">'] + [f'<!ENTITY a{i} "{"&a%d;" % (i - 1) * 10}">' for i in range(1, 10)]
    xml = f'<?xml version="1.0"?><!DOCTYPE w:document [{"".join(lines)}]><w:document {W}><w:body><w:p><w:r><w:t>x &a9; y</w:t></w:r></w:p></w:body></w:document>'
    return archive({"word/document.xml": xml})
