/* Contents in Redis itself: for few and small files, if there is no shared folder. They go by themselves after a while,
 * in case everybody who would remove them is gone. */
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "queue/redis/shared.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const uint64_t largest_bytes = 16u << 20;

/* Whoever has the queue has this place, too. */
static const char identity_of_redis[] = "redis";

typedef struct tmb_redis_contents {
    tmb_contents base; /* first */
    tmb_redis *redis;
    int64_t seconds;
} tmb_redis_contents;

static void key_of(const char *sum, char key[128]) { (void)snprintf(key, 128, "%sbytes:%s", TMB_REDIS_PREFIX, sum); }

/* Runs a command; the reply may be NULL. */
static tmb_store_status command(tmb_contents *contents, tmb_arguments *arguments, int64_t *number) {
    redisReply *reply = NULL;
    tmb_store_status status = tmb_redis_command(((tmb_redis_contents *)contents)->redis, arguments, &reply);
    if (number != NULL) {
        *number = tmb_reply_integer(reply);
    }
    tmb_reply_free(&reply);
    return status;
}

static tmb_store_status put(tmb_contents *contents, const char *path, const char *sum, uint64_t bytes) {
    char key[128];
    char *data = NULL;
    size_t size = 0;
    tmb_error error;
    if (bytes > largest_bytes) {
        tmb_log(contents->logger, TMB_LOG_ERROR,
                "a file of %llu bytes is too large to be in Redis: give server and workers a folder by --blobs",
                (unsigned long long)bytes);
        return TMB_STORE_NO_SPACE;
    }
    tmb_status read = tmb_file_read(path, (size_t)largest_bytes + 1, &data, &size, &error);
    if (read != TMB_OK) {
        errno = error.system ? error.system : EIO;
        return tmb_contents_errno(contents->logger, path);
    }
    tmb_arguments arguments = {.count = 0};
    key_of(sum, key);
    tmb_arguments_list(&arguments, "ss", "SET", key);
    tmb_arguments_add(&arguments, data, size);
    tmb_arguments_list(&arguments, "sis", "EX", ((tmb_redis_contents *)contents)->seconds, "NX");
    free(data);
    tmb_store_status status = command(contents, &arguments, NULL);
    if (status == TMB_STORE_OK) {
        /* It may have been there for something that goes earlier; a voice's stays for ever. */
        tmb_arguments longer = {.count = 0};
        tmb_arguments_list(&longer, "ssis", "EXPIRE", key, ((tmb_redis_contents *)contents)->seconds, "GT");
        status = command(contents, &longer, NULL);
    }
    return status;
}

static tmb_store_status has(tmb_contents *contents, const char *sum) {
    char key[128];
    int64_t found = 0;
    tmb_arguments arguments = {.count = 0};
    key_of(sum, key);
    tmb_arguments_list(&arguments, "ss", "EXISTS", key);
    tmb_store_status status = command(contents, &arguments, &found);
    return status == TMB_STORE_OK && !found ? TMB_STORE_NOT_FOUND : status;
}

static tmb_store_status open_content(tmb_contents *contents, const char *sum, const char *scratch, int *descriptor) {
    char key[128];
    redisReply *reply = NULL;
    tmb_arguments arguments = {.count = 0};
    key_of(sum, key);
    tmb_arguments_list(&arguments, "ss", "GET", key);
    tmb_store_status status = tmb_redis_command(((tmb_redis_contents *)contents)->redis, &arguments, &reply);
    if (status == TMB_STORE_OK && reply->type != REDIS_REPLY_STRING) {
        status = TMB_STORE_NOT_FOUND;
    }
    if (status == TMB_STORE_OK) {
        *descriptor = tmb_contents_scratch(scratch);
        if (*descriptor < 0 || !tmb_file_write_all(*descriptor, reply->str, reply->len) ||
            lseek(*descriptor, 0, SEEK_SET)) {
            status = tmb_contents_errno(contents->logger, scratch);
            (void)(*descriptor >= 0 && close(*descriptor));
            *descriptor = -1;
        }
    }
    tmb_reply_free(&reply);
    return status;
}

static tmb_store_status remove_content(tmb_contents *contents, const char *sum) {
    char key[128];
    tmb_arguments arguments = {.count = 0};
    key_of(sum, key);
    tmb_arguments_list(&arguments, "ss", "DEL", key);
    return command(contents, &arguments, NULL);
}

static void close_contents(tmb_contents *contents) { free(contents); }

tmb_status tmb_contents_redis(tmb_redis *redis, double seconds, tmb_logger *logger, tmb_contents **out,
                              tmb_error *error) {
    tmb_redis_contents *contents = tmb_calloc(1, sizeof *contents);
    *out = NULL;
    if (contents == NULL) {
        return tmb_fail_memory(error, "the files in Redis", sizeof *contents);
    }
    contents->base = (tmb_contents){.put = put,
                                    .has = has,
                                    .open = open_content,
                                    .remove = remove_content,
                                    .close = close_contents,
                                    .logger = logger};
    memcpy(contents->base.identity, identity_of_redis, sizeof identity_of_redis);
    contents->redis = redis;
    contents->seconds = seconds < 60 ? 60 : seconds > 1e9 ? 1000000000 : (int64_t)seconds;
    *out = &contents->base;
    return TMB_OK;
}
