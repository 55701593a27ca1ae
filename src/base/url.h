/* URLs as they may be shown. */
#ifndef TMB_BASE_URL_H
#define TMB_BASE_URL_H

#include <stddef.h>

/* Writes the `bytes` of a URL to `out` [size], cut if it is too long for it, with "***" in the place of the user and
 * the password in front of its host; returns `out`. A URL that is none is treated alike: what a user has mistyped may
 * have a password in it, too. Thread-safe. */
const char *tmb_url_show(const char *url, size_t bytes, char *out, size_t size);

#endif
