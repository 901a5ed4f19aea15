/* What the learners' tests share. */
#pragma once

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "learn/stats.h"

#define assert_ok(call)           assert_int_equal((call), ERR_OK)
#define assert_err(call, e)       assert_int_equal((call), (e))
#define assert_near(a, b, margin) assert_true(fabs((double)(a) - (double)(b)) <= (margin))
