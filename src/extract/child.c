/* The child: locks itself in, reads its stdin, writes the text to its stdout.
 *
 * What is loaded is loaded before the sandbox closes. From then on system calls that are not on the
 * list fail with EPERM; none of those on it opens a file or a socket, makes a process or changes
 * what another one may see. stdin is a file (mapped or read), stdout a pipe. */
#include <errno.h>
#include <libxml/parser.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "extract/formats.h"
#include "extract/wire.h"

#define MEMORY_DEFAULT ((size_t)1 << 30)
#define CPU_DEFAULT    60
#define NICENESS       10

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1 /* needs terabytes of address space, /proc and its own signals */
#else
#define SANITIZED 0
#endif

enum err extract_parse(const struct extract_input *in, struct arena *a, struct extracted *ret) {
    struct reading r = {.arena = a, .name = in->name, .type = in->type};
    static const struct format links = {"links", read_links};
    enum extract_fault fault = EXTRACT_EMPTY;
    const struct format *f = NULL;
    *ret = (struct extracted){0};
    build_init(&r.b);
    if (in->bytes.n > EXTRACT_INPUT_MAX)
        fault = EXTRACT_TOO_LARGE;
    else if (str_trim(in->bytes).n)
        f = in->links ? &links : sniff(in->bytes, in->name, in->type, &fault);
    if (f) {
        snprintf(ret->format, sizeof ret->format, "%s", f->name);
        fault = f->read(&r, in->bytes);
        if (build_is_full(&r.b) || !fault)
            fault = build_finish(&r.b, a, ret);
        memcpy(ret->charset, r.charset, sizeof ret->charset);
    }
    build_deinit(&r.b);
    ret->fault = fault;
    if (fault)
        ret->doc = (struct doc_text){0};
    return ERR_OK;
}

void formats_prepare(void) {
    struct buf b;
    char name[CHARSET_NAME_SIZE];
    xmlInitParser();
    buf_init(&b, 1000); /* ICU finds its data */
    if (charset_to_utf8(STR("\xe4\xf6\xfc sch\xf6n"), STR_NULL, &b, name))
        buf_clear(&b);
    buf_deinit(&b);
}

/* ---- the sandbox ---- */

static bool limit(int what, rlim_t n) {
    struct rlimit r = {n, n};
    return setrlimit((__rlimit_resource_t)what, &r) == 0;
}

static bool set_limits(const struct extract_child *c) {
    rlim_t cpu = (rlim_t)(c->cpu_seconds ? c->cpu_seconds : CPU_DEFAULT);
    rlim_t memory = c->memory_bytes ? c->memory_bytes : MEMORY_DEFAULT;
    errno = 0;
    (void)nice(NICENESS);
    return limit(RLIMIT_CORE, 0) && limit(RLIMIT_CPU, cpu) && limit(RLIMIT_FSIZE, WIRE_MAX) &&
           (SANITIZED || limit(RLIMIT_AS, memory)) && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0;
}

static bool close_sandbox(void) {
    static const int allowed[] = {
        SCMP_SYS(read),           SCMP_SYS(pread64),      SCMP_SYS(write),
        SCMP_SYS(writev),         SCMP_SYS(lseek),        SCMP_SYS(close),
        SCMP_SYS(fstat),          SCMP_SYS(brk),          SCMP_SYS(mmap),
        SCMP_SYS(munmap),         SCMP_SYS(mprotect),     SCMP_SYS(mremap),
        SCMP_SYS(madvise),        SCMP_SYS(futex),        SCMP_SYS(rt_sigaction),
        SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn), SCMP_SYS(sigaltstack),
        SCMP_SYS(clock_gettime),  SCMP_SYS(gettimeofday), SCMP_SYS(getrandom),
        SCMP_SYS(getpid),         SCMP_SYS(gettid),       SCMP_SYS(sched_yield),
        SCMP_SYS(exit),           SCMP_SYS(exit_group),   SCMP_SYS(restart_syscall),
        SCMP_SYS(sysinfo),
    };
    if (SANITIZED)
        return true;
    scmp_filter_ctx f = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    bool ok = f != NULL;
    for (size_t i = 0; ok && i < sizeof allowed / sizeof allowed[0]; i++)
        ok = seccomp_rule_add(f, SCMP_ACT_ALLOW, allowed[i], 0) == 0;
    /* abort() must end this process and can reach no other */
    ok = ok && seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
                                SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid())) == 0;
    ok = ok && seccomp_load(f) == 0;
    seccomp_release(f);
    return ok;
}

/* ---- stdin and stdout ---- */

static bool read_all(struct buf *b) {
    char piece[65536];
    ssize_t n;
    while ((n = read(STDIN_FILENO, piece, sizeof piece)) > 0 && !b->err)
        buf_add(b, piece, (size_t)n);
    return n == 0;
}

/* A file is mapped, so that a large one takes no memory twice. */
static bool take_input(struct buf *b, struct str *ret) {
    struct stat st;
    if (fstat(STDIN_FILENO, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0 &&
        st.st_size <= (off_t)EXTRACT_INPUT_MAX) {
        void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, STDIN_FILENO, 0);
        if (p != MAP_FAILED) {
            *ret = (struct str){p, (size_t)st.st_size};
            return true;
        }
    }
    if (S_ISREG(st.st_mode) && st.st_size > (off_t)EXTRACT_INPUT_MAX) {
        b->err = ERR_TOO_LARGE;
        return true;
    }
    bool ok = read_all(b);
    *ret = buf_str(b);
    return ok || b->err;
}

static bool write_all(struct str s) {
    while (s.n) {
        ssize_t n = write(STDOUT_FILENO, s.p, s.n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        s = str_sub(s, (size_t)n, s.n);
    }
    return true;
}

int extract_child_main(const struct extract_child *c) {
    struct extract_input in = {.fd = -1, .name = c->name, .type = c->type, .links = c->links};
    struct extracted out = {0};
    struct buf input, output;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (!set_limits(c)) {
        fprintf(stderr, "parley extract: limits cannot be set: %s\n", strerror(errno));
        return 1;
    }
    formats_prepare();
    (void)pdf_prepare();
    if (!close_sandbox()) {
        fprintf(stderr, "parley extract: the sandbox cannot be closed; the kernel needs seccomp\n");
        return 1;
    }
    buf_init(&input, EXTRACT_INPUT_MAX);
    buf_init(&output, WIRE_MAX);
    struct arena *a = arena_new((size_t)1 << 40); /* the limit of memory is the process's */
    bool ok = a && take_input(&input, &in.bytes);
    if (ok && input.err == ERR_TOO_LARGE)
        out.fault = EXTRACT_TOO_LARGE;
    else if (!ok || input.err || extract_parse(&in, a, &out))
        out.fault = EXTRACT_MEMORY;
    wire_write(&output, &out);
    ok = !output.err && write_all(buf_str(&output));
    arena_free(a);
    buf_deinit(&input);
    buf_deinit(&output);
    return ok ? 0 : 1;
}
