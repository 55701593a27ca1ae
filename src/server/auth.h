/* API keys: a file of them, who may pass, how often. */
#ifndef TMB_SERVER_AUTH_H
#define TMB_SERVER_AUTH_H

#include "timbre/timbre.h"

typedef struct tmb_keys tmb_keys;

#define TMB_KEY_NAME 64

typedef enum tmb_key_answer { TMB_KEY_GOOD, TMB_KEY_UNKNOWN, TMB_KEY_TOO_OFTEN } tmb_key_answer;

/* Reads `path`: one key a line, "[NAME] KEY" or "[NAME] sha256:HEX", '#' begins a comment. A plain key
 * has at least 16 characters. Only hashes are kept in memory. TMB_ERROR_IO, TMB_ERROR_FORMAT (with the
 * line, never with the key) also if there is no key in it. `per_minute`: 0 = no limit. */
tmb_status tmb_keys_open(const char *path, uint64_t per_minute, tmb_keys **out, tmb_error *error);
void tmb_keys_close(tmb_keys **keys);

/* Reads the file again; on failure the old keys stay. */
tmb_status tmb_keys_reload(tmb_keys *keys, tmb_error *error);

/* Whether `presented` (NULL = none) is a key; takes the same time for every wrong one. `name` gets the
 * key's name. With `count` the request counts against the key's limit: TMB_KEY_TOO_OFTEN says in *wait
 * after how many seconds the next is allowed. Any thread may call. */
tmb_key_answer tmb_keys_check(tmb_keys *keys, const char *presented, bool count, char name[TMB_KEY_NAME], double *wait);

#endif
