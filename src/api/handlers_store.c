/* The database's health, for administrators: whether it can be written, its checks and backups. */
#include "api/handlers.h"
#include "store/care.h"

static enum err write_state(struct call *c, struct errinfo *ei) {
    struct care_state s = {0};
    struct errinfo failing;
    struct care *care = c->api->o.care;
    enum err e = care ? care_state(care, c->arena, &s) : ERR_OK;
    if (e)
        return err_set(ei, e, NULL);
    bool broken = store_health(c->api->o.store, &failing) != ERR_OK;
    out_open(&c->out, NULL, '{');
    out_bool(&c->out, "writable", !broken);
    out_text_or_null(&c->out, "reason", broken ? str_from(failing.message) : STR(""));
    out_bool(&c->out, "running", s.running);
    out_time(&c->out, "checked_at", s.checked_at);
    out_text_or_null(&c->out, "check_error", s.check_error.p ? s.check_error : STR(""));
    out_time(&c->out, "backed_up_at", s.backed_up_at);
    out_text_or_null(&c->out, "backup_error", s.backup_error.p ? s.backup_error : STR(""));
    out_text_or_null(&c->out, "backup_path", s.backup_path.p ? s.backup_path : STR(""));
    out_close(&c->out, '}');
    return ERR_OK;
}

enum err api_store_read(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    (void)tx;
    return write_state(c, ei);
}

static enum err ask(struct call *c, enum care_task task, struct errinfo *ei) {
    if (!c->api->o.care)
        return err_set(ei, ERR_UNAVAILABLE, "this Parley does not look after a database");
    care_ask(c->api->o.care, task);
    return write_state(c, ei);
}

enum err api_store_check(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    (void)tx;
    return ask(c, CARE_CHECK, ei);
}

/* Not a WRITE, for all that a key could be noted: a backup is wanted most while nothing can be
 * written, and asking twice asks for one. */
enum err api_store_backup(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    (void)tx;
    return ask(c, CARE_BACKUP, ei);
}
