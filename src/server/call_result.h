/* What became of an item, as text on its way from the worker that spoke it to the server that waits. */
#ifndef TMB_SERVER_CALL_RESULT_H
#define TMB_SERVER_CALL_RESULT_H

#include "timbre/timbre.h"

#include <jansson.h>

/* A text to be freed; NULL: out of memory. `pieces` were sent before it. */
char *tmb_call_result_write(const tmb_clone_result *result, uint64_t pieces);

/* What was measured of a reference, likewise. */
char *tmb_call_reference_write(const tmb_reference_info *info);
/* False: it is no such text. */
bool tmb_call_reference_read(const char *text, tmb_reference_info *out);

/* A result with what it points to. */
typedef struct tmb_call_result {
    tmb_clone_result result;
    tmb_reference_info reference;
    uint64_t pieces; /* that were sent before */
    json_t *object;  /* has the texts */
    tmb_segment *segments;
} tmb_call_result;

/* False: it is no such text; `result.error` says so then. Free it in any case. */
bool tmb_call_result_read(const char *text, tmb_call_result *out);
void tmb_call_result_free(tmb_call_result *result);

#endif
