/* JSON Schema as rules for an answer (`response_format`).
 *
 * What is made is the JSON that meets the schema, or a part of it: no text that breaks the schema
 * is allowed, but not all that meets it is offered. Properties come in the schema's order; beside
 * declared properties there are no others; numbers of a range have at most 15 digits; oneOf is read
 * as anyOf (the ways must exclude each other). https://json-schema.org/draft/2020-12
 *
 * Read are: type (one or a list), properties, required, additionalProperties, maxProperties, items,
 * prefixItems, minItems, maxItems, minLength, maxLength, pattern (json_pattern.h), format (date,
 * time, date-time, uuid), minimum, maximum, exclusiveMinimum, exclusiveMaximum, enum, const, anyOf,
 * oneOf, allOf with one member, $ref within the schema, $defs and definitions, true and false.
 * Descriptive keywords are passed over; others are refused by name, as they would not be kept. */
#pragma once

#include "base/json.h"
#include "engine/grammar.h"

/* name: what the schema is called in errors. ERR_INVALID says where and what: a keyword that is not
 * supported, or a schema that nothing can meet; ERR_TOO_LARGE. The schema is not used afterwards.
 */
enum err json_schema_compile(const json_val *schema, const char *name, struct grammar **ret,
                             struct errinfo *ei) ERR_CHECK;
/* Any JSON object. */
enum err json_object_compile(struct grammar **ret, struct errinfo *ei) ERR_CHECK;
