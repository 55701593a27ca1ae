/* A look over JSON before it is parsed: how many values, how deep. Parsed values take a hundred times the bytes of
 * their text, so what is too much is known before memory is spent on it. */
#ifndef TMB_SERVER_JSON_SCAN_H
#define TMB_SERVER_JSON_SCAN_H

#include <stdbool.h>
#include <stddef.h>

typedef struct tmb_json_limits {
    size_t values; /* of all kinds, objects and lists too; names do not count */
    size_t depth;
} tmb_json_limits;

typedef enum tmb_json_scan_result { TMB_JSON_WITHIN, TMB_JSON_TOO_MANY, TMB_JSON_TOO_DEEP } tmb_json_scan_result;

/* Any bytes: what is no JSON is for the parser to say. Its parsed form never has more values than were counted. */
tmb_json_scan_result tmb_json_scan(const char *text, size_t size, const tmb_json_limits *limits);

#endif
