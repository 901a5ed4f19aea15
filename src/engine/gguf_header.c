/* GGUF version 2 and 3 (little-endian), https://github.com/ggml-org/ggml/blob/master/docs/gguf.md:
 *
 *   magic "GGUF" | u32 version | u64 tensors | u64 pairs
 *   pairs   × { string key | u32 type | value }            string = u64 length, bytes
 *   tensors × { string name | u32 dimensions (≤ 4) | u64 × dimensions | u32 type | u64 offset }
 *   padding to general.alignment | tensor data
 *
 * The file is read through a small buffer, so that one that shrinks meanwhile gives an error and
 * not a SIGBUS. */
#include "engine/gguf_header.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"

enum {
    TYPE_U8,
    TYPE_I8,
    TYPE_U16,
    TYPE_I16,
    TYPE_U32,
    TYPE_I32,
    TYPE_F32,
    TYPE_BOOL,
    TYPE_STRING,
    TYPE_ARRAY,
    TYPE_U64,
    TYPE_I64,
    TYPE_F64,
    TYPE_COUNT
};

static const uint8_t scalar_bytes[TYPE_COUNT] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

#define MAX_PAIRS   65536
#define MAX_TENSORS 65536
#define MAX_KEY     256
#define MAX_NAME    1024
#define BUFFER      65536

/* Block size (elements) and bytes of a block by ggml's tensor type; 0 = a type that no longer
 * exists. */
static const struct {
    uint16_t elements, bytes;
} tensor_types[] = {
    {1, 4},    {1, 2},    {32, 18},  {32, 20},   {0, 0},     {0, 0},     {32, 22},   {32, 24},
    {32, 34},  {32, 36},  {256, 84}, {256, 110}, {256, 144}, {256, 176}, {256, 210}, {256, 292},
    {256, 66}, {256, 74}, {256, 98}, {256, 50},  {32, 18},   {256, 110}, {256, 82},  {256, 136},
    {1, 1},    {1, 2},    {1, 4},    {1, 8},     {1, 8},     {256, 56},  {1, 2},
};

struct reader {
    int fd;
    int64_t size, at; /* at = position of the next byte to give */
    int64_t buffer_at;
    size_t buffer_n;
    bool failed;
    uint32_t version;
    int64_t embeddings; /* bytes of the tokens' */
    bool output;        /* has weights of its own */
    unsigned char *buffer;
};

static int64_t left(const struct reader *r) {
    return r->size - r->at;
}

static void take(struct reader *r, void *out, size_t n) {
    unsigned char *to = out;
    memset(out, 0, n);
    if (r->failed || (int64_t)n > left(r)) {
        r->failed = true;
        return;
    }
    while (n) {
        int64_t off = r->at - r->buffer_at;
        if (off < 0 || off >= (int64_t)r->buffer_n) {
            ssize_t got = pread(r->fd, r->buffer, BUFFER, r->at);
            if (got <= 0) {
                r->failed = true;
                return;
            }
            r->buffer_at = r->at;
            r->buffer_n = (size_t)got;
            off = 0;
        }
        size_t here = r->buffer_n - (size_t)off;
        if (here > n)
            here = n;
        memcpy(to, r->buffer + off, here);
        to += here;
        n -= here;
        r->at += (int64_t)here;
    }
}

static void skip(struct reader *r, uint64_t n) {
    if (r->failed || n > (uint64_t)left(r))
        r->failed = true;
    else
        r->at += (int64_t)n;
}

static uint32_t take_u32(struct reader *r) {
    unsigned char b[4];
    take(r, b, 4);
    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

static uint64_t take_u64(struct reader *r) {
    uint64_t low = take_u32(r);
    return low | (uint64_t)take_u32(r) << 32;
}

/* Copies what fits and skips the rest. Strings longer than max mark the file as damaged. */
static void take_string(struct reader *r, char *out, size_t size, uint64_t max) {
    uint64_t n = take_u64(r);
    out[0] = 0;
    if (r->failed || n > max || n > (uint64_t)left(r)) {
        r->failed = true;
        return;
    }
    size_t keep = n < size ? (size_t)n : size - 1;
    take(r, out, keep);
    out[keep] = 0;
    skip(r, n - keep);
}

static int64_t take_integer(struct reader *r, uint32_t type) {
    unsigned char b[8];
    size_t n = scalar_bytes[type];
    take(r, b, n);
    uint64_t v = 0;
    for (size_t i = n; i-- > 0;)
        v = v << 8 | b[i];
    switch (type) {
    case TYPE_I8:
        return (int8_t)v;
    case TYPE_I16:
        return (int16_t)v;
    case TYPE_I32:
        return (int32_t)v;
    case TYPE_F32:
    case TYPE_F64:
        return 0;
    default:
        return v > INT64_MAX ? INT64_MAX : (int64_t)v;
    }
}

/* An array's values are passed over; of integers the largest is returned. */
static int64_t take_array(struct reader *r) {
    uint32_t type = take_u32(r);
    uint64_t count = take_u64(r);
    int64_t largest = 0;
    if (r->failed || type >= TYPE_COUNT || type == TYPE_ARRAY || count > (uint64_t)left(r)) {
        r->failed = true;
        return 0;
    }
    for (uint64_t i = 0; i < count && !r->failed; i++) {
        if (type == TYPE_STRING) {
            skip(r, take_u64(r));
            continue;
        }
        int64_t v = take_integer(r, type);
        if (v > largest)
            largest = v;
    }
    return largest;
}

static void store_pair(struct gguf_header *h, const char *key, int64_t value) {
    size_t n = strlen(h->architecture);
    if (strcmp(key, "general.file_type") == 0)
        h->file_type = value;
    if (!n || strncmp(key, h->architecture, n) != 0 || key[n] != '.')
        return;
    const struct {
        const char *name;
        int64_t *to;
    } fields[] = {
        {"context_length", &h->context_length},
        {"embedding_length", &h->embedding_length},
        {"block_count", &h->block_count},
        {"attention.head_count", &h->head_count},
        {"attention.head_count_kv", &h->head_count_kv},
        {"attention.key_length", &h->key_length},
        {"attention.value_length", &h->value_length},
        {"pooling_type", &h->pooling_type},
    };
    for (size_t i = 0; i < sizeof(fields) / sizeof(*fields); i++)
        if (strcmp(key + n + 1, fields[i].name) == 0)
            *fields[i].to = value;
    if (strcmp(key + n + 1, "attention.causal") == 0)
        h->causal = value != 0;
}

static void read_pair(struct reader *r, struct gguf_header *h, int64_t *alignment) {
    char key[MAX_KEY];
    take_string(r, key, sizeof(key), 65535);
    uint32_t type = take_u32(r);
    if (r->failed || type >= TYPE_COUNT) {
        r->failed = true;
    } else if (type == TYPE_STRING) {
        char unused[1];
        if (strcmp(key, "general.architecture") == 0)
            take_string(r, h->architecture, sizeof(h->architecture), 65535);
        else if (strcmp(key, "general.name") == 0)
            take_string(r, h->name, sizeof(h->name), 1 << 20);
        else if (strcmp(key, "general.type") == 0)
            take_string(r, h->type, sizeof(h->type), 65535);
        else if (strcmp(key, "tokenizer.chat_template") == 0)
            take_string(r, h->chat_template_start, sizeof(h->chat_template_start), 1 << 24);
        else
            take_string(r, unused, sizeof(unused), INT64_MAX);
    } else if (type == TYPE_ARRAY) {
        store_pair(h, key, take_array(r));
    } else {
        int64_t v = take_integer(r, type);
        if (strcmp(key, "general.alignment") == 0)
            *alignment = v;
        store_pair(h, key, v);
    }
}

/* Adds the tensor's elements; *ret_end becomes the end of the data that the table names. */
static void read_tensor(struct reader *r, struct gguf_header *h, uint64_t *ret_end) {
    char name[128];
    take_string(r, name, sizeof(name), MAX_NAME);
    uint32_t dims = take_u32(r);
    uint64_t elements = 1;
    if (dims > 4)
        r->failed = true;
    for (uint32_t i = 0; i < dims && !r->failed; i++)
        if (__builtin_mul_overflow(elements, take_u64(r), &elements) || elements > INT64_MAX / 8)
            r->failed = true;
    uint32_t type = take_u32(r);
    uint64_t offset = take_u64(r);
    if (r->failed)
        return;
    if (__builtin_add_overflow(h->parameters, (int64_t)elements, &h->parameters)) {
        r->failed = true;
        return;
    }
    if (type >= sizeof(tensor_types) / sizeof(*tensor_types) || !tensor_types[type].elements)
        return; /* a newer type: the loader decides */
    uint64_t bytes = elements / tensor_types[type].elements * tensor_types[type].bytes, end;
    if (__builtin_add_overflow(offset, bytes, &end)) {
        r->failed = true;
        return;
    }
    if (end > *ret_end)
        *ret_end = end;
    if (strcmp(name, "token_embd.weight") == 0)
        r->embeddings = (int64_t)bytes;
    r->output = r->output || strcmp(name, "output.weight") == 0;
}

static enum err read_header(struct reader *r, const char *path, struct gguf_header *h,
                            struct errinfo *ei) {
    unsigned char magic[4];
    take(r, magic, 4);
    if (r->failed || memcmp(magic, "GGUF", 4) != 0)
        return err_set(ei, ERR_CORRUPT, "%s is no GGUF file", path);
    r->version = take_u32(r);
    if (r->version < 2 || r->version > 3)
        return err_set(ei, ERR_CORRUPT, "%s has GGUF version %u; 2 and 3 are read", path,
                       r->version);
    uint64_t tensors = take_u64(r), pairs = take_u64(r);
    if (tensors > MAX_TENSORS || pairs > MAX_PAIRS)
        return err_set(ei, ERR_CORRUPT, "%s is damaged: its header counts %llu tensors", path,
                       (unsigned long long)tensors);
    int64_t alignment = 32;
    for (uint64_t i = 0; i < pairs && !r->failed; i++)
        read_pair(r, h, &alignment);
    uint64_t end = 0;
    for (uint64_t i = 0; i < tensors && !r->failed; i++)
        read_tensor(r, h, &end);
    if (r->failed || !h->architecture[0] || alignment < 1 || alignment > 1 << 20)
        return err_set(ei, ERR_CORRUPT, "%s is damaged: its header is cut short or inconsistent",
                       path);
    int64_t data = (r->at + alignment - 1) / alignment * alignment;
    if (end > INT64_MAX / 2)
        end = INT64_MAX / 2; /* more than any file has */
    if (data + (int64_t)end > r->size)
        return err_set(ei, ERR_CORRUPT,
                       "%s is cut short: %lld bytes, its tensors need %lld; fetch it again", path,
                       (long long)r->size, (long long)(data + (int64_t)end));
    h->tied_bytes = r->output ? 0 : r->embeddings;
    return ERR_OK;
}

enum err gguf_header_read(const char *path, struct gguf_header *ret, struct errinfo *ei) {
    struct reader r = {.fd = open(path, O_RDONLY | O_CLOEXEC)};
    struct gguf_header h = {.file_type = -1, .pooling_type = -1, .causal = true};
    struct stat st;
    enum err e;

    if (r.fd < 0)
        return err_set(ei, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "%s cannot be opened: %s",
                       path, strerror(errno));
    if (fstat(r.fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        e = err_set(ei, ERR_IO, "%s is no regular file", path);
        goto out;
    }
    r.size = h.file_bytes = st.st_size;
    r.buffer = malloc(BUFFER);
    if (!r.buffer) {
        e = err_set(ei, ERR_NOMEM, NULL);
        goto out;
    }
    e = read_header(&r, path, &h, ei);
    if (!e)
        *ret = h;
out:
    free(r.buffer);
    close(r.fd);
    return e;
}

int64_t gguf_token_values(const struct gguf_header *h) {
    const int64_t most = 65536;
    if (h->embedding_length < 1 || h->block_count < 1 || h->block_count > 4096)
        return 0;
    int64_t heads = h->head_count > 0 ? h->head_count : 1;
    int64_t kv_heads = h->head_count_kv > 0 ? h->head_count_kv : heads;
    int64_t key = h->key_length > 0 ? h->key_length : h->embedding_length / heads;
    int64_t value = h->value_length > 0 ? h->value_length : key;
    if (key < 1 || key > most || value < 1 || value > most || kv_heads > most ||
        kv_heads * (key + value) > 1 << 21)
        return 0;
    return h->block_count * kv_heads * (key + value);
}

const char *gguf_form_name(int64_t file_type) {
    static const struct {
        int type;
        const char *name;
    } forms[] = {
        {0, "F32"},     {1, "F16"},     {2, "Q4_0"},    {3, "Q4_1"},    {7, "Q8_0"},
        {8, "Q5_0"},    {9, "Q5_1"},    {10, "Q2_K"},   {11, "Q3_K_S"}, {12, "Q3_K_M"},
        {13, "Q3_K_L"}, {14, "Q4_K_S"}, {15, "Q4_K_M"}, {16, "Q5_K_S"}, {17, "Q5_K_M"},
        {18, "Q6_K"},   {25, "IQ4_NL"}, {30, "IQ4_XS"}, {32, "BF16"},
    };
    for (size_t i = 0; i < sizeof(forms) / sizeof(*forms); i++)
        if (forms[i].type == file_type)
            return forms[i].name;
    return "unknown";
}
