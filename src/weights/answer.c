#include "weights/answer.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

/* "Name: value\r\n" → whether it is this name; *value [*length] without blanks around it. */
static bool header_is(const char *line, size_t bytes, const char *name, const char **value, size_t *length) {
    size_t name_bytes = strlen(name);
    if (bytes <= name_bytes || line[name_bytes] != ':' || strncasecmp(line, name, name_bytes) != 0) {
        return false;
    }
    const char *begin = line + name_bytes + 1;
    const char *end = line + bytes;
    while (begin < end && (*begin == ' ' || *begin == '\t')) {
        begin++;
    }
    while (end > begin && (end[-1] == ' ' || end[-1] == '\t' || end[-1] == '\r' || end[-1] == '\n')) {
        end--;
    }
    *value = begin;
    *length = (size_t)(end - begin);
    return true;
}

static bool parse_number(const char *text, size_t length, uint64_t *number) {
    *number = 0;
    for (size_t i = 0; i < length; i++) {
        if (text[i] < '0' || text[i] > '9' || __builtin_mul_overflow(*number, 10u, number) ||
            __builtin_add_overflow(*number, (uint64_t)(text[i] - '0'), number)) {
            return false;
        }
    }
    return length != 0;
}

/* W/"abc" → abc */
static void copy_etag(char out[136], const char *value, size_t length) {
    if (length >= 2 && memcmp(value, "W/", 2) == 0) {
        value += 2;
        length -= 2;
    }
    if (length >= 2 && value[0] == '"' && value[length - 1] == '"') {
        value++;
        length -= 2;
    }
    if (length < 136) {
        memcpy(out, value, length);
        out[length] = '\0';
    }
}

/* "bytes 100-199/200" */
static void read_content_range(tmb_answer *answer, const char *value, size_t length) {
    if (length <= 6 || strncasecmp(value, "bytes ", 6) != 0) {
        return;
    }
    const char *dash = memchr(value, '-', length);
    const char *slash = memchr(value, '/', length);
    answer->has_range = dash != NULL && parse_number(value + 6, (size_t)(dash - value - 6), &answer->range_begin);
    answer->has_range_total =
        slash != NULL && parse_number(slash + 1, (size_t)(value + length - slash - 1), &answer->range_total);
}

/* Days from 1970-01-01 to a date of the Gregorian calendar (H. Hinnant, days_from_civil). */
static int64_t days_since_1970(int64_t year, int month, int day) {
    year -= month <= 2;
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    int64_t year_of_era = year - era * 400;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

/* "Sun, 06 Nov 1994 08:49:37 GMT" (RFC 9110's preferred form) in seconds since 1970; 0: it is none. */
static int64_t parse_date(const char *value, size_t length) {
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    char text[64];
    char name[4] = "";
    int day, year, hour, minute, second;
    if (length >= sizeof text) {
        return 0;
    }
    memcpy(text, value, length);
    text[length] = '\0';
    if (sscanf(text, "%*3[A-Za-z], %2d %3[A-Za-z] %4d %2d:%2d:%2d GMT", &day, name, &year, &hour, &minute, &second) !=
        6) {
        return 0;
    }
    const char *month = strlen(name) == 3 ? strstr(months, name) : NULL;
    if (month == NULL || (month - months) % 3 != 0 || day < 1 || day > 31 || year < 1970 || hour > 23 || hour < 0 ||
        minute > 59 || minute < 0 || second > 60 || second < 0) {
        return 0;
    }
    return days_since_1970(year, (int)(month - months) / 3 + 1, day) * 86400 + hour * 3600 + minute * 60 + second;
}

/* The parameter t of `"resolvers";r=0;t=211`: seconds until the window ends. */
static double parse_rate_limit(const char *value, size_t length) {
    const char *end = value + length;
    while (value < end) {
        while (value < end && (*value == ';' || *value == ',' || *value == ' ')) {
            value++;
        }
        const char *stop = value;
        while (stop < end && *stop != ';' && *stop != ',') {
            stop++;
        }
        uint64_t seconds = 0;
        if (stop - value > 2 && value[0] == 't' && value[1] == '=' &&
            parse_number(value + 2, (size_t)(stop - value - 2), &seconds)) {
            return (double)seconds;
        }
        value = stop;
    }
    return -1;
}

/* The lines that tell when to ask again. */
static void read_wait(tmb_answer *answer, const char *line, size_t bytes) {
    const char *value;
    size_t length;
    uint64_t number = 0;
    if (header_is(line, bytes, "retry-after", &value, &length)) {
        if (parse_number(value, length, &number)) {
            answer->retry_after = (double)number;
        } else {
            answer->retry_at = parse_date(value, length);
        }
    } else if (header_is(line, bytes, "ratelimit", &value, &length)) {
        answer->window = parse_rate_limit(value, length);
    } else if (header_is(line, bytes, "ratelimit-reset", &value, &length) && parse_number(value, length, &number)) {
        answer->window = (double)number;
    } else if (header_is(line, bytes, "date", &value, &length)) {
        answer->server_now = parse_date(value, length);
    }
}

/* The status of "HTTP/1.1 302 Found". */
static void begin_head(tmb_answer *answer, const char *line, size_t bytes) {
    const char *blank = memchr(line, ' ', bytes);
    uint64_t status = 0;
    answer->status = 0;
    if (blank != NULL && (size_t)(line + bytes - blank) > 3 && parse_number(blank + 1, 3, &status)) {
        answer->status = (int)status;
    }
    answer->has_range = answer->has_range_total = false;
    answer->retry_after = answer->window = -1;
    answer->retry_at = answer->server_now = 0;
}

void tmb_answer_begin(tmb_answer *answer) { *answer = (tmb_answer){.retry_after = -1, .window = -1}; }

void tmb_answer_line(tmb_answer *answer, const char *line, size_t bytes) {
    const char *value;
    size_t length;
    bool redirect = answer->status >= 300 && answer->status < 400;
    if (bytes >= 5 && memcmp(line, "HTTP/", 5) == 0) {
        begin_head(answer, line, bytes);
    } else if (header_is(line, bytes, "x-linked-etag", &value, &length)) {
        copy_etag(answer->etag, value, length);
        answer->has_linked_etag = true;
    } else if (header_is(line, bytes, "etag", &value, &length) && !answer->has_linked_etag) {
        copy_etag(answer->etag, value, length);
    } else if (header_is(line, bytes, "x-linked-size", &value, &length)) {
        answer->has_linked_bytes = parse_number(value, length, &answer->bytes);
        answer->has_bytes = answer->has_linked_bytes;
    } else if (header_is(line, bytes, "content-length", &value, &length) && !answer->has_linked_bytes && !redirect) {
        /* That of a redirect is the length of the redirect's own page. */
        answer->has_bytes = parse_number(value, length, &answer->bytes);
    } else if (header_is(line, bytes, "content-range", &value, &length)) {
        read_content_range(answer, value, length);
    } else {
        read_wait(answer, line, bytes);
    }
}

double tmb_answer_wait(const tmb_answer *answer, int64_t now) {
    if (answer->retry_after >= 0) {
        return answer->retry_after;
    }
    if (answer->retry_at > 0) {
        int64_t from = answer->server_now > 0 ? answer->server_now : now;
        return answer->retry_at > from ? (double)(answer->retry_at - from) : 0;
    }
    return answer->window;
}
