/* What the files of net/ share: the event base under a loop. Not for other folders. */
#pragma once

#include <event2/event.h>

#include "net/loop.h"

struct event_base *loop_base(struct loop *l);
