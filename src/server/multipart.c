#include "server/multipart.h"

#include "base/memory.h"
#include "server/header_value.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

typedef enum state {
    PREAMBLE,
    AFTER_BOUNDARY, /* it is a delimiter, the closing one, or was text that only begins as one */
    HEAD,
    BODY,
    EPILOGUE,
    STOPPED
} state;

/* Blanks that may stand between a boundary and its line's end. */
enum { padding_limit = 64 };

struct tmb_multipart {
    const tmb_part_reader *reader;
    void *user;
    state state, before; /* AFTER_BOUNDARY: the state it goes back to */
    const char *problem;
    size_t parts;
    char delimiter[4 + TMB_BOUNDARY_LIMIT + 1]; /* CR, LF, two hyphens, boundary */
    size_t delimiter_size, matched;             /* bytes of it that were seen just now */
    size_t borrowed;                            /* of these, those that are not of the body: a head's last line end */
    char tail[padding_limit + 4];               /* what followed a boundary */
    size_t tail_size;
    char head[TMB_PART_HEAD_LIMIT + 1];
    size_t head_size, line; /* where its last line begins */
    tmb_form_part part;
};

static bool stop(tmb_multipart *multipart, const char *problem) {
    multipart->problem = multipart->problem != NULL ? multipart->problem : problem;
    multipart->state = STOPPED;
    return false;
}

static bool read_boundary(tmb_multipart *multipart, const char *content_type, const char **problem) {
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789'()+_,-./:=? *&!#$%^`|~{}@";
    char boundary[TMB_BOUNDARY_LIMIT + 1];
    tmb_parameter found = tmb_header_parameter(content_type, "boundary", boundary, sizeof boundary);
    size_t size = strlen(boundary);
    if (found == TMB_PARAMETER_ABSENT || (found == TMB_PARAMETER_FOUND && !size)) {
        *problem = "its content type has no boundary";
    } else if (found == TMB_PARAMETER_BROKEN) {
        *problem = "its content type has no boundary of 1 to 70 characters, or is malformed";
    } else if (strspn(boundary, allowed) != size || boundary[size - 1] == ' ') {
        *problem = "its boundary has characters that no boundary may have";
    } else {
        memcpy(multipart->delimiter, "\r\n--", 4);
        memcpy(multipart->delimiter + 4, boundary, size + 1);
        multipart->delimiter_size = 4 + size;
        return true;
    }
    return false;
}

tmb_multipart *tmb_multipart_create(const char *content_type, const tmb_part_reader *reader, void *user,
                                    const char **problem) {
    *problem = NULL;
    tmb_multipart *multipart = tmb_calloc(1, sizeof *multipart);
    if (multipart == NULL) {
        return NULL;
    }
    multipart->reader = reader;
    multipart->user = user;
    multipart->matched = 2; /* the first line needs no line's end before it */
    multipart->borrowed = 2;
    if (!read_boundary(multipart, content_type, problem)) {
        free(multipart);
        return NULL;
    }
    return multipart;
}

void tmb_multipart_destroy(tmb_multipart *multipart) { free(multipart); }

const char *tmb_multipart_problem(const tmb_multipart *multipart) { return multipart->problem; }

/* ---- A part's head -------------------------------------------------------------------------- */

static bool read_disposition(tmb_multipart *multipart, const char *value) {
    tmb_form_part *part = &multipart->part;
    if (!tmb_header_value_is(value, "form-data")) {
        return stop(multipart, "a part's Content-Disposition is not form-data");
    }
    tmb_parameter name = tmb_header_parameter(value, "name", part->name, sizeof part->name);
    if (name == TMB_PARAMETER_ABSENT || (name == TMB_PARAMETER_FOUND && !part->name[0])) {
        return stop(multipart, "a part has no name: Content-Disposition: form-data; name=\"FIELD\" is needed");
    }
    tmb_parameter plain = tmb_header_parameter(value, "filename", part->file_name, sizeof part->file_name);
    char extended[3 * TMB_PART_NAME_LIMIT + 64];
    tmb_parameter other = tmb_header_parameter(value, "filename*", extended, sizeof extended);
    if (name == TMB_PARAMETER_BROKEN || plain == TMB_PARAMETER_BROKEN || other == TMB_PARAMETER_BROKEN) {
        return stop(multipart, "a part's Content-Disposition is malformed or has a name of more than 255 bytes");
    }
    part->has_file_name = plain == TMB_PARAMETER_FOUND || other == TMB_PARAMETER_FOUND;
    if (other == TMB_PARAMETER_FOUND && tmb_header_decode_extended(extended) &&
        strlen(extended) < sizeof part->file_name) {
        memcpy(part->file_name, extended, strlen(extended) + 1);
    }
    return true;
}

static bool read_type(tmb_multipart *multipart, const char *value) {
    if (strncasecmp(value, "multipart/", 10) == 0) {
        return stop(multipart, "a part is a multipart itself: send each file as a part of its own");
    }
    size_t size = strnlen(value, sizeof multipart->part.content_type - 1);
    memcpy(multipart->part.content_type, value, size);
    multipart->part.content_type[size] = 0;
    return true;
}

static bool read_coding(tmb_multipart *multipart, const char *value) {
    return tmb_header_value_is(value, "binary") || tmb_header_value_is(value, "8bit") ||
           tmb_header_value_is(value, "7bit") ||
           stop(multipart, "a part has a Content-Transfer-Encoding: send its bytes as they are");
}

/* One header of the head, unfolded and NUL-terminated. */
static bool read_header(tmb_multipart *multipart, char *line, bool *disposition) {
    static const struct {
        const char *name;
        bool (*read)(tmb_multipart *multipart, const char *value);
    } headers[] = {{"content-disposition", read_disposition},
                   {"content-type", read_type},
                   {"content-transfer-encoding", read_coding}};
    char *colon = strchr(line, ':');
    if (colon == NULL || colon == line) {
        return stop(multipart, "a line of a part's head is no header");
    }
    size_t length = (size_t)(colon - line);
    while (length && (line[length - 1] == ' ' || line[length - 1] == '\t')) {
        length--;
    }
    char *value = colon + 1 + strspn(colon + 1, " \t");
    size_t size = strlen(value);
    while (size && (value[size - 1] == ' ' || value[size - 1] == '\t')) {
        value[--size] = 0;
    }
    for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++) {
        if (length == strlen(headers[i].name) && strncasecmp(line, headers[i].name, length) == 0) {
            if (i == 0 && *disposition) {
                return stop(multipart, "a part has two Content-Dispositions");
            }
            *disposition = *disposition || i == 0;
            return headers[i].read(multipart, value);
        }
    }
    return true; /* of no meaning in a form */
}

/* The head is complete: lines with an LF after each. */
static bool read_head(tmb_multipart *multipart) {
    memset(&multipart->part, 0, sizeof multipart->part);
    multipart->head[multipart->head_size] = 0;
    if (strlen(multipart->head) != multipart->head_size) {
        return stop(multipart, "a part's head has control characters");
    }
    bool disposition = false;
    char *line = multipart->head;
    for (char *at = multipart->head; *at; at++) {
        if (*at != '\n') {
            if (((unsigned char)*at < 0x20 && *at != '\t') || *at == 0x7f) {
                return stop(multipart, "a part's head has control characters");
            }
            continue;
        }
        if (at[1] == ' ' || at[1] == '\t') {
            *at = ' '; /* the line goes on */
            continue;
        }
        *at = 0;
        if (!read_header(multipart, line, &disposition)) {
            return false;
        }
        line = at + 1;
    }
    if (!disposition) {
        return stop(multipart, "a part has no Content-Disposition");
    }
    if (multipart->parts++ == TMB_PART_LIMIT) {
        return stop(multipart, "it has too many parts");
    }
    multipart->state = BODY;
    /* The empty line that ends the head may be the line's end that belongs to a boundary: an empty part. */
    multipart->matched = 2;
    multipart->borrowed = 2;
    return multipart->reader->begin(multipart->user, &multipart->part) || stop(multipart, NULL);
}

static bool add_to_head(tmb_multipart *multipart, char byte) {
    char *head = multipart->head;
    if (byte == '\n') {
        size_t size = multipart->head_size;
        if (size == multipart->line || head[size - 1] != '\r') {
            return stop(multipart, "a line of a part's head does not end with CR and LF");
        }
        multipart->head_size--;
        if (multipart->head_size == multipart->line) {
            return read_head(multipart);
        }
        head[multipart->head_size++] = '\n';
        multipart->line = multipart->head_size;
        return true;
    }
    if (multipart->head_size == TMB_PART_HEAD_LIMIT) {
        return stop(multipart, "a part's head is larger than 8192 bytes");
    }
    head[multipart->head_size++] = byte;
    return true;
}

/* ---- Boundaries ----------------------------------------------------------------------------- */

static bool give(tmb_multipart *multipart, const char *data, size_t size) {
    return !size || multipart->state != BODY || multipart->reader->data(multipart->user, data, size) ||
           stop(multipart, NULL);
}

/* What looked like the beginning of a boundary was text. */
static bool give_back_match(tmb_multipart *multipart) {
    size_t borrowed = multipart->borrowed;
    size_t matched = multipart->matched;
    multipart->matched = 0;
    multipart->borrowed = 0;
    return give(multipart, multipart->delimiter + borrowed, matched - borrowed);
}

/* One more byte after a boundary; `*again` if it is not used. */
static bool after_boundary(tmb_multipart *multipart, char byte, bool *again) {
    char *tail = multipart->tail;
    size_t size = multipart->tail_size;
    bool blank = (byte == ' ' || byte == '\t') && (!size || tail[size - 1] == ' ' || tail[size - 1] == '\t');
    bool hyphen = byte == '-' && (size == 0 || (size == 1 && tail[0] == '-'));
    bool cr = byte == '\r' && (!size || tail[size - 1] == ' ' || tail[size - 1] == '\t');
    bool lf = byte == '\n' && size && tail[size - 1] == '\r';
    if ((blank && size < padding_limit) || hyphen || cr || lf) {
        tail[multipart->tail_size++] = byte;
    }
    bool closing = hyphen && size == 1;
    if (lf || closing) {
        multipart->state = closing ? EPILOGUE : HEAD;
        multipart->head_size = 0;
        multipart->line = 0;
        return multipart->before != BODY || multipart->reader->end(multipart->user) || stop(multipart, NULL);
    }
    if (multipart->tail_size > size) {
        return true;
    }
    *again = true;
    multipart->state = multipart->before;
    multipart->matched = multipart->delimiter_size;
    return give_back_match(multipart) && give(multipart, tail, size);
}

/* Bytes of a body, or before the first boundary; returns how many were used. */
static size_t find_boundary(tmb_multipart *multipart, const char *data, size_t size) {
    size_t at = 0;
    while (at < size && multipart->state != STOPPED) {
        if (multipart->matched == 0) {
            const char *cr = memchr(data + at, '\r', size - at);
            size_t plain = cr != NULL ? (size_t)(cr - data) - at : size - at;
            (void)give(multipart, data + at, plain);
            at += plain + (cr != NULL);
            multipart->matched = cr != NULL;
            multipart->borrowed = 0;
        } else if (data[at] == multipart->delimiter[multipart->matched]) {
            at++;
            if (++multipart->matched == multipart->delimiter_size) {
                multipart->before = multipart->state;
                multipart->state = AFTER_BOUNDARY;
                multipart->matched = 0;
                multipart->tail_size = 0;
                return at;
            }
        } else {
            /* No other byte of a delimiter is a CR, so that a new one can begin here only. */
            (void)give_back_match(multipart);
        }
    }
    return at;
}

bool tmb_multipart_write(tmb_multipart *multipart, const char *data, size_t size) {
    for (size_t at = 0; at < size && multipart->state != STOPPED && multipart->state != EPILOGUE;) {
        bool again = false;
        if (multipart->state == PREAMBLE || multipart->state == BODY) {
            at += find_boundary(multipart, data + at, size - at);
        } else if (multipart->state == HEAD) {
            (void)add_to_head(multipart, data[at++]);
        } else {
            (void)after_boundary(multipart, data[at], &again);
            at += !again;
        }
    }
    return multipart->state != STOPPED;
}

bool tmb_multipart_finish(tmb_multipart *multipart) {
    return multipart->state == EPILOGUE ||
           stop(multipart, multipart->parts || multipart->state != PREAMBLE
                               ? "ends before its closing boundary"
                               : "has no part: the boundary of its content type does not come in it");
}
