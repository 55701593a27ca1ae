#include "visible.h"

#include <stdbool.h>
#include <string.h>
#include <utf8proc.h>

/* Marks that turn the order of what follows around: a name that has them reads as another one. */
static bool turns_order(utf8proc_int32_t code) {
    return code == 0x061c || code == 0x200e || code == 0x200f || (code >= 0x202a && code <= 0x202e) ||
           (code >= 0x2066 && code <= 0x2069);
}

int cli_put_visible(const char *text, FILE *out) {
    const char *plain = text; /* from here on nothing is escaped */
    int status = 0;
    while (*text != '\0' && status != EOF) {
        utf8proc_int32_t code;
        utf8proc_ssize_t length =
            utf8proc_iterate((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)strnlen(text, 4), &code);
        if (length > 0 && utf8proc_category(code) != UTF8PROC_CATEGORY_CC && !turns_order(code)) {
            text += length;
            continue;
        }
        if (text > plain && fwrite(plain, (size_t)(text - plain), 1, out) != 1) {
            return EOF;
        }
        if (length <= 0) {
            status = fprintf(out, "\\x%02x", (unsigned)(unsigned char)*text);
        } else if (code == '\n' || code == '\t' || code == '\r') {
            status = fprintf(out, "\\%c", code == '\n' ? 'n' : code == '\t' ? 't' : 'r');
        } else {
            status = fprintf(out, "\\u%04x", (unsigned)code);
        }
        text += length > 0 ? length : 1;
        plain = text;
        status = status < 0 ? EOF : 0;
    }
    return status == EOF || fputs(plain, out) == EOF ? EOF : 0;
}
