#include "server/voice_folder.h"

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/name.h"
#include "base/text.h"
#include "base/utf8.h"
#include "server/references.h"
#include "server/state.h"

#include <errno.h>
#include <inttypes.h>
#include <nettle/sha2.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What is kept beside a voice of the folder, as if it were prepared for this "model": the digest of the recording and
 * its transcript. Other servers at a shared queue have folders of their own: there the folder's path belongs to it. */
#define ORIGIN "folder"

enum { DIGEST_TEXT = 2 * SHA256_DIGEST_SIZE + 1, TRANSCRIPT_MOST = 64 * 1024 };

/* A file of the folder, read. */
typedef struct folder_file {
    char name[TMB_NAME_SIZE];
    const char *path;
    char *data; /* [bytes] */
    size_t bytes;
    char *text;     /* the transcript's file */
    char *ref_text; /* in `text`, without what surrounds it; NULL: it is empty */
    char digest[DIGEST_TEXT];
} folder_file;

typedef struct folder_visit {
    tmb_server *server;
    tmb_voice_info *known; /* [count]: what was stored before */
    size_t count;
    bool *found; /* [count]: the folder has it still */
    char origin[sizeof ORIGIN + 2 * sizeof(uint64_t) + 1];
    size_t added, kept;
} folder_visit;

static void warn(const folder_visit *visit, const char *path, const char *what) {
    tmb_log(&visit->server->logger, TMB_LOG_WARNING, "--voices: %s: %s", path, what);
}

static void write_digest(folder_file *file) {
    struct sha256_ctx context;
    uint8_t digest[SHA256_DIGEST_SIZE];
    sha256_init(&context);
    sha256_update(&context, file->bytes, (const uint8_t *)file->data);
    sha256_update(&context, file->ref_text != NULL ? strlen(file->ref_text) : 0,
                  (const uint8_t *)(file->ref_text != NULL ? file->ref_text : ""));
    sha256_digest(&context, sizeof digest, digest);
    tmb_hex_encode(digest, sizeof digest, file->digest);
}

/* The transcript without a byte order mark and without blanks around it; false: it is no text. */
static bool read_transcript(folder_file *file, const char *path, tmb_error *error) {
    size_t bytes = 0;
    if (tmb_file_read(path, TRANSCRIPT_MOST, &file->text, &bytes, error) != TMB_OK) {
        return false;
    }
    if (strlen(file->text) != bytes || tmb_utf8_valid_prefix(file->text, bytes) != bytes) {
        (void)tmb_fail(error, TMB_ERROR_FORMAT, "%s is no text in UTF-8", path);
        return false;
    }
    char *text = file->text + (strncmp(file->text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0);
    text += strspn(text, " \t\r\n");
    for (size_t length = strlen(text); length && strchr(" \t\r\n", text[length - 1]) != NULL; length--) {
        text[length - 1] = 0;
    }
    file->ref_text = text[0] ? text : NULL;
    return true;
}

static bool read_file(const folder_visit *visit, const tmb_folder_voice *voice, folder_file *file) {
    const tmb_server_config *config = visit->server->config;
    const size_t most = config->max_upload_bytes > SIZE_MAX / 2 ? SIZE_MAX / 2 : (size_t)config->max_upload_bytes;
    const char *what = NULL;
    tmb_error error = {.status = TMB_OK};
    file->path = voice->path;
    if (!tmb_name_normalise(voice->name, file->name, &what)) {
        warn(visit, voice->path, what);
        return false;
    }
    if (!read_transcript(file, voice->transcript, &error) ||
        tmb_file_read(voice->path, most, &file->data, &file->bytes, &error) != TMB_OK) {
        warn(visit, voice->path, error.message);
        return false;
    }
    write_digest(file);
    return true;
}

static bool keep_origin(tmb_server *server, const char *origin, const tmb_voice_info *info, const folder_file *file) {
    char path[TMB_STORE_PATH];
    tmb_error error = {.status = TMB_OK};
    return tmb_store_temporary_path(server->store, path) &&
           tmb_file_write(path, file->digest, strlen(file->digest), &error) == TMB_OK &&
           tmb_store_prepared_keep(server->store, info, origin, path) == TMB_STORE_OK;
}

/* Whether the store has this voice of the folder, as it is now. *foreign: a client, or a server with another folder,
 * stored another under the name. */
static bool is_stored(const folder_visit *visit, const folder_file *file, bool *foreign) {
    tmb_voice_info info;
    int descriptor = -1;
    char digest[DIGEST_TEXT] = "";
    *foreign = false;
    if (tmb_store_voice_get(visit->server->store, file->name, NULL, &info) != TMB_STORE_OK) {
        return false;
    }
    /* Plain, it was kept by a version that knew one folder in a shared store: any server's that has the name may be it.
     */
    bool is_old = tmb_store_prepared_open(visit->server->store, &info, visit->origin, &descriptor) != TMB_STORE_OK &&
                  tmb_store_prepared_open(visit->server->store, &info, ORIGIN, &descriptor) == TMB_STORE_OK;
    if (descriptor >= 0) {
        const ssize_t got = pread(descriptor, digest, sizeof digest - 1, 0);
        digest[got > 0 ? got : 0] = 0;
        (void)close(descriptor);
    } else {
        *foreign = true;
    }
    bool same = strcmp(digest, file->digest) == 0;
    if (is_old && same) {
        (void)keep_origin(visit->server, visit->origin, &info, file);
    }
    tmb_voice_info_free(&info);
    return same;
}

/* Stores the file as a voice, in the place of an older one; NULL, or why not. */
static const char *store(tmb_server *server, const char *origin, const folder_file *file) {
    tmb_upload *upload = NULL;
    tmb_audio_info audio = {.rate = 1};
    static _Thread_local tmb_problem problem;
    if (tmb_upload_begin(server->store, server->config->max_upload_bytes, &upload) != TMB_STORE_OK ||
        tmb_upload_write(upload, file->data, file->bytes) != TMB_STORE_OK) {
        tmb_upload_abort(&upload);
        return "there is no room to store it";
    }
    if (!tmb_check_kept_audio(server->config, tmb_upload_path(upload), server->config->max_reference_seconds, &audio,
                              &problem)) {
        tmb_upload_abort(&upload);
        return problem.message;
    }
    tmb_voice_info info = {.ref_text = file->ref_text, .language = "auto", .run_pre_processing = true};
    (void)snprintf(info.name, sizeof info.name, "%s", file->name);
    info.x_vector_only = file->ref_text == NULL && !server->config->transcribe_url[0];
    info.duration = (double)audio.length / audio.rate;
    (void)snprintf(info.content_type, sizeof info.content_type, "%s",
                   strncmp(audio.format, "WAV", 3) == 0 ? "audio/wav" : "application/octet-stream");
    (void)tmb_store_voice_remove(server->store, file->name, NULL);
    if (tmb_store_voice_add(server->store, &upload, &info) != TMB_STORE_OK) {
        return "it cannot be stored";
    }
    if (!keep_origin(server, origin, &info, file)) {
        (void)tmb_store_voice_remove(server->store, info.name, info.id);
        return "it cannot be stored";
    }
    return NULL;
}

static bool take(void *user, const tmb_folder_voice *voice) {
    folder_visit *visit = user;
    folder_file file = {.data = NULL};
    bool foreign = false;
    if (voice->transcript == NULL || !read_file(visit, voice, &file)) {
        free(file.text);
        return true;
    }
    if (is_stored(visit, &file, &foreign)) {
        visit->kept++;
    } else if (foreign) {
        warn(visit, file.path, "there is a voice of this name from elsewhere, which stays");
    } else {
        const char *problem = store(visit->server, visit->origin, &file);
        if (problem != NULL) {
            warn(visit, file.path, problem);
        }
        visit->added += problem == NULL;
    }
    for (size_t i = 0; i < visit->count; i++) {
        visit->found[i] = visit->found[i] || strcmp(visit->known[i].name, file.name) == 0;
    }
    free(file.data);
    free(file.text);
    return true;
}

/* Voices that came from a folder and that it has no more. */
static void remove_gone(folder_visit *visit) {
    tmb_store *from = visit->server->store;
    for (size_t i = 0; i < visit->count; i++) {
        if (!visit->found[i] && tmb_store_prepared_exists(from, &visit->known[i], visit->origin) &&
            tmb_store_voice_remove(from, visit->known[i].name, visit->known[i].id) == TMB_STORE_OK) {
            tmb_log(&visit->server->logger, TMB_LOG_INFO, "--voices: %s is gone from the folder", visit->known[i].name);
        }
    }
}

/* Which voices are the folder's. */
static void name_origin(folder_visit *visit, bool shared, const char *folder) {
    char *real = shared ? realpath(folder, NULL) : NULL;
    const char *path = real != NULL ? real : folder;
    (void)snprintf(visit->origin, sizeof visit->origin, ORIGIN);
    if (shared) {
        (void)snprintf(visit->origin, sizeof visit->origin, ORIGIN "-%016" PRIx64, tmb_hash_name(path, strlen(path)));
    }
    free(real);
}

tmb_status tmb_voice_folder_store(tmb_server *server, tmb_error *error) {
    const char *folder = server->config->voices;
    const bool shared = tmb_store_is_shared(server->store);
    folder_visit visit = {.server = server};
    tmb_status status = TMB_OK;
    bool missing = !folder[0];
    name_origin(&visit, shared, folder);
    if (tmb_store_voice_list(server->store, &visit.known, &visit.count) != TMB_STORE_OK) {
        return tmb_fail(error, TMB_ERROR_IO, "--voices: the stored voices cannot be read");
    }
    visit.found = calloc(visit.count + 1, sizeof *visit.found);
    if (visit.found == NULL) {
        status = tmb_fail_memory(error, "the stored voices", visit.count);
    } else if (!missing) {
        status = tmb_voice_folder(folder, take, &visit, error);
        /* The default is there only if timbre is installed. */
        if (status == TMB_ERROR_IO && error->system == ENOENT && strcmp(folder, TMB_SERVER_VOICES) == 0) {
            missing = true;
            status = TMB_OK;
        } else if (status != TMB_OK) {
            tmb_error_prefix(error, "--voices");
        }
    }
    if (status == TMB_OK) {
        /* What one server does not have another one may. */
        if (!missing || !shared) {
            remove_gone(&visit);
        }
        if (visit.added + visit.kept > 0) {
            tmb_log(&server->logger, TMB_LOG_INFO, "%zu voices from %s, %zu of them new or changed",
                    visit.added + visit.kept, folder, visit.added);
        }
    }
    free(visit.found);
    tmb_voice_list_free(visit.known, visit.count);
    return status;
}
