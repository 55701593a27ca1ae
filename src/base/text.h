/* Small things about text that came over the wire: UTF-8, base64, hex, names. */
#ifndef TMB_BASE_TEXT_H
#define TMB_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Whether there is a text and something in it. */
static inline bool tmb_text_is_given(const char *text) { return text != NULL && text[0] != '\0'; }

/* Code points in `size` bytes of UTF-8; SIZE_MAX if they are not UTF-8 (overlong forms, surrogates
 * and NUL count as not). */
size_t tmb_utf8_length(const char *text, size_t size);

/* Bytes of base64 for `size` bytes, padding included. */
size_t tmb_base64_encoded_size(size_t size);

/* Writes tmb_base64_encoded_size(size) characters, no NUL. */
void tmb_base64_encode(const void *data, size_t size, char *out);

/* 2 * size + 1 characters with the NUL. */
void tmb_hex_encode(const void *data, size_t size, char *out);
/* False if `text` is not exactly 2 * size hexadecimal digits. */
bool tmb_hex_decode(const char *text, void *out, size_t size);

/* A name for an API key: letters, digits, '_', '-', '.', not beginning with a mark, at most 64. */
bool tmb_is_name(const char *text);

/* The element of `names` [count] that `text` is most likely a misspelling of, or NULL. */
const char *tmb_text_nearest(const char *text, const char *const *names, size_t count);

/* Fills `out` with `size` bytes from the kernel's generator; false if that fails. */
bool tmb_random_bytes(void *out, size_t size);

/* 128 random bits as 32 hexadecimal digits. */
#define TMB_ID_LENGTH 32
bool tmb_random_id(char out[TMB_ID_LENGTH + 1]);
bool tmb_is_id(const char *text);

/* "1.5G", "64M", "4096" → bytes; "15m", "2h", "30", "1d" → seconds. False if it is neither. */
bool tmb_parse_bytes(const char *text, uint64_t *out);
bool tmb_parse_seconds(const char *text, double *out);

#endif
