/* One reading of a request's head. A proxy before this server may read a doubtful head differently, and then a second
 * request travels inside the first; so whatever can be read in two ways is refused, and the connection ends with it. */
#include "server/head_rules.h"
#include "server/http_parts.h"
#include "server/state.h"

#include <stdint.h>
#include <string.h>

const char *tmb_http_header(struct MHD_Connection *connection, const char *name) {
    return MHD_lookup_connection_value(connection, MHD_HEADER_KIND, name);
}

const char *tmb_http_host(tmb_request *request, struct MHD_Connection *connection) {
    return request->authority != NULL ? request->authority : tmb_http_header(connection, MHD_HTTP_HEADER_HOST);
}

typedef struct head_reading {
    tmb_head_rules rules;
    uintptr_t at; /* where the next header must begin */
} head_reading;

static const char folded[] = "a line of the head is folded, or does not end with CR and LF";

static enum MHD_Result read_header(void *argument, enum MHD_ValueKind kind, const char *name, size_t name_size,
                                   const char *value, size_t value_size) {
    (void)kind;
    head_reading *reading = argument;
    value = value != NULL ? value : "";
    tmb_head_header(&reading->rules, name, name_size, value, value_size);
    /* libmicrohttpd hands out names and values as they lie in the head that it received, with only the marks between
     * them overwritten: "NAME", one mark, blanks, "VALUE", two marks for the line's end. */
    if (reading->at && ((uintptr_t)name != reading->at || (uintptr_t)value <= reading->at + name_size ||
                        (uintptr_t)value > reading->at + name_size + 1 + TMB_HEAD_LIMIT)) {
        tmb_head_problem(&reading->rules, 400, folded);
    }
    reading->at = reading->at ? (uintptr_t)value + value_size + 2 : 0;
    return MHD_YES;
}

/* Whether every byte of the head is accounted for: what libmicrohttpd before 1.0 skips without a word (folded lines, a
 * line's end without CR, NUL) leaves a gap. Later versions refuse such heads themselves. */
static void check_sum(head_reading *reading, struct MHD_Connection *connection, const tmb_request_line *line) {
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    if (reading->at && (info == NULL || reading->at + 2 != (uintptr_t)line->method + info->header_size)) {
        tmb_head_problem(&reading->rules, 400, folded);
    }
}

/* Where the first header must begin, or 0 if that cannot be told. */
static uintptr_t first_header(head_reading *reading, const tmb_request_line *line, const tmb_target *target) {
#if MHD_VERSION >= 0x01000000
    (void)reading;
    (void)line;
    (void)target;
    return 0;
#else
    if (line->method + strlen(line->method) + 1 != target->raw || target->raw + target->length + 1 != line->version) {
        tmb_head_problem(&reading->rules, 400, "the first line has other blanks than one between its parts");
    }
    return (uintptr_t)line->version + strlen(line->version) + 2;
#endif
}

bool tmb_head_read(tmb_request *request, struct MHD_Connection *connection, const tmb_request_line *line,
                   uint64_t *length) {
    head_reading reading = {.rules = {.status = 0}};
    const tmb_target *target = tmb_connection_target(request->slot);
    size_t target_size = target->length < TMB_TARGET_LIMIT ? target->length : TMB_TARGET_LIMIT;
    tmb_head_line(&reading.rules, target->text, target_size, line->version, strlen(line->version));
    reading.at = first_header(&reading, line, target);
    (void)MHD_get_connection_values_n(connection, MHD_HEADER_KIND, read_header, &reading);
    check_sum(&reading, connection, line);
    tmb_head_end(&reading.rules);
    *length = reading.rules.length;
    if (!reading.rules.status) {
        return true;
    }
    tmb_refuse(request, reading.rules.status, reading.rules.status == 400 ? "head" : NULL, "%s", reading.rules.problem);
    return false;
}
