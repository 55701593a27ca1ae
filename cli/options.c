#include "options.h"

#include "ui.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

bool cli_option_takes_value(const cli_option *option) {
    return option->kind != CLI_FLAG && option->kind != CLI_UNFLAG && option->kind != CLI_COUNT;
}

bool cli_is_standard(const char *path) { return path != NULL && strcmp(path, "-") == 0; }

bool cli_is_utf16(const char *text, size_t size) {
    return size >= 2 && (memcmp(text, "\xff\xfe", 2) == 0 || memcmp(text, "\xfe\xff", 2) == 0);
}

/* The range of an INTEGER or NUMBER: its own, or an item field's. */
static void range_of(const cli_option *option, double *minimum, double *maximum) {
    const tmb_clone_field *field = option->item_field != NULL ? tmb_clone_field_find(option->item_field) : NULL;
    *minimum = field != NULL ? field->minimum : option->minimum;
    *maximum = field != NULL ? field->maximum : option->maximum;
}

static bool parse_number(const cli_option *option, const char *text, double *out, char *reason, size_t size) {
    char *end;
    errno = 0;
    double value = strtod(text, &end);
    if (end == text || *end != '\0' || errno == ERANGE || !isfinite(value)) {
        (void)snprintf(reason, size, "\"%s\" is not a number", text);
        return false;
    }
    double minimum;
    double maximum;
    range_of(option, &minimum, &maximum);
    if (value < minimum || value > maximum) {
        (void)snprintf(reason, size, "%s is not within %.10g to %.10g", text, minimum, maximum);
        return false;
    }
    *out = value;
    return true;
}

/* A sampling rate as people write it: 16000, 16k, 44.1k, 48kHz, 48 kHz, 22050 Hz. */
static bool parse_rate(const cli_option *option, const char *text, int *out, char *reason, size_t size) {
    char *end;
    errno = 0;
    double value = strtod(text, &end);
    bool number = end != text && errno != ERANGE && isfinite(value) && *text >= '0' && *text <= '9' &&
                  strpbrk(text, "xXpP") == NULL;
    end += strspn(end, " ");
    if (*end == 'k' || *end == 'K') {
        value *= 1000;
        end++;
    }
    if (strcasecmp(end, "Hz") == 0) {
        end += 2;
    }
    if (!number || *end != '\0') {
        (void)snprintf(reason, size, "\"%s\" is not a number of Hz such as 16000, 44.1k or 48kHz", text);
        return false;
    }
    double whole = round(value);
    if (fabs(value - whole) > 1e-6) {
        (void)snprintf(reason, size, "%s is not a whole number of Hz", text);
        return false;
    }
    if (whole < option->minimum || whole > option->maximum) {
        (void)snprintf(reason, size, "%s is not within %.10g to %.10g Hz", text, option->minimum, option->maximum);
        return false;
    }
    *out = (int)whole;
    return true;
}

static bool parse_unsigned(const char *text, uint64_t *out, char **end) {
    if (*text < '0' || *text > '9') {
        return false;
    }
    errno = 0;
    *out = strtoull(text, end, 10);
    return errno == 0;
}

static bool parse_bytes(const char *text, uint64_t *out, char *reason, size_t size) {
    char *end = NULL;
    int shift = -1;
    if (parse_unsigned(text, out, &end)) {
        static const char units[] = "KMGT";
        const char *unit = *end == '\0' ? NULL : strchr(units, *end & ~0x20);
        if (*end == '\0') {
            shift = 0;
        } else if (unit != NULL && *unit != '\0' && end[1] == '\0') {
            shift = 10 * (int)(unit - units + 1);
        }
    }
    if (shift < 0 || *out > UINT64_MAX >> shift) {
        (void)snprintf(reason, size, "\"%s\" is not a number of bytes such as 512M or 4G", text);
        return false;
    }
    *out <<= shift;
    return true;
}

static bool parse_choice(const cli_option *option, const char *text, int *out, char *reason, size_t size) {
    size_t length = 0;
    char list[256] = "";
    for (int i = 0; option->choices[i] != NULL; i++) {
        if (strcmp(option->choices[i], text) == 0) {
            *out = i;
            return true;
        }
        if (length < sizeof list) {
            length +=
                (size_t)snprintf(list + length, sizeof list - length, "%s%s", i > 0 ? ", " : "", option->choices[i]);
        }
    }
    (void)snprintf(reason, size, "\"%s\" is not one of %s", text, list);
    return false;
}

/* Standard output has other names where a file's name is asked for. */
static const char *output_name(const char *text) {
    static const char *const names[] = {"/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"};
    for (size_t i = 0; i < CLI_LENGTH(names); i++) {
        if (strcmp(text, names[i]) == 0) {
            return "-";
        }
    }
    return text;
}

bool cli_parse_value(const cli_option *option, void *field, const char *text, char *reason, size_t size) {
    double number;
    switch (option->kind) {
    case CLI_FLAG:
    case CLI_UNFLAG:
        /* Only from the environment: "0" and the like mean that the variable is as good as unset. */
        if (strcmp(text, "0") != 0 && strcmp(text, "false") != 0 && strcmp(text, "no") != 0) {
            *(bool *)field = option->kind == CLI_FLAG;
        }
        return true;
    case CLI_COUNT: ++*(int *)field; return true;
    case CLI_TEXT:
    case CLI_FILE:
    case CLI_FOLDER:
        if (option->kind != CLI_TEXT && *text == '\0') {
            (void)snprintf(reason, size, "the name is empty");
            return false;
        }
        *(const char **)field = option->writes && option->letter == 'o' ? output_name(text) : text;
        return true;
    case CLI_INTEGER:
        if (!parse_number(option, text, &number, reason, size)) {
            return false;
        }
        if (number != floor(number)) {
            (void)snprintf(reason, size, "%s is not a whole number", text);
            return false;
        }
        *(int *)field = (int)number;
        return true;
    case CLI_RATE: return parse_rate(option, text, (int *)field, reason, size);
    case CLI_NUMBER: return parse_number(option, text, (double *)field, reason, size);
    case CLI_BYTES: return parse_bytes(text, (uint64_t *)field, reason, size);
    case CLI_UNSIGNED: {
        cli_unsigned *out = field;
        char *end = NULL;
        out->given = parse_unsigned(text, &out->value, &end) && *end == '\0';
        if (!out->given) {
            (void)snprintf(reason, size, "\"%s\" is not a whole number from 0 to 18446744073709551615", text);
        }
        return out->given;
    }
    case CLI_CHOICE: return parse_choice(option, text, (int *)field, reason, size);
    case CLI_LIST: {
        cli_list *list = field;
        if (list->count == CLI_LENGTH(list->items)) {
            (void)snprintf(reason, size, "given more than %zu times", CLI_LENGTH(list->items));
            return false;
        }
        list->items[list->count++] = text;
        return true;
    }
    }
    return false;
}
