/* Service level objectives, reckoned from the metrics: which share of answers came well, which came
 * in time, and how much of what may fail is used up. Windows slide by the minute; they begin with
 * the process. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

enum slo_objective { SLO_ANSWERS, SLO_REQUESTS, SLO_TTFT, SLO_COUNT };

struct slo_window {
    int64_t total, bad;
    double ratio;  /* of the good ones, 1 when there were none */
    double burned; /* bad / (total × (1 − target)): 1 = all that may fail has failed */
};

void slo_sample(void); /* at least once a minute; cheap when nothing is due. One thread */
const char *slo_name(enum slo_objective o);
double slo_target(enum slo_objective o);
/* minutes: 0 = since the start. Any thread. */
struct slo_window slo_read(enum slo_objective o, int minutes);
void slo_render_metrics(struct buf *b);
