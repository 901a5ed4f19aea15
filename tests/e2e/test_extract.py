"""`parley extract`, the locked-in reader: every format, and every fault that costs one document a reason."""

import os
import subprocess
import tempfile

import pytest

import samples
from harness import BINARY


def extract(data, name="", *options, path=None):
    """(fields, title, marks, text) of what the child says."""
    with tempfile.TemporaryFile() as f:
        f.write(data)
        f.flush()
        f.seek(0)
        with open(path, "rb") if path else f as source:
            run = subprocess.run([BINARY, "extract", "--name", name, *options], stdin=source, stdout=subprocess.PIPE,
                                 stderr=subprocess.DEVNULL, timeout=600)
    if run.returncode:
        return {"fault": f"status {run.returncode}"}, "", [], ""
    head, rest = run.stdout.split(b"\n\n", 1)
    fields = dict(line.split(" ", 1) for line in head.decode().split("\n")[1:])
    n, m = int(fields["title"]), int(fields["marks"])
    text = rest[n + m:]
    marks = [(k[0], int(k[1:]), text[int(a):int(b)].decode()) for k, a, b in (x.split() for x in rest[n:n + m].decode().splitlines())]
    return fields, rest[:n].decode(), marks, text.decode()


def test_docx():
    fields, title, marks, text = extract(samples.docx(), "plan.docx")
    assert (fields["fault"], fields["format"], fields["pages"], title) == ("ok", "docx", "2", "The plan")
    assert ("h", 1, "Überblick") in marks and ("h", 2, "Details") in marks
    assert ("t", 1, "Name | Size\nalpha | 1") in marks
    assert ("p", 2, "On the second page.") in marks


def test_pptx_slides_are_pages_in_order():
    fields, _, marks, text = extract(samples.pptx(), "x")
    assert (fields["format"], fields["pages"]) == ("pptx", "3")
    assert [m[2] for m in marks if m[0] == "h"] == ["Slide 1", "Slide 2", "Slide 10"]
    assert "point 10b" in marks[-2][2] + marks[-1][2]


def test_xlsx_keeps_columns_and_dates():
    fields, _, marks, text = extract(samples.xlsx(), "x")
    assert fields["format"] == "xlsx" and ("h", 1, "Budget") in marks
    assert ("t", 1, "Day | Amount\n2023-03-15 |  | 2.5") in marks


def test_odt():
    fields, title, marks, text = extract(samples.odt(), "x")
    assert (fields["format"], title) == ("odf", "Open plan")
    assert ("h", 2, "Part two") in marks and ("t", 1, "k | v") in marks and "Some words." in text


def test_epub_follows_its_spine():
    fields, title, marks, text = extract(samples.epub(), "x")
    assert (fields["format"], title) == ("epub", "A Book")
    assert text == "Chapter One\n\nIt begins.\n\nChapter Two\n\nIt ends."


def test_mail():
    fields, title, marks, text = extract(samples.MAIL, "x")
    assert (fields["format"], title) == ("eml", "Grüße from here")
    assert "From: Jörg <joerg@example.org>" in text and "Schöne Grüße, and a long line." in text
    assert "html form" not in text and "Attachment: plan.pdf" in text


def test_pdf_pages_headings_and_joined_words():
    fields, title, marks, text = extract(samples.report_pdf(), "x")
    assert (fields["fault"], fields["format"], fields["pages"], title) == ("ok", "pdf", "2", "Report 2026")
    assert [(m[1], m[2]) for m in marks if m[0] == "h"] == [(1, "The Report"), (2, "Findings"), (2, "Outlook")]
    assert "an example that goes on." in text
    assert [m[1] for m in marks if m[0] == "p"] == [1, 2] and marks[-2][2].endswith("page two.") or "page two." in text


@pytest.mark.parametrize("charset", ["utf-16", "windows-1252", "shift_jis", "koi8-r"])
def test_encodings_are_detected(charset):
    texts = {"shift_jis": "これは日本語の文章です。文字コードを調べます。" * 5, "koi8-r": "Это русский текст, кодировка которого неизвестна. " * 5}
    wanted = texts.get(charset, "Schöne Grüße aus Köln, sagte der Bäcker. " * 5).strip()
    fields, _, _, text = extract(wanted.encode(charset), "x.txt")
    assert text == wanted, fields


FAULTS = {
    "empty": (b"", "a.txt", "empty"),
    "blank": (b" \n\n ", "a.txt", "empty"),
    "no words": (b"... --- ...", "a.txt", "no_text"),
    "binary": (bytes(range(256)) * 40, "a.txt", "unsupported"),
    "picture as pdf": (b"\x89PNG\r\n\x1a\n" + b"\0" * 100, "report.pdf", "picture"),
    "old office": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600, "a.docx", "old_office"),
    "locked office": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 99 + "EncryptedPackage".encode("utf-16le") + b"\0" * 9, "a.docx", "encrypted"),
    "locked pdf": (samples.pdf([[(12, "secret")]], password="hunter2"), "a.pdf", "encrypted"),
    "scan": (samples.pdf([[], [], []]), "a.pdf", "scanned"),
    "cut pdf": (samples.report_pdf()[:300], "a.pdf", "damaged"),
    "cut docx": (samples.docx()[:400], "a.docx", "damaged"),
    "cut xml": (samples.archive({"word/document.xml": "<w:document><w:body><w:p>"}), "a.docx", "damaged"),
    "other zip": (samples.archive({"a.txt": "x"}), "a.zip", "unsupported"),
    "bomb": (None, "a.docx", "bomb"),
    "deep xml": (samples.archive({"content.xml": "<a>" * 3000 + "x" + "</a>" * 3000}), "a.odt", "too_deep"),
    "deep html": (b"<html><body>" + b"<div>" * 30000 + b"x", "a.html", "too_deep"),
    "deep json": (b"[" * 5000 + b"1" + b"]" * 5000, "a.json", "too_deep"),
    "deep mail": (b"".join(b"From: a@b\r\nSubject: s\r\nContent-Type: message/rfc822\r\n\r\n" for _ in range(50)) + b"x", "a.eml", "too_deep"),
    "much text": (b"word " * (4 << 20), "a.txt", "too_large"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_costs_a_reason(case):
    data, name, fault = FAULTS[case]
    fields, title, marks, text = extract(samples.bomb_zip() if data is None else data, name)
    assert fields["fault"] == fault
    assert (title, marks, text) == ("", [], "")


def test_a_mislabelled_file_is_read_as_what_it_is():
    assert extract(samples.docx(), "notes.txt")[0]["format"] == "docx"
    assert extract(samples.report_pdf(), "x.html")[0]["format"] == "pdf"
    assert extract(b"<!DOCTYPE html><p>Hello there", "x.txt")[0]["format"] == "html"
    assert extract(b"not json at all", "x.json")[3] == "not json at all"


def test_entities_are_not_expanded():
    fields, _, _, text = extract(samples.laughs(), "a.docx")
    assert len(text) < 100


def test_hidden_html_is_no_text():
    page = (b"<html><body><p>Shown</p><p hidden>a1</p><div style='DISPLAY : none'><p>a2</p></div><script>a3</script>"
            b"<span aria-hidden=true>a4</span><p style='font-size: 0.9em'>small</p><template>a5</template>end</body></html>")
    text = extract(page, "x.html")[3]
    assert [w for w in ("Shown", "small", "end") if w not in text] == []
    assert [w for w in ("a1", "a2", "a3", "a4", "a5") if w in text] == []


def test_a_gigabyte_of_text_is_refused_at_once():
    with tempfile.NamedTemporaryFile() as f:
        f.truncate(1 << 30)
        assert extract(b"", "a.txt", path=f.name)[0]["fault"] == "too_large"


def test_5000_pages():
    line = "This is one of the lines that every page of this long book has"
    fields, _, marks, text = extract(samples.pdf([[(11, f"{line} {i}.")] * 3 for i in range(5000)]), "book.pdf")
    assert (fields["fault"], fields["pages"]) == ("ok", "5000")
    assert marks[-1][:2] == ("p", 5000)


def test_links_of_sitemaps_and_feeds():
    sitemap = b'<urlset xmlns="s"><url><loc> http://a/1 </loc><lastmod>2026-01-01</lastmod></url><url><loc>http://a/2?x=1&amp;y=2</loc></url></urlset>'
    assert extract(sitemap, "", "--links")[3] == "http://a/1\t2026-01-01\t\nhttp://a/2?x=1&y=2"
    index = b"<sitemapindex><sitemap><loc>http://a/s1.xml</loc></sitemap></sitemapindex>"
    assert extract(index, "", "--links")[3].startswith("+http://a/s1.xml")
    rss = b"<rss><channel><title>F</title><link>http://a/</link><item><title>One</title><link>http://a/one</link><pubDate>Mon, 02 Mar 2026</pubDate></item></channel></rss>"
    assert extract(rss, "", "--links")[3] == "http://a/one\tMon, 02 Mar 2026\tOne"
    atom = b'<feed xmlns="http://www.w3.org/2005/Atom"><link href="http://a/"/><entry><title>E</title><link rel="self" href="http://a/x"/><link href="http://a/e"/><updated>2026</updated></entry></feed>'
    assert extract(atom, "", "--links")[3] == "http://a/e\t2026\tE"
    assert extract(b"<html>no</html>", "", "--links")[0]["fault"] == "unsupported"


def test_the_reader_is_locked_in():
    """What the child could do with its system calls is seen from outside: its status says seccomp is on."""
    read, write = os.pipe()
    child = subprocess.Popen([BINARY, "extract"], stdin=read, stdout=subprocess.DEVNULL)
    os.close(read)
    try:
        while True:
            with open(f"/proc/{child.pid}/status", encoding="ascii") as f:
                status = f.read()
            if "Seccomp:\t2" in status:
                break
            assert child.poll() is None
        assert "NoNewPrivs:\t1" in status
        assert len(os.listdir(f"/proc/{child.pid}/fd")) == 3 if os.geteuid() == 0 else True
    finally:
        os.close(write)
        child.wait(300)
