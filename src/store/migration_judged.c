/* Migration 11: documents are judged when they come in. What was found is JSON without any of the
 * text; the stamp says by what, so that nothing is judged twice. */
#include "store/migrations.h"

const char sql_judged[] = "ALTER TABLE documents ADD COLUMN safety TEXT NOT NULL DEFAULT '';"
                          "ALTER TABLE documents ADD COLUMN safety_stamp TEXT NOT NULL DEFAULT '';";
