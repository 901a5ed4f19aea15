/* What a step costs on this machine and how many threads are best for it, remembered from run to
 * run: the first predictions after a start are then right, and nothing is measured again.
 *
 * The file: {"machine":"CPU, n threads, n bytes of weights, layout","threads":n,"base_us":x,
 * "answer_us":x,"prompt_us":x} (forecast.h has what these are). Of another machine, number of
 * threads or weights it counts as absent. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/model.h"

struct rates {
    double base_ns, answer_ns, prompt_ns;
    int threads; /* that decoding steps run on */
};

/* False: there is none that holds here. */
bool rates_read(const char *path, int threads, int64_t weights_bytes, struct rates *ret);
enum err rates_write(const char *path, int threads, int64_t weights_bytes,
                     const struct rates *r) ERR_CHECK;
/* Measures with some twenty steps. set_threads is told how many threads the next steps are to use;
 * 1 is tried beside most. On the compute thread, before the first request; what sequences hold is
 * lost. */
enum err rates_measure(struct model *m, int most, void (*set_threads)(struct model *m, int threads),
                       struct rates *ret, struct errinfo *ei) ERR_CHECK;
