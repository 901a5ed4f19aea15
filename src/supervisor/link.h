/* The names by which supervisor and child hand descriptors over; private to this folder. */
#pragma once

#define LINK_ENV_LIFELINE "PARLEY_LIFELINE_FD"
#define LINK_ENV_STATUS   "PARLEY_STATUS_FD"
#define LINK_ENV_START    "PARLEY_START"
