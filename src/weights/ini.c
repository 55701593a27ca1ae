#include "weights/ini.h"

#include "base/error.h"
#include "base/memory.h"

#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TEXT = 64 * 1024 };

typedef struct entry {
    const char *section, *key, *value; /* in the text */
} entry;

struct tmb_ini {
    char *text;
    entry *entries;
    size_t count;
};

static char *trim(char *text) {
    while (*text == ' ' || *text == '\t') {
        text++;
    }
    char *end = text + strlen(text);
    while (end > text && (end[-1] == ' ' || end[-1] == '\t' || end[-1] == '\r')) {
        *--end = '\0';
    }
    return text;
}

/* Reads one line; false if it is malformed. */
static bool parse_line(tmb_ini *ini, char *line, const char **section) {
    line = trim(line);
    if (*line == '\0' || *line == '#' || *line == ';') {
        return true;
    }
    const size_t length = strlen(line);
    if (*line == '[') {
        if (line[length - 1] != ']') {
            return false;
        }
        line[length - 1] = '\0';
        *section = trim(line + 1);
        return true;
    }
    char *equals = strchr(line, '=');
    if (equals == NULL || equals == line) {
        return false;
    }
    *equals = '\0';
    ini->entries[ini->count++] = (entry){*section, trim(line), trim(equals + 1)};
    return true;
}

tmb_status tmb_ini_parse(const char *text, size_t length, tmb_ini **out, tmb_error *error) {
    *out = NULL;
    if (length > MAX_TEXT) {
        return tmb_fail(error, TMB_ERROR_LIMIT, "the settings have %zu bytes; %d are the limit", length, MAX_TEXT);
    }
    if (length > 0 && memchr(text, '\0', length) != NULL) {
        return tmb_fail(error, TMB_ERROR_FORMAT, "the settings are no text: they hold a NUL");
    }
    size_t lines = 1;
    for (size_t i = 0; i < length; i++) {
        lines += text[i] == '\n';
    }
    tmb_ini *ini = tmb_calloc(1, sizeof *ini);
    if (ini != NULL) {
        ini->text = tmb_calloc(length + 1, 1);
        ini->entries = tmb_calloc(lines, sizeof *ini->entries);
    }
    if (ini == NULL || ini->text == NULL || ini->entries == NULL) {
        tmb_ini_free(&ini);
        return tmb_fail_memory(error, "settings", length);
    }
    if (length > 0) {
        memcpy(ini->text, text, length);
    }
    const char *section = "";
    size_t number = 1;
    for (char *line = ini->text; line != NULL; number++) {
        char *next = strchr(line, '\n');
        if (next != NULL) {
            *next++ = '\0';
        }
        if (!parse_line(ini, line, &section)) {
            tmb_ini_free(&ini);
            return tmb_fail(error, TMB_ERROR_FORMAT, "line %zu of the settings is neither [section] nor key = value",
                            number);
        }
        line = next;
    }
    *out = ini;
    return TMB_OK;
}

void tmb_ini_free(tmb_ini **ini) {
    if (ini == NULL || *ini == NULL) {
        return;
    }
    free((*ini)->entries);
    free((*ini)->text);
    free(*ini);
    *ini = NULL;
}

const char *tmb_ini_find(const tmb_ini *ini, const char *section, const char *key) {
    for (size_t i = 0; i < ini->count; i++) {
        if (strcmp(ini->entries[i].section, section) == 0 && strcmp(ini->entries[i].key, key) == 0) {
            return ini->entries[i].value;
        }
    }
    return NULL;
}

static tmb_status wrong(const char *section, const char *key, const char *value, double low, double high,
                        tmb_error *error) {
    if (value == NULL) {
        return tmb_fail(error, TMB_ERROR_MODEL, "[%s] %s is missing", section, key);
    }
    return tmb_fail(error, TMB_ERROR_MODEL, "[%s] %s = %.60s: a number from %g to %g is expected", section, key, value,
                    low, high);
}

tmb_status tmb_ini_size(const tmb_ini *ini, const char *section, const char *key, size_t low, size_t high, size_t *out,
                        tmb_error *error) {
    const char *value = tmb_ini_find(ini, section, key);
    size_t number = 0;
    bool legal = value != NULL && *value != '\0';
    for (const char *c = value; legal && *c != '\0'; c++) {
        legal = *c >= '0' && *c <= '9' && number <= high;
        number = number * 10 + (size_t)(*c - '0'); /* high is far below SIZE_MAX / 10 */
    }
    if (!legal || number < low || number > high) {
        return wrong(section, key, value, (double)low, (double)high, error);
    }
    *out = number;
    return TMB_OK;
}

tmb_status tmb_ini_number(const tmb_ini *ini, const char *section, const char *key, double low, double high,
                          double *out, tmb_error *error) {
    const char *value = tmb_ini_find(ini, section, key);
    char *end = NULL;
    /* The decimal point is a dot, whatever the program's locale says. */
    locale_t plain = newlocale(LC_NUMERIC_MASK, "C", (locale_t)0);
    if (plain == (locale_t)0) {
        return tmb_fail_memory(error, "reading a number", 0);
    }
    const double number = value != NULL ? strtod_l(value, &end, plain) : 0;
    freelocale(plain);
    if (value == NULL || end == value || *end != '\0' || !(number >= low && number <= high)) {
        return wrong(section, key, value, low, high, error);
    }
    *out = number;
    return TMB_OK;
}
