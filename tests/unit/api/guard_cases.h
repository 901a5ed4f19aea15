/* How many cases of the guard there are, once all that was queued before is written. */
#pragma once

#include "unit/api/api_fixture.h"

#include "store/safety.h"

static enum err nothing_fn(struct store_tx *tx, void *arg, struct errinfo *ei) {
    (void)tx, (void)arg, (void)ei;
    return ERR_OK;
}

static enum err count_fn(struct store_tx *tx, void *arg, struct errinfo *ei) {
    (void)ei;
    return case_count(tx, CASE_OPEN, arg);
}

/* What was queued before is written, and the loop was told: writes keep their order, and who waits
 * in a group of them is woken before its loops are told. */
static void wait_for_writes(void) {
    struct errinfo ei;
    for (int i = 0; i < 2; i++)
        assert_int_equal(store_write_wait(fx.store, nothing_fn, NULL, &ei), ERR_OK);
}

static int64_t cases(void) {
    int64_t n = 0;
    struct errinfo ei;
    wait_for_writes();
    assert_int_equal(store_read_wait(fx.store, count_fn, &n, &ei), ERR_OK);
    return n;
}
