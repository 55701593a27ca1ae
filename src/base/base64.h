/* Base64 as people send it, piece by piece, and data: URIs. */
#ifndef TMB_BASE_BASE64_H
#define TMB_BASE_BASE64_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Reads both alphabets of RFC 4648 ("+/" and "-_"), with or without padding, with white space anywhere, and, in a URI,
 * characters that are escaped with '%'. A zeroed one is at the beginning. */
typedef struct tmb_base64_reader {
    uint32_t bits;
    unsigned digits;  /* in `bits`, 0 to 3 */
    unsigned padding; /* '=' that were read; only white space and more of them may follow */
    bool in_uri;      /* set by the caller: '%' begins an escape */
    unsigned escape;  /* 0: outside of one; otherwise what is read of it */
    bool failed;
} tmb_base64_reader;

/* Decodes the next `size` characters into `out`, which has room for size / 4 * 3 + 3 bytes. Returns the bytes written,
 * or SIZE_MAX if it is no base64. */
size_t tmb_base64_read(tmb_base64_reader *reader, const char *text, size_t size, void *out);
/* Whether what was read is whole. */
bool tmb_base64_end(const tmb_base64_reader *reader);

/* Whether all of `text` could be base64: nothing else is in it, and it is longer than a name or a path would be. */
bool tmb_base64_is_likely(const char *text, size_t size);

/* What comes behind "data:[TYPE][;NAME=VALUE]...;base64,"; NULL if `text` is no data: URI with base64. */
const char *tmb_data_uri_content(const char *text);

#endif
