/* The names by which supervisor and child hand descriptors over; private to this folder. */
#pragma once

#define LINK_ENV_LIFELINE "PARLEY_LIFELINE_FD"
#define LINK_ENV_STATUS   "PARLEY_STATUS_FD"
#define LINK_ENV_START    "PARLEY_START"
#define LINK_ENV_BEFORE   "PARLEY_BEFORE_PID"

/* What a program leaves for the one that it becomes (handover.c). */
#define HANDOVER_ENV     "PARLEY_HANDOVER"
#define HANDOVER_ENV_OWN "PARLEY_HANDOVER_OWN"
