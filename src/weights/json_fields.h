/* Reading the members of a JSON object into a struct by a table. */
#ifndef TMB_WEIGHTS_JSON_FIELDS_H
#define TMB_WEIGHTS_JSON_FIELDS_H

#include "weights/json.h"

#include <stddef.h>

typedef enum tmb_json_kind {
    TMB_JSON_SIZE,   /* size_t */
    TMB_JSON_INT,    /* int */
    TMB_JSON_ID,     /* int32_t */
    TMB_JSON_DOUBLE, /* double */
    TMB_JSON_BOOL    /* bool */
} tmb_json_kind;

/* One member: where it goes and what it may be. */
typedef struct tmb_json_field {
    const char *name;
    tmb_json_kind kind;
    size_t offset;
    double minimum, maximum; /* both allowed; not for BOOL */
    bool optional;           /* absent or null: `fallback`, unchecked */
    double fallback;
} tmb_json_field;

/* `path` names the object in messages ("config.json: talker_config"). A missing field, one of another type, or one out
 * of bounds is TMB_ERROR_MODEL with its name and the bounds. */
tmb_status tmb_json_read_fields(const char *path, const json_t *object, const tmb_json_field *fields, size_t count,
                                void *out, tmb_error *error);

/* An array of minimum_count to `capacity` whole numbers within bounds. */
tmb_status tmb_json_read_sizes(const char *path, const json_t *object, const char *name, size_t minimum_count,
                               size_t capacity, double minimum, double maximum, size_t *out, size_t *count,
                               tmb_error *error);

#endif
