/* The header Range. */
#ifndef TMB_SERVER_RANGE_H
#define TMB_SERVER_RANGE_H

#include <stdint.h>

/* "bytes=a-b", "bytes=a-", "bytes=-n" within `size`: 1 = a range, 0 = not one that we follow (several, or
 * nonsense: the whole is sent), -1 = outside. */
int tmb_range_parse(const char *text, uint64_t size, uint64_t *first, uint64_t *last);

#endif
