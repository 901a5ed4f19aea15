/* multipart/form-data (RFC 7578) of a body that is there in whole. Nothing is copied: parts point
 * into the body. */
#pragma once

#include "base/err.h"
#include "base/str.h"

struct multipart {
    struct str rest;     /* what has not been read */
    struct str boundary; /* without its dashes */
    bool started, ended;
};

struct multipart_part {
    struct str name;     /* of the field; "" when it says none */
    struct str filename; /* as it stands there; p NULL: no file */
    struct str type;     /* its Content-Type; "" = not said */
    struct str bytes;
};

/* content_type is the request's whole header. ERR_INVALID: not this type, or no boundary. */
enum err multipart_begin(struct multipart *m, struct str content_type, struct str body) ERR_CHECK;
/* ERR_NOT_FOUND after the last part; ERR_INVALID when the body is broken. */
enum err multipart_next(struct multipart *m, struct multipart_part *ret) ERR_CHECK;
