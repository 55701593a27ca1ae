/* One reading of a request's head. A proxy before this server may read a doubtful head differently, and then a second
 * request travels inside the first; so whatever can be read in two ways is refused, and the connection ends with it. */
#include "server/http_parts.h"
#include "server/state.h"

#include <stdint.h>
#include <string.h>
#include <strings.h>

const char *tmb_http_header(struct MHD_Connection *connection, const char *name) {
    return MHD_lookup_connection_value(connection, MHD_HEADER_KIND, name);
}

const char *tmb_http_host(tmb_request *request, struct MHD_Connection *connection) {
    return request->authority ? request->authority : tmb_http_header(connection, MHD_HTTP_HEADER_HOST);
}

typedef struct head_reading {
    const char *problem;
    unsigned status;
    unsigned lengths, encodings, hosts;
    const char *length, *encoding, *host;
    uintptr_t at; /* where the next header must begin */
} head_reading;

static void find_problem(head_reading *reading, unsigned status, const char *problem) {
    if (!reading->problem) {
        reading->problem = problem;
        reading->status = status;
    }
}

static bool is_token(const char *text, size_t size) {
    static const char others[] = "!#$%&'*+-.^_`|~";
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)text[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!letter && (!c || !strchr(others, c))) {
            return false;
        }
    }
    return size > 0;
}

/* The target as the client wrote it. */
static bool is_target(const tmb_target *target) {
    for (size_t i = 0; i < target->length && i < TMB_TARGET_LIMIT; i++) {
        unsigned char c = (unsigned char)target->text[i];
        if (c <= 0x20 || c == 0x7f) {
            return false;
        }
    }
    return true;
}

static bool has_control(const char *text, size_t size) {
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)text[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f) {
            return true;
        }
    }
    return false;
}

static bool name_is(const char *name, size_t size, const char *wanted) {
    return size == strlen(wanted) && strncasecmp(name, wanted, size) == 0;
}

static enum MHD_Result read_header(void *argument, enum MHD_ValueKind kind, const char *name, size_t name_size,
                                   const char *value, size_t value_size) {
    (void)kind;
    head_reading *reading = argument;
    value = value ? value : "";
    if (!is_token(name, name_size)) {
        find_problem(reading, 400, "a header's name has other characters than HTTP allows");
    }
    if (has_control(value, value_size)) {
        find_problem(reading, 400, "a header's value has control characters");
    }
    if (name_is(name, name_size, MHD_HTTP_HEADER_CONTENT_LENGTH)) {
        reading->lengths++;
        reading->length = value;
    } else if (name_is(name, name_size, MHD_HTTP_HEADER_TRANSFER_ENCODING)) {
        reading->encodings++;
        reading->encoding = value;
    } else if (name_is(name, name_size, MHD_HTTP_HEADER_HOST)) {
        reading->hosts++;
        reading->host = value;
    }
    /* libmicrohttpd hands out names and values as they lie in the head that it received, with only the marks between
     * them overwritten: "NAME", one mark, blanks, "VALUE", two marks for the line's end. */
    if (reading->at && ((uintptr_t)name != reading->at || (uintptr_t)value <= reading->at + name_size ||
                        (uintptr_t)value > reading->at + name_size + 1 + 16 * 1024)) {
        find_problem(reading, 400, "a line of the head is folded, or does not end with CR and LF");
    }
    reading->at = reading->at ? (uintptr_t)value + value_size + 2 : 0;
    return MHD_YES;
}

/* Whether every byte of the head is accounted for: what libmicrohttpd before 1.0 skips without a word (folded lines, a
 * line's end without CR, NUL) leaves a gap. Later versions refuse such heads themselves. */
static void check_sum(head_reading *reading, struct MHD_Connection *connection, const tmb_request_line *line) {
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    if (!reading->at || reading->problem) {
        return;
    }
    if (!info || reading->at + 2 != (uintptr_t)line->method + info->header_size) {
        find_problem(reading, 400, "a line of the head is folded, or does not end with CR and LF");
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
        find_problem(reading, 400, "the request's first line has other blanks than one between its parts");
    }
    return (uintptr_t)line->version + strlen(line->version) + 2;
#endif
}

static void check_length(head_reading *reading, const tmb_request_line *line, uint64_t *length) {
    *length = 0;
    if (reading->encodings && reading->lengths) {
        find_problem(reading, 400, "it has both Content-Length and Transfer-Encoding");
    } else if (reading->lengths > 1) {
        find_problem(reading, 400, "Content-Length comes twice");
    } else if (reading->encodings > 1) {
        find_problem(reading, 400, "Transfer-Encoding comes twice");
    } else if (reading->encodings && strcasecmp(reading->encoding, "chunked") != 0) {
        find_problem(reading, 501, "The only transfer encoding that is possible is chunked");
    } else if (reading->encodings && strcmp(line->version, MHD_HTTP_VERSION_1_0) == 0) {
        find_problem(reading, 400, "HTTP/1.0 has no Transfer-Encoding");
    } else if (reading->encodings) {
        *length = UINT64_MAX;
    }
    for (const char *at = reading->lengths ? reading->length : ""; *at || (reading->lengths && at == reading->length);
         at++) {
        if (*at < '0' || *at > '9' || *length > (INT64_MAX - 9) / 10) {
            find_problem(reading, 400, "Content-Length is not the length of a body");
            break;
        }
        *length = *length * 10 + (uint64_t)(*at - '0');
    }
}

bool tmb_head_read(tmb_request *request, struct MHD_Connection *connection, const tmb_request_line *line,
                   uint64_t *length) {
    head_reading reading = {0};
    const tmb_target *target = tmb_connection_target(request->slot);
    reading.at = first_header(&reading, line, target);
    (void)MHD_get_connection_values_n(connection, MHD_HEADER_KIND, read_header, &reading);
    check_sum(&reading, connection, line);
    check_length(&reading, line, length);
    if (!is_target(target)) {
        find_problem(&reading, 400, "the URL has blanks or control characters");
    }
    if (!reading.hosts && strcmp(line->version, MHD_HTTP_VERSION_1_0) != 0) {
        find_problem(&reading, 400, "it has no Host");
    } else if (reading.hosts > 1) {
        find_problem(&reading, 400, "Host comes twice");
    } else if (reading.hosts &&
               strspn(reading.host,
                      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~%!$&'()*+;=:[]") !=
                   strlen(reading.host)) {
        find_problem(&reading, 400, "Host is no name of a machine");
    }
    if (!reading.problem) {
        return true;
    }
    tmb_refuse(request, reading.status, reading.status == 400 ? "head" : NULL, "%s", reading.problem);
    return false;
}
