#include "engine/texts.h"

#include "engine/engine_internal.h"

#define RETRY_MS 1000

static void list_add(struct engine *en, struct texts_work *w) {
    w->prev = NULL;
    w->next = en->texts_work;
    if (w->next)
        w->next->prev = w;
    en->texts_work = w;
}

static void list_remove(struct engine *en, struct texts_work *w) {
    if (w->prev)
        w->prev->next = w->next;
    else
        en->texts_work = w->next;
    if (w->next)
        w->next->prev = w->prev;
}

static void on_thread(void *arg) {
    struct texts_work *w = arg;
    w->work(w);
}

static void on_done(void *arg) {
    struct texts_work *w = arg;
    list_remove(w->engine, w);
    w->done(w);
}

enum err texts_run(struct engine *en, struct texts_work *w, bool much, struct errinfo *ei) {
    w->engine = en;
    if (!much) {
        w->work(w);
        w->done(w);
        return ERR_OK;
    }
    enum err e = jobs_submit(en->texts, on_thread, en->loop, on_done, w);
    if (e) {
        err_set(ei, e, "%d lists of texts are being worked on already; try again in %d s",
                TEXTS_QUEUED, RETRY_MS / 1000);
        if (ei)
            ei->retry_after_ms = RETRY_MS;
        return e;
    }
    list_add(en, w);
    return ERR_OK;
}

void texts_drop(struct engine *en) {
    while (en->texts_work) {
        struct texts_work *w = en->texts_work;
        list_remove(en, w);
        w->drop(w);
    }
}
