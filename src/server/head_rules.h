/* What a request's head must be, so that no program before this one can read it differently. One set of rules for the
 * bytes as they come (gate.c, relay.c) and for each head as libmicrohttpd hands it out (http_head.c). */
#ifndef TMB_SERVER_HEAD_RULES_H
#define TMB_SERVER_HEAD_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    TMB_TARGET_LIMIT = 2048,
    TMB_HEAD_LIMIT = 16 * 1024, /* bytes, the first line included */
    TMB_FIELDS_LIMIT = 256      /* headers and cookies: libmicrohttpd keeps a record of each */
};

/* Zero-initialise; then the line, each header and the end. */
typedef struct tmb_head_rules {
    unsigned status; /* 0: nothing is wrong so far */
    const char *problem;
    unsigned lengths, encodings, hosts; /* headers of these names */
    unsigned fields;                    /* headers and cookies */
    bool is_old;                        /* HTTP/1.0 */
    bool closes;                        /* nothing is to follow this request */
    uint64_t length;                    /* of the body; UINT64_MAX: chunked */
    size_t head_bytes;                  /* that tmb_head_look found to be the head */
} tmb_head_rules;

void tmb_head_problem(tmb_head_rules *rules, unsigned status, const char *problem);
void tmb_head_line(tmb_head_rules *rules, const char *target, size_t target_size, const char *version,
                   size_t version_size);
void tmb_head_header(tmb_head_rules *rules, const char *name, size_t name_size, const char *value, size_t value_size);
void tmb_head_end(tmb_head_rules *rules);

/* Judges the bytes that begin a connection. False if the head is not complete and nothing is wrong with it yet. */
bool tmb_head_look(tmb_head_rules *rules, const char *bytes, size_t size);

#endif
