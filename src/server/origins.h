/* Web pages of which origins may use the server. */
#ifndef TMB_SERVER_ORIGINS_H
#define TMB_SERVER_ORIGINS_H

#include "timbre/timbre.h"

/* Checks --cors-origin, a list with commas: each entry is "*" or SCHEME://HOST[:PORT]. "*" needs keys: without them any
 * page could use this machine. TMB_ERROR_ARGUMENT says which entry is wrong and why. */
tmb_status tmb_origins_check(const char *list, bool has_keys, tmb_error *error);

/* Whether the list has `origin`, as a browser sends it; hosts in any case. "*" has all but "null". */
bool tmb_origin_is_listed(const char *list, const char *origin);

#endif
