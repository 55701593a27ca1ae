/* UTF-8 as Unicode defines it: no surrogates, nothing above U+10FFFF, no overlong forms. */
#ifndef TMB_BASE_UTF8_H
#define TMB_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of the code point at text[0 .. bytes), 1 to 4, and the code point in *code; 0 if there is no valid one (also
 * for bytes == 0). */
size_t tmb_utf8_decode(const char *text, size_t bytes, uint32_t *code);

/* Writes 1 to 4 bytes of a valid code point; returns how many. */
size_t tmb_utf8_encode(uint32_t code, char out[4]);

/* How many bytes at the start are valid: `bytes` if all are. */
size_t tmb_utf8_valid_prefix(const char *text, size_t bytes);

/* Copies text to `out` [size > 0] as valid UTF-8, NUL-terminated and cut where a letter ends: each byte that is not
 * part of a letter, and NUL, becomes U+FFFD. Returns the bytes without the NUL. */
size_t tmb_utf8_clean(const char *text, size_t bytes, char *out, size_t size);

/* Makes the text one line that steers no terminal: line breaks become blanks, other control
 * characters a question mark a byte. */
void tmb_utf8_one_line(char *text);

/* Unicode's White_Space. */
bool tmb_utf8_is_space(uint32_t code);

#endif
