#include "server/references.h"

#include "base/base64.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/memory.h"
#include "server/fetch.h"
#include "server/item.h"
#include "server/state.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct reference {
    struct reference *next;
    int descriptor;
    char path[40]; /* /proc/self/fd/N: opens the same file even after its name is gone */
    uint64_t hash; /* of the key, which may be megabytes long */
    size_t key_size;
    bool is_held; /* has no key */
} reference;

struct tmb_references {
    tmb_server *server;
    bool (*cancelled)(void *user);
    void *user;
    reference *first;
    size_t count;
    size_t stored; /* that became files of the store */
    bool salvage;
};

static bool fail_store(tmb_problem *problem, tmb_store_status status) {
    problem->status = tmb_store_problem(status, "file", problem->message, sizeof problem->message);
    return false;
}

/* Reports a failed open(), by errno. */
static bool fail_open(tmb_problem *problem) {
    bool busy = tmb_errno_is_exhausted(errno);
    return tmb_problem_say(problem, busy ? 503 : 500, "%s", busy ? "The server is busy" : "Internal Error");
}

tmb_references *tmb_references_create(tmb_server *server, bool (*cancelled)(void *user), void *user) {
    tmb_references *references = tmb_calloc(1, sizeof *references);
    if (references != NULL) {
        references->server = server;
        references->cancelled = cancelled;
        references->user = user;
    }
    return references;
}

void tmb_references_destroy(tmb_references *references) {
    if (references == NULL) {
        return;
    }
    while (references->first != NULL) {
        reference *next = references->first->next;
        (void)close(references->first->descriptor);
        free(references->first);
        references->first = next;
    }
    free(references);
}

int tmb_open_below(int folder, const char *path) {
    char name[256];
    int at = folder < 0 ? -1 : fcntl(folder, F_DUPFD_CLOEXEC, 0);
    while (at >= 0) {
        size_t length = strcspn(path, "/");
        bool last = path[length] == 0;
        bool good = length > 0 && length < sizeof name && !(length == 1 && path[0] == '.') &&
                    !(length == 2 && path[0] == '.' && path[1] == '.');
        memcpy(name, path, good ? length : 0);
        name[good ? length : 0] = 0;
        /* O_NONBLOCK: a FIFO must not hold us up before we see that it is one. */
        errno = ENOENT;
        int next = good ? openat(at, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | (last ? O_NONBLOCK : O_DIRECTORY)) : -1;
        int code = errno;
        (void)close(at);
        errno = code;
        at = next;
        if (last) {
            struct stat status;
            if (at >= 0 && (fstat(at, &status) || !S_ISREG(status.st_mode))) {
                (void)close(at);
                at = -1;
            }
            return at;
        }
        path += length + 1;
    }
    return -1;
}

/* Samples per channel that are counted at a time. */
#define COUNTED 4096

/* The length of a recording whose head does not say it. */
static tmb_status count_samples(tmb_audio_reader *reader, tmb_audio_info *info, tmb_error *error) {
    float *block = tmb_calloc((size_t)info->channels * COUNTED, sizeof *block);
    tmb_status status = block != NULL ? TMB_OK : tmb_fail_memory(error, "an audio file", 0);
    size_t count = COUNTED;
    while (status == TMB_OK && count == COUNTED) {
        count = 0;
        status = tmb_audio_read(reader, block, COUNTED, &count, error);
        info->length += count;
    }
    free(block);
    return status;
}

static bool check_audio(const char *path, const tmb_audio_limits *limits, bool counts, tmb_audio_info *info,
                        tmb_problem *problem) {
    const double seconds = limits->max_seconds;
    tmb_audio_reader *reader = NULL;
    tmb_error error = {.status = TMB_OK};
    tmb_status status = tmb_audio_open(path, NULL, limits, &reader, info, &error);
    if (status == TMB_OK && counts && info->length == 0) {
        status = count_samples(reader, info, &error);
    }
    tmb_audio_close(&reader);
    if (status != TMB_OK) {
        const char *message = error.message + error.name_bytes; /* the path is ours and says nothing to the client */
        return error.status == TMB_ERROR_MEMORY ? tmb_problem_say(problem, 503, "not enough memory to read the file")
               : tmb_error_is_exhausted(&error) ? tmb_problem_say(problem, 503, "The server is busy")
               : error.status == TMB_ERROR_IO   ? tmb_problem_say(problem, 500, "Internal Error")
                                                : tmb_problem_say(problem, 400, "%s", message);
    }
    if (seconds > 0 && info->rate > 0 && (double)info->length / info->rate > seconds) {
        return tmb_problem_say(problem, 400, "the audio is longer than %g s", seconds);
    }
    return true;
}

bool tmb_check_audio(const tmb_server_config *config, const char *path, double seconds, bool salvage,
                     tmb_audio_info *info, tmb_problem *problem) {
    const tmb_audio_limits limits = {.max_seconds = seconds, .salvage = salvage, .no_ffmpeg = config->no_ffmpeg};
    return check_audio(path, &limits, false, info, problem);
}

bool tmb_check_kept_audio(const tmb_server_config *config, const char *path, double seconds, tmb_audio_info *info,
                          tmb_problem *problem) {
    const tmb_audio_limits limits = {.max_seconds = seconds, .no_ffmpeg = config->no_ffmpeg};
    return check_audio(path, &limits, true, info, problem);
}

void tmb_references_salvage(tmb_references *references, bool salvage) { references->salvage = salvage; }

/* Takes the descriptor. */
static reference *add(tmb_references *references, const char *key, size_t key_size, int descriptor) {
    reference *added = tmb_calloc(1, sizeof *added);
    if (added == NULL) {
        (void)close(descriptor);
        return NULL;
    }
    added->descriptor = descriptor;
    added->hash = tmb_hash_name(key, key_size);
    added->key_size = key_size;
    (void)snprintf(added->path, sizeof added->path, "/proc/self/fd/%d", descriptor);
    added->next = references->first;
    references->first = added;
    references->count++;
    return added;
}

const char *tmb_references_hold(tmb_references *references, int descriptor) {
    reference *added = add(references, "", 0, descriptor);
    if (added != NULL) {
        added->is_held = true;
    }
    return added != NULL ? added->path : NULL;
}

static bool is_data(const char *text) { return strncasecmp(text, "data:", 5) == 0; }
static bool is_url(const char *text) {
    return strncasecmp(text, "http://", 7) == 0 || strncasecmp(text, "https://", 8) == 0;
}

/* Base64, as the content of a data: URI or by itself, into an upload; NULL: `problem` says why. */
static tmb_upload *decode(tmb_references *references, const char *text, tmb_problem *problem) {
    const tmb_server_config *config = references->server->config;
    bool is_uri = is_data(text);
    const char *at = is_uri ? tmb_data_uri_content(text) : text;
    if (at == NULL) {
        (void)tmb_problem_say(problem, 400, "a data: URI must have base64 content");
        return NULL;
    }
    tmb_upload *upload = NULL;
    tmb_store_status status = tmb_upload_begin(references->server->store, config->max_upload_bytes, &upload);
    if (status != TMB_STORE_OK) {
        (void)fail_store(problem, status);
        return NULL;
    }
    enum { step = 4 * 8192 };
    tmb_base64_reader reader = {.in_uri = is_uri};
    for (size_t left = strlen(at); left && status == TMB_STORE_OK;) {
        char bytes[step / 4 * 3 + 3];
        size_t take = left < step ? left : step;
        size_t size = tmb_base64_read(&reader, at, take, bytes);
        if (size == SIZE_MAX) {
            break;
        }
        status = tmb_upload_write(upload, bytes, size);
        at += take;
        left -= take;
    }
    if (status == TMB_STORE_OK && !tmb_base64_end(&reader)) {
        (void)tmb_problem_say(problem, 400, "is not valid base64");
        tmb_upload_abort(&upload);
    } else if (status != TMB_STORE_OK) {
        (void)fail_store(problem, status);
        tmb_upload_abort(&upload);
    }
    return upload;
}

static tmb_upload *fetch_url(tmb_references *references, const char *url, tmb_problem *problem) {
    tmb_upload *upload = NULL;
    tmb_store_status status =
        tmb_upload_begin(references->server->store, references->server->config->max_upload_bytes, &upload);
    if (status != TMB_STORE_OK) {
        (void)fail_store(problem, status);
        return NULL;
    }
    char message[200];
    unsigned code = tmb_fetch(references->server->config, url, upload, references->cancelled, references->user, message,
                              sizeof message);
    if (code) {
        (void)tmb_problem_say(problem, code, "%s", message);
        tmb_upload_abort(&upload);
    }
    return upload;
}

/* An upload's bytes under a descriptor, its name gone. */
static int detach(tmb_upload **upload) {
    int descriptor = open(tmb_upload_path(*upload), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    int code = errno;
    tmb_upload_abort(upload);
    errno = code;
    return descriptor;
}

/* What the text names on this server: a file by its id, or a path inside --audio-root. -1: there is no such thing
 * (`problem` not set) or it cannot be used. */
static int open_named(tmb_references *references, const char *text, tmb_problem *problem) {
    tmb_server *server = references->server;
    if (tmb_is_id(text)) {
        int descriptor = -1;
        tmb_file_info info;
        tmb_store_status status = tmb_store_file_open(server->store, text, &descriptor, &info);
        if (status == TMB_STORE_OK) {
            return descriptor;
        }
        if (status != TMB_STORE_NOT_FOUND) {
            (void)fail_store(problem, status);
            return -1;
        }
    }
    int descriptor = strlen(text) < PATH_MAX ? tmb_open_below(server->audio_root, text) : -1;
    if (descriptor < 0 && server->audio_root >= 0 && tmb_errno_is_exhausted(errno)) {
        (void)fail_open(problem);
    }
    return descriptor;
}

/* Whether the text is base64 by itself. If there are paths, what is as short as one is one: base64 so short is not even
 * a tenth of a second of audio. */
static bool is_bare(const tmb_references *references, const char *text) {
    size_t length = strlen(text);
    bool is_path = references->server->audio_root >= 0 && length < PATH_MAX;
    return !is_path && tmb_base64_is_likely(text, length);
}

/* The bytes that the text itself carries or leads to; NULL: it is another kind of text (`problem` not set), or they
 * cannot be had. */
static tmb_upload *obtain(tmb_references *references, const char *text, tmb_problem *problem) {
    if (is_data(text) || is_bare(references, text)) {
        return decode(references, text, problem);
    }
    return is_url(text) ? fetch_url(references, text, problem) : NULL;
}

static void fail_unknown(const tmb_references *references, const char *text, tmb_problem *problem) {
    if (tmb_is_id(text)) {
        (void)tmb_problem_say(problem, 400, "there is no file with this id (it may have expired)");
    } else if (references->server->audio_root < 0) {
        (void)tmb_problem_say(problem, 400, "must be a file id from POST /api/v1/files/upload or a data: URI");
    } else {
        (void)tmb_problem_say(problem, 400, "must be a file id, a data: URI or a path of a file inside --audio-root");
    }
}

static int open_reference(tmb_references *references, const char *text, tmb_problem *problem) {
    int descriptor = is_data(text) || is_url(text) ? -1 : open_named(references, text, problem);
    if (descriptor >= 0 || problem->status) {
        return descriptor;
    }
    tmb_upload *upload = obtain(references, text, problem);
    if (upload == NULL && !problem->status) {
        fail_unknown(references, text, problem);
    }
    if (upload == NULL) {
        return -1;
    }
    descriptor = detach(&upload);
    if (descriptor < 0) {
        (void)fail_open(problem);
    }
    return descriptor;
}

static bool may_add(const tmb_references *references, tmb_problem *problem) {
    const uint64_t most = references->server->config->max_references;
    return references->count + references->stored < most ||
           tmb_problem_say(problem, 400, "more than %llu different references in one request",
                           (unsigned long long)most);
}

/* Takes the descriptor; the path, if it is audio. */
static const char *keep(tmb_references *references, const char *key, int descriptor, tmb_problem *problem) {
    if (!may_add(references, problem)) {
        (void)close(descriptor);
        return NULL;
    }
    tmb_audio_info info;
    reference *added = add(references, key, strlen(key), descriptor);
    if (added == NULL) {
        (void)tmb_problem_say(problem, 503, "not enough memory");
        return NULL;
    }
    return tmb_check_audio(references->server->config, added->path, references->server->config->max_reference_seconds,
                           references->salvage, &info, problem)
               ? added->path
               : NULL;
}

const char *tmb_references_open(tmb_references *references, const char *ref_audio, tmb_problem *problem) {
    size_t size = strlen(ref_audio);
    uint64_t hash = tmb_hash_name(ref_audio, size);
    *problem = (tmb_problem){.status = 0};
    for (reference *at = references->first; at != NULL; at = at->next) {
        if (!at->is_held && at->hash == hash && at->key_size == size) {
            return at->path;
        }
    }
    int descriptor = open_reference(references, ref_audio, problem);
    return descriptor < 0 ? NULL : keep(references, ref_audio, descriptor, problem);
}

const char *tmb_references_add(tmb_references *references, const char *key, tmb_upload *upload, tmb_problem *problem) {
    *problem = (tmb_problem){.status = 0};
    int descriptor = detach(&upload);
    if (descriptor < 0) {
        (void)fail_open(problem);
        return NULL;
    }
    return keep(references, key, descriptor, problem);
}

bool tmb_reference_store(tmb_references *references, const char *ref_audio, char id[TMB_STORE_ID], bool *fresh,
                         tmb_problem *problem) {
    *problem = (tmb_problem){.status = 0};
    *fresh = false;
    id[0] = 0;
    int named = is_data(ref_audio) || is_url(ref_audio) ? -1 : open_named(references, ref_audio, problem);
    if (named >= 0) {
        if (tmb_is_id(ref_audio)) {
            memcpy(id, ref_audio, TMB_STORE_ID);
        }
        return keep(references, ref_audio, named, problem) != NULL;
    }
    if (!problem->status && may_add(references, problem)) {
        references->stored++;
    }
    tmb_upload *upload = problem->status ? NULL : obtain(references, ref_audio, problem);
    if (upload == NULL && !problem->status) {
        fail_unknown(references, ref_audio, problem);
    }
    tmb_audio_info audio;
    if (upload == NULL ||
        !tmb_check_audio(references->server->config, tmb_upload_path(upload),
                         references->server->config->max_reference_seconds, references->salvage, &audio, problem)) {
        tmb_upload_abort(&upload);
        return false;
    }
    tmb_file_info info = {.name = "reference",
                          .content_type = "application/octet-stream",
                          .sample_rate = audio.rate,
                          .duration = (double)audio.length / audio.rate};
    tmb_store_status status = tmb_upload_keep(&upload, &info);
    if (status != TMB_STORE_OK) {
        return fail_store(problem, status);
    }
    memcpy(id, info.id, TMB_STORE_ID);
    *fresh = true;
    return true;
}
