/* Reading JSON front to back without building a tree, for files with hundred thousands of entries: a tokenizer's
 * vocabulary is read some ten times faster than into json_t.
 *
 * Every function returns false at the end of an object or array, or on an error; the error is kept, and
 * everything after it returns false too. So a reader loops, and checks tmb_json_pull_finish once:
 *
 *     tmb_json_pull_object(&json);
 *     while (tmb_json_pull_key(&json, &key, &length)) {
 *         if (!tmb_json_pull_integer(&json, &id)) break;
 *         ...
 *     }
 *     status = tmb_json_pull_finish(&json, error);
 *
 * Strings must be valid UTF-8; duplicate keys are the caller's to find.
 */
#ifndef TMB_WEIGHTS_JSON_PULL_H
#define TMB_WEIGHTS_JSON_PULL_H

#include "timbre/timbre.h"

#define TMB_JSON_PULL_DEPTH 64

typedef struct tmb_json_pull {
    const char *name; /* of the file, for messages */
    const char *begin, *position, *end;
    char *buffer; /* the last string that had escapes */
    size_t capacity;
    int depth;
    bool fresh[TMB_JSON_PULL_DEPTH]; /* nothing read yet at this level: no comma is due */
    tmb_status status;
    const char *problem;
    size_t problem_offset;
} tmb_json_pull;

/* `name` and `text` [bytes] must outlive the reader. */
void tmb_json_pull_init(tmb_json_pull *json, const char *name, const char *text, size_t bytes);

/* Enters an object or an array. */
bool tmb_json_pull_object(tmb_json_pull *json);
bool tmb_json_pull_array(tmb_json_pull *json);

/* The next key of the object; its value must be read next. False if the object ends (it is left then). The key is
 * valid until the next string is read, not 0-terminated. */
bool tmb_json_pull_key(tmb_json_pull *json, const char **key, size_t *length);

/* Whether the array has another element, which must be read next; false if it ends (it is left then). */
bool tmb_json_pull_element(tmb_json_pull *json);

/* Values. */
bool tmb_json_pull_string(tmb_json_pull *json, const char **text, size_t *length);
bool tmb_json_pull_integer(tmb_json_pull *json, int64_t *value);
bool tmb_json_pull_boolean(tmb_json_pull *json, bool *value);
bool tmb_json_pull_skip(tmb_json_pull *json); /* anything */

/* The first character of the next value ('{', '[', '"', 't', '-', '7', …), 0 at the end. */
char tmb_json_pull_peek(tmb_json_pull *json);

/* For a reader's own complaint about what was read last: kept as the error. Returns false. */
bool tmb_json_pull_fail(tmb_json_pull *json, const char *problem);

/* Frees the buffer. TMB_ERROR_FORMAT with name and line for whatever went wrong; also if text is left over. */
tmb_status tmb_json_pull_finish(tmb_json_pull *json, tmb_error *error);

#endif
