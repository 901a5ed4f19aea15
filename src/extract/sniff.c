/* What a file is. Its bytes are asked first: names and media types lie. */
#include "extract/formats.h"

#include <archive.h>
#include <archive_entry.h>

static const struct format plain = {"text", read_plain}, markdown = {"markdown", read_markdown},
                           code = {"code", read_code}, csv = {"csv", read_csv},
                           json = {"json", read_json}, html = {"html", read_html},
                           mail = {"eml", read_mail}, docx = {"docx", read_docx},
                           pptx = {"pptx", read_pptx}, xlsx = {"xlsx", read_xlsx},
                           odf = {"odf", read_odf}, epub = {"epub", read_epub},
                           pdf = {"pdf", read_pdf};

static const struct {
    const char *key; /* ending with its dot, or media type */
    const struct format *format;
} by_name[] = {
    {".txt", &plain},
    {".text", &plain},
    {".log", &plain},
    {".rst", &plain},
    {".adoc", &plain},
    {".org", &plain},
    {".tex", &plain},
    {".srt", &plain},
    {".vtt", &plain},
    {".md", &markdown},
    {".markdown", &markdown},
    {".mdown", &markdown},
    {".csv", &csv},
    {".tsv", &csv},
    {".json", &json},
    {".jsonl", &json},
    {".ndjson", &json},
    {".ipynb", &json},
    {".geojson", &json},
    {".html", &html},
    {".htm", &html},
    {".xhtml", &html},
    {".eml", &mail},
    {".c", &code},
    {".h", &code},
    {".cc", &code},
    {".cpp", &code},
    {".hpp", &code},
    {".rs", &code},
    {".go", &code},
    {".py", &code},
    {".js", &code},
    {".mjs", &code},
    {".ts", &code},
    {".tsx", &code},
    {".jsx", &code},
    {".java", &code},
    {".kt", &code},
    {".swift", &code},
    {".rb", &code},
    {".php", &code},
    {".pl", &code},
    {".sh", &code},
    {".sql", &code},
    {".lua", &code},
    {".r", &code},
    {".jl", &code},
    {".cs", &code},
    {".scala", &code},
    {".hs", &code},
    {".ml", &code},
    {".ex", &code},
    {".erl", &code},
    {".zig", &code},
    {".asm", &code},
    {".s", &code},
    {".css", &code},
    {".yaml", &code},
    {".yml", &code},
    {".toml", &code},
    {".ini", &code},
    {".conf", &code},
    {".xml", &code},
    {".cmake", &code},
    {".diff", &code},
    {".patch", &code},
    {".vue", &code},
    {"text/markdown", &markdown},
    {"text/csv", &csv},
    {"text/tab-separated-values", &csv},
    {"application/json", &json},
    {"application/x-ndjson", &json},
    {"text/html", &html},
    {"application/xhtml+xml", &html},
    {"message/rfc822", &mail},
    {"text/x-python", &code},
    {"text/x-c", &code},
    {"text/javascript", &code},
    {"application/xml", &code},
    {"text/xml", &code},
};

/* Beginnings of what cannot be read, and why. */
static const struct {
    struct str magic;
    enum extract_fault fault;
} others[] = {
    {{"\x89PNG", 4}, EXTRACT_PICTURE},
    {{"\xff\xd8\xff", 3}, EXTRACT_PICTURE},
    {{"GIF8", 4}, EXTRACT_PICTURE},
    {{"II*\0", 4}, EXTRACT_PICTURE},
    {{"MM\0*", 4}, EXTRACT_PICTURE},
    {{"RIFF", 4}, EXTRACT_PICTURE},
    {{"OggS", 4}, EXTRACT_PICTURE},
    {{"ID3", 3}, EXTRACT_PICTURE},
    {{"fLaC", 4}, EXTRACT_PICTURE},
    {{"\x1a\x45\xdf\xa3", 4}, EXTRACT_PICTURE},
    {{"\x1f\x8b", 2}, EXTRACT_UNSUPPORTED},
    {{"\x7f"
      "ELF",
      4},
     EXTRACT_UNSUPPORTED},
    {{"MZ", 2}, EXTRACT_UNSUPPORTED},
    {{"Rar!", 4}, EXTRACT_UNSUPPORTED},
    {{"7z\xbc\xaf", 4}, EXTRACT_UNSUPPORTED},
    {{"{\\rtf", 5}, EXTRACT_UNSUPPORTED},
};

struct str media_type_name(struct str type) {
    return str_trim(str_cut(&type, ';'));
}

struct str media_type_param(struct str type, const char *param, struct arena *a) {
    (void)str_cut(&type, ';');
    while (type.n) {
        struct str item = str_trim(str_cut(&type, ';'));
        struct str key = str_trim(str_cut(&item, '='));
        if (!str_eq_nocase(key, str_from(param)))
            continue;
        item = str_trim(item);
        if (item.n && item.p[0] == '"') {
            item = str_sub(item, 1, item.n);
            const char *end = memchr(item.p, '"', item.n);
            item = str_sub(item, 0, end ? (size_t)(end - item.p) : item.n);
        }
        return arena_str(a, item);
    }
    return STR_NULL;
}

static const struct format *format_named(struct str key) {
    for (size_t i = 0; i < sizeof by_name / sizeof by_name[0]; i++)
        if (str_eq_nocase(key, str_from(by_name[i].key)))
            return by_name[i].format;
    return NULL;
}

static struct str ending(struct str name) {
    for (size_t i = name.n; i > 0 && name.p[i - 1] != '/'; i--)
        if (name.p[i - 1] == '.')
            return str_sub(name, i - 1, name.n);
    return STR_NULL;
}

bool extract_name_is_known(struct str name) {
    static const char *const others_known[] = {".pdf", ".docx", ".pptx", ".xlsx",
                                               ".odt", ".ods",  ".odp",  ".epub"};
    struct str end = ending(name);
    for (size_t i = 0; i < sizeof others_known / sizeof others_known[0]; i++)
        if (str_eq_nocase(end, str_from(others_known[i])))
            return true;
    return end.n > 1 && format_named(end) != NULL;
}

/* ---- archives ---- */

static const struct format *format_of_member(struct str name) {
    static const struct {
        const char *prefix;
        const struct format *format;
    } members[] = {
        {"word/document", &docx}, {"ppt/presentation", &pptx},       {"ppt/slides/", &pptx},
        {"xl/workbook", &xlsx},   {"META-INF/container.xml", &epub}, {"content.xml", &odf}};
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++)
        if (str_starts(name, str_from(members[i].prefix)))
            return members[i].format;
    return NULL;
}

static const struct format *sniff_zip(struct str bytes, enum extract_fault *ret_fault) {
    struct archive *in = archive_read_new();
    struct archive_entry *entry;
    const struct format *found = NULL;
    int rc = ARCHIVE_OK, n = 0;
    bool encrypted = false;
    if (!in) {
        *ret_fault = EXTRACT_MEMORY;
        return NULL;
    }
    archive_read_support_format_zip_seekable(in);
    rc = archive_read_open_memory(in, bytes.p, bytes.n);
    while (rc == ARCHIVE_OK && !found && n++ < 2000 &&
           (rc = archive_read_next_header(in, &entry)) == ARCHIVE_OK) {
        const char *path = archive_entry_pathname(entry);
        encrypted = encrypted || archive_entry_is_encrypted(entry);
        found = path ? format_of_member(str_from(path)) : NULL;
    }
    archive_read_free(in);
    if (!found)
        *ret_fault = encrypted           ? EXTRACT_ENCRYPTED
                     : rc == ARCHIVE_EOF ? EXTRACT_UNSUPPORTED
                                         : EXTRACT_DAMAGED;
    return found;
}

/* Compound files: old Office, or a current one inside of its encryption ([MS-OFFCRYPTO]). */
static enum extract_fault sniff_compound(struct str bytes) {
    static const char package[] = "E\0n\0c\0r\0y\0p\0t\0e\0d\0P\0a\0c\0k\0a\0g\0e";
    struct str name = {package, sizeof package};
    return str_find(bytes, name) != SIZE_MAX ? EXTRACT_ENCRYPTED : EXTRACT_OLD_OFFICE;
}

/* ---- text ---- */

static bool contains_nocase(struct str s, struct str what) {
    for (size_t i = 0; i + what.n <= s.n; i++)
        if (str_eq_nocase(str_sub(s, i, what.n), what))
            return true;
    return false;
}

static bool looks_like_html(struct str bytes) {
    struct str t = str_trim(str_sub(bytes, 0, 1024));
    if (str_starts(t, STR("\xef\xbb\xbf")))
        t = str_trim(str_sub(t, 3, t.n));
    return t.n && t.p[0] == '<' &&
           (str_eq_nocase(str_sub(t, 0, 14), STR("<!doctype html")) ||
            contains_nocase(t, STR("<html")) || contains_nocase(t, STR("<head>")) ||
            contains_nocase(t, STR("<body")));
}

/* Two of the headers that a mail has, in the lines it begins with. */
static bool looks_like_mail(struct str bytes) {
    static const char *const headers[] = {
        "From: ",         "Received: ", "Return-Path: ",  "Message-ID: ",
        "MIME-Version: ", "Subject: ",  "Delivered-To: ", "Date: "};
    struct str t = str_sub(bytes, 0, 4096);
    int found = 0;
    while (t.n) {
        struct str line = str_cut(&t, '\n');
        if (line.n <= 1)
            break;
        for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++)
            found += str_eq_nocase(str_sub(line, 0, strlen(headers[i])), str_from(headers[i]));
        bool folded = line.p[0] == ' ' || line.p[0] == '\t';
        if (!folded && !memchr(line.p, ':', line.n) && !str_starts(line, STR("From ")))
            return false;
    }
    return found >= 2;
}

const struct format *sniff(struct str bytes, struct str name, struct str type,
                           enum extract_fault *ret_fault) {
    struct str head = str_sub(bytes, 0, 1024);
    *ret_fault = EXTRACT_UNSUPPORTED;
    if (str_find(head, STR("%PDF-")) != SIZE_MAX)
        return &pdf;
    if (str_starts(head, STR("PK\x03\x04")) || str_starts(head, STR("PK\x05\x06")))
        return sniff_zip(bytes, ret_fault);
    if (str_starts(head, STR("\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"))) {
        *ret_fault = sniff_compound(bytes);
        return NULL;
    }
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (str_starts(head, others[i].magic) &&
            (others[i].magic.p[0] == '{' || charset_is_binary(bytes))) {
            *ret_fault = others[i].fault;
            return NULL;
        }
    if (charset_is_binary(bytes)) {
        *ret_fault = str_find(head, STR("ftyp")) == 4 ? EXTRACT_PICTURE : EXTRACT_UNSUPPORTED;
        return NULL;
    }
    const struct format *f = format_named(ending(name));
    if (!f)
        f = format_named(media_type_name(type));
    if ((!f || f == &plain) && looks_like_html(bytes))
        return &html;
    if ((!f || f == &plain) && looks_like_mail(bytes))
        return &mail;
    return f ? f : &plain;
}
