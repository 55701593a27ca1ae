#include "server/auth.h"

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"
#include "base/thread.h"

#include <nettle/memops.h>
#include <nettle/sha2.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct key {
    uint8_t hash[SHA256_DIGEST_SIZE];
    char name[TMB_KEY_NAME];
    double tokens, filled; /* of the bucket, and when it was filled last */
} key;

struct tmb_keys {
    pthread_mutex_t lock;
    char *path;
    double per_minute;
    key *list;
    size_t count;
};

enum { key_limit = 10000, shortest_key = 16, line_limit = 1024 };

/* Without the blanks behind it, which are no part of a header's value. */
static void hash_key(const char *text, uint8_t hash[SHA256_DIGEST_SIZE]) {
    struct sha256_ctx context;
    size_t length = strlen(text);
    while (length > 0 && (text[length - 1] == ' ' || text[length - 1] == '\t')) {
        length--;
    }
    sha256_init(&context);
    sha256_update(&context, length, (const uint8_t *)text);
    sha256_digest(&context, SHA256_DIGEST_SIZE, hash);
    explicit_bzero(&context, sizeof context);
}

/* One line without its end; false if it is no key (`what` says why), `*used` if it held one. */
static bool read_line(char *line, key *out, bool *used, const char **what) {
    *used = false;
    char *save = NULL;
    char *first = strtok_r(line, " \t\r\n", &save);
    if (first == NULL || first[0] == '#') {
        return true;
    }
    char *second = strtok_r(NULL, " \t\r\n", &save);
    const char *text = second != NULL && second[0] != '#' ? second : first;
    memset(out, 0, sizeof *out);
    if (text == second) {
        if (!tmb_is_name(first) || strlen(first) >= TMB_KEY_NAME) {
            *what = "the name has other characters than letters, digits, '_', '-' and '.'";
            return false;
        }
        (void)snprintf(out->name, sizeof out->name, "%s", first);
    }
    if (strncmp(text, "sha256:", 7) == 0) {
        if (!tmb_hex_decode(text + 7, out->hash, sizeof out->hash)) {
            *what = "sha256: is not followed by 64 hexadecimal digits";
            return false;
        }
    } else if (strlen(text) < shortest_key) {
        *what = "the key has less than 16 characters";
        return false;
    } else {
        hash_key(text, out->hash);
    }
    if (!out->name[0]) {
        char prefix[9];
        tmb_hex_encode(out->hash, 4, prefix);
        (void)snprintf(out->name, sizeof out->name, "key-%s", prefix);
    }
    *used = true;
    return true;
}

static tmb_status add_key(key **keys, size_t *used, size_t *capacity, const key *added, tmb_error *error) {
    if (*used == *capacity) {
        size_t more = *capacity ? 2 * *capacity : 16;
        key *grown = tmb_realloc(*keys, more, sizeof **keys);
        if (grown == NULL) {
            return tmb_fail_memory(error, "keys", more * sizeof **keys);
        }
        *keys = grown;
        *capacity = more;
    }
    (*keys)[(*used)++] = *added;
    return TMB_OK;
}

/* Reads the lines of `text`, which is changed. */
static tmb_status read_lines(const char *path, char *text, size_t bytes, key **keys, size_t *used, tmb_error *error) {
    size_t capacity = 0;
    tmb_status status = TMB_OK;
    /* Some editors write a byte order mark, which would become part of the first key. */
    char *line = text + (bytes >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0);
    for (int number = 1; status == TMB_OK && line < text + bytes; number++) {
        char *end = memchr(line, '\n', (size_t)(text + bytes - line));
        size_t length = end != NULL ? (size_t)(end - line) : (size_t)(text + bytes - line);
        line[length] = 0;
        key next;
        bool is_key = false;
        const char *what = NULL;
        if (length >= line_limit) {
            what = "the line is too long";
        } else if (strlen(line) != length) {
            what = "the line has a NUL byte";
        } else {
            (void)read_line(line, &next, &is_key, &what);
        }
        if (what != NULL) {
            status = tmb_fail(error, TMB_ERROR_FORMAT, "%s:%d: %s", path, number, what);
        } else if (is_key && *used == key_limit) {
            status = tmb_fail(error, TMB_ERROR_LIMIT, "%s has more than %d keys", path, key_limit);
        } else if (is_key) {
            status = add_key(keys, used, &capacity, &next, error);
        }
        line += length + 1;
    }
    return status;
}

static tmb_status read_keys(const char *path, key **list, size_t *count, tmb_error *error) {
    char *text = NULL;
    size_t bytes = 0;
    /* Only a regular file: a pipe would hold up whoever reads it. */
    tmb_status status = tmb_file_read(path, (size_t)key_limit * line_limit, &text, &bytes, error);
    if (status != TMB_OK) {
        return status;
    }
    key *keys = NULL;
    size_t used = 0;
    status = read_lines(path, text, bytes, &keys, &used, error);
    explicit_bzero(text, bytes);
    free(text);
    if (status == TMB_OK && used == 0) {
        status = tmb_fail(error, TMB_ERROR_FORMAT, "%s has no key: write one a line, as from \"openssl rand -hex 32\"",
                          path);
    }
    if (status != TMB_OK) {
        free(keys);
        return status;
    }
    *list = keys;
    *count = used;
    return TMB_OK;
}

tmb_status tmb_keys_open(const char *path, uint64_t per_minute, tmb_keys **out, tmb_error *error) {
    *out = NULL;
    tmb_keys *keys = tmb_calloc(1, sizeof *keys);
    if (keys == NULL || (keys->path = tmb_strdup(path)) == NULL) {
        free(keys);
        return tmb_fail_memory(error, "keys", 0);
    }
    (void)pthread_mutex_init(&keys->lock, NULL);
    keys->per_minute = (double)per_minute;
    tmb_status status = tmb_keys_reload(keys, error);
    if (status != TMB_OK) {
        tmb_keys_close(&keys);
    }
    *out = keys;
    return status;
}

void tmb_keys_close(tmb_keys **keys) {
    tmb_keys *closing = *keys;
    *keys = NULL;
    if (closing != NULL) {
        (void)pthread_mutex_destroy(&closing->lock);
        free(closing->list);
        free(closing->path);
        free(closing);
    }
}

tmb_status tmb_keys_reload(tmb_keys *keys, tmb_error *error) {
    key *list = NULL;
    size_t count = 0;
    tmb_status status = read_keys(keys->path, &list, &count, error);
    if (status != TMB_OK) {
        return status;
    }
    double now = tmb_now();
    (void)pthread_mutex_lock(&keys->lock);
    for (size_t i = 0; i < count; i++) {
        list[i].tokens = keys->per_minute;
        list[i].filled = now;
        for (size_t k = 0; k < keys->count; k++) {
            if (memcmp(list[i].hash, keys->list[k].hash, sizeof list[i].hash) == 0) {
                list[i].tokens = keys->list[k].tokens;
                list[i].filled = keys->list[k].filled;
            }
        }
    }
    free(keys->list);
    keys->list = list;
    keys->count = count;
    (void)pthread_mutex_unlock(&keys->lock);
    return TMB_OK;
}

tmb_key_answer tmb_keys_check(tmb_keys *keys, const char *presented, bool count, char name[TMB_KEY_NAME],
                              double *wait) {
    uint8_t hash[SHA256_DIGEST_SIZE];
    hash_key(presented != NULL ? presented : "", hash);
    tmb_key_answer answer = TMB_KEY_UNKNOWN;
    *wait = 0;
    (void)pthread_mutex_lock(&keys->lock);
    key *found = NULL;
    for (size_t i = 0; i < keys->count; i++) {
        /* All are compared, to the last byte. */
        if (memeql_sec(hash, keys->list[i].hash, sizeof hash)) {
            found = &keys->list[i];
        }
    }
    if (found != NULL && presented != NULL) {
        answer = TMB_KEY_GOOD;
        memcpy(name, found->name, TMB_KEY_NAME);
        if (count && keys->per_minute > 0) {
            /* A full bucket is one minute's worth. */
            double now = tmb_now();
            double rate = keys->per_minute / 60;
            found->tokens += (now - found->filled) * rate;
            found->tokens = found->tokens < keys->per_minute ? found->tokens : keys->per_minute;
            found->filled = now;
            if (found->tokens >= 1) {
                found->tokens -= 1;
            } else {
                answer = TMB_KEY_TOO_OFTEN;
                *wait = (1 - found->tokens) / rate;
            }
        }
    }
    (void)pthread_mutex_unlock(&keys->lock);
    return answer;
}
