/* The parameters of requests: one table per endpoint, from which bodies, forms and query strings are
 * validated and the OpenAPI description is written. */
#ifndef TMB_SERVER_FIELDS_H
#define TMB_SERVER_FIELDS_H

#include "server/config.h"
#include "server/problem.h"

#include <jansson.h>

typedef enum tmb_field_kind {
    TMB_FIELD_TEXT, /* minimum and maximum are code points */
    TMB_FIELD_NUMBER,
    TMB_FIELD_INTEGER,
    TMB_FIELD_BOOLEAN,
    TMB_FIELD_CHOICE,   /* one of `choices` */
    TMB_FIELD_LANGUAGE, /* whether there is such a language is the library's to say */
    TMB_FIELD_NAME,     /* a voice's name */
    TMB_FIELD_VOICE,    /* any text, or an object {"id": text}: whether it is a name is seen when it is used */
    TMB_FIELD_FILE,     /* a file part of a form */
    TMB_FIELD_ITEMS     /* a list of objects with `fields` */
} tmb_field_kind;

/* Null means the same as leaving a field out, and null in a list that the element's item has no value. */
enum {
    TMB_FIELD_REQUIRED = 1,
    TMB_FIELD_EMPTY_IS_NONE = 2, /* so does "" */
    TMB_FIELD_LIST = 4,          /* one value, or a list of them */
    TMB_FIELD_REFERENCE = 16     /* ref_audio: its text may be as large as a body */
};

enum { TMB_FIELD_ALIASES = 4, TMB_LANGUAGE_LENGTH = 32 };

typedef struct tmb_field {
    const char *name;                       /* NULL ends a table */
    const char *aliases[TMB_FIELD_ALIASES]; /* other names that mean the same, or NULL */
    tmb_field_kind kind;
    unsigned flags;
    double minimum, maximum;
    size_t maximum_setting; /* offset in tmb_server_config of a uint64_t or double that replaces `maximum`; 0 = none */
    const char *const *choices;     /* ends with NULL */
    const struct tmb_field *fields; /* of ITEMS */
    const char *fallback;           /* the default as JSON, for the description; NULL = none */
    const char *example;            /* as JSON, or NULL */
    const char *summary;
} tmb_field;

/* Puts an object into the form that the checks and handlers expect: aliases become names; members that are null (or "",
 * if that means the same) go; names of voices become NFC. False if one field comes under two names. */
bool tmb_fields_settle(const tmb_field *fields, json_t *object, tmb_problem *problem);

/* Checks an object that was settled against a table. `strict`: unknown members are a problem too. */
bool tmb_fields_check(const tmb_field *fields, const tmb_server_config *config, const json_t *object, bool strict,
                      tmb_problem *problem);

/* The JSON value that a form's or query's text stands for in this field; NULL out of memory or if it is
 * no such value (`problem` is set then). */
json_t *tmb_field_parse(const tmb_field *field, const char *text, size_t size, tmb_problem *problem);

/* By name or alias; NULL: there is none. */
const tmb_field *tmb_field_find(const tmb_field *fields, const char *name);

/* "is not a field of this request; did you mean \"seed\"?", or which fields it has if none is like it; `body` is
 * "request" or "form". */
void tmb_field_unknown(const tmb_field *fields, const char *name, const char *body, char *message, size_t size);

/* The largest value or length, settings applied. */
double tmb_field_maximum(const tmb_field *field, const tmb_server_config *config);

/* The table as a JSON schema of an object. `form`: as multipart form (files as binary, no lists). New
 * reference or NULL. */
json_t *tmb_fields_schema(const tmb_field *fields, const tmb_server_config *config, bool strict, bool form);
/* The schema of one field's value. */
json_t *tmb_field_schema(const tmb_field *field, const tmb_server_config *config, bool form);

/* ---- Reading an object that was checked ----------------------------------------------------- */

/* Member `name`, if it is a list element `index` (a list of one serves all); NULL if absent or
 * null. */
const json_t *tmb_value_at(const json_t *object, const char *name, size_t index);
const char *tmb_text_at(const json_t *object, const char *name, size_t index, const char *otherwise);
double tmb_number_at(const json_t *object, const char *name, double otherwise);
bool tmb_boolean_at(const json_t *object, const char *name, bool otherwise);

#endif
