#include "base/name.h"

#include "base/utf8.h"

#include <ctype.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/* What no name has: control characters and formatting that cannot be seen or turns the text around, separators of
 * lines, and code points that mean nothing. */
static bool is_forbidden(uint32_t code) {
    if (code == 0x200C || code == 0x200D) {
        return false; /* scripts of India and Persia write words with them */
    }
    switch (utf8proc_category((utf8proc_int32_t)code)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP: return true;
    default: return code == '/' || code == '\\';
    }
}

static bool refuse(const char **what, const char *why) {
    *what = why;
    return false;
}

static bool check(const char *text, size_t bytes, const char **what) {
    size_t count = 0;
    bool visible = false;
    bool blank = false;
    for (size_t at = 0; at < bytes; count++) {
        uint32_t code = 0;
        at += tmb_utf8_decode(text + at, bytes - at, &code);
        blank = tmb_utf8_is_space(code);
        if (is_forbidden(code)) {
            return refuse(what, code == '/' || code == '\\' ? "must not have a slash"
                                                            : "must not have control or unassigned characters");
        }
        if (blank && count == 0) {
            return refuse(what, "must not begin with a blank");
        }
        if (count == 0 && code < 0x80 && ispunct((int)code)) {
            return refuse(what, "must not begin with a mark"); /* neither an option nor a hidden file */
        }
        visible = visible || (!blank && code != 0x200C && code != 0x200D);
    }
    if (count == 0 || !visible) {
        return refuse(what, "must not be empty");
    }
    if (blank) {
        return refuse(what, "must not end with a blank");
    }
    return count <= TMB_NAME_LENGTH || refuse(what, "must have at most 64 characters");
}

bool tmb_name_normalise(const char *text, char out[TMB_NAME_SIZE], const char **what) {
    *what = "";
    size_t bytes = strlen(text);
    /* Composing never makes a text longer than three times its size; what is so long is no name. */
    if (bytes > (size_t)8 * TMB_NAME_SIZE) {
        return refuse(what, "must have at most 64 characters");
    }
    if (tmb_utf8_valid_prefix(text, bytes) != bytes) {
        return refuse(what, "must be UTF-8");
    }
    utf8proc_uint8_t *composed = utf8proc_NFC((const utf8proc_uint8_t *)text);
    if (composed == NULL) {
        return refuse(what, "cannot be read");
    }
    size_t size = strlen((const char *)composed);
    bool good = check((const char *)composed, size, what) &&
                (size < TMB_NAME_SIZE || refuse(what, "must have at most 64 characters"));
    if (good) {
        memcpy(out, composed, size + 1);
    }
    free(composed);
    return good;
}
