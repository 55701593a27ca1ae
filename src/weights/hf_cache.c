#include "weights/hf_cache.h"

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "weights/paths.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOLDER_DEPTH_MAX 4

/* The first of the variables that is set, with `rest` behind it; *out NULL: none is. */
static tmb_status from_variable(const char *const *names, const char *rest, char **out, tmb_error *error) {
    *out = NULL;
    for (; *names != NULL; names++) {
        const char *value = getenv(*names);
        if (value == NULL || value[0] == '\0') {
            continue;
        }
        char *path = NULL;
        tmb_status status = tmb_path_expand(value, &path, error);
        if (status == TMB_OK) {
            *out = tmb_asprintf("%s%s", path, rest);
            status = *out == NULL ? tmb_fail_memory(error, "a path", 0) : TMB_OK;
        }
        free(path);
        return status;
    }
    return TMB_OK;
}

tmb_status tmb_hf_cache_folder(char **out, tmb_error *error) {
    static const char *const hubs[] = {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", NULL};
    static const char *const homes[] = {"HF_HOME", NULL};
    tmb_status status = from_variable(hubs, "", out, error);
    if (status == TMB_OK && *out == NULL) {
        status = from_variable(homes, "/hub", out, error);
    }
    if (status == TMB_OK && *out == NULL) {
        status = tmb_path_xdg("XDG_CACHE_HOME", ".cache", "huggingface/hub", out, error);
    }
    return status;
}

bool tmb_hf_is_repository(const char *text) {
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t owner = strspn(text, letters);
    if (owner == 0 || owner > 96 || text[owner] != '/' || text[0] == '.') {
        return false;
    }
    const char *name = text + owner + 1;
    size_t length = strspn(name, letters);
    return length != 0 && length <= 96 && name[length] == '\0' && name[0] != '.';
}

tmb_status tmb_hf_repository_folder(const char *hub, const char *repository, char **out, tmb_error *error) {
    *out = NULL;
    if (!tmb_hf_is_repository(repository)) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "%.200s: not OWNER/NAME", repository);
    }
    const char *slash = strchr(repository, '/');
    *out = tmb_asprintf("%s/models--%.*s--%s", hub, (int)(slash - repository), repository, slash + 1);
    return *out == NULL ? tmb_fail_memory(error, "a path", 0) : TMB_OK;
}

static bool is_folder(const char *folder, const char *name) {
    char *path = tmb_asprintf("%s/%s", folder, name);
    struct stat about;
    bool there = path != NULL && stat(path, &about) == 0 && S_ISDIR(about.st_mode);
    free(path);
    return there;
}

bool tmb_hf_is_repository_folder(const char *folder) {
    size_t end = strlen(folder);
    while (end > 0 && folder[end - 1] == '/') {
        end--;
    }
    size_t begin = end;
    while (begin > 0 && folder[begin - 1] != '/') {
        begin--;
    }
    return is_folder(folder, "snapshots") ||
           (end - begin > 8 && strncmp(folder + begin, "models--", 8) == 0 && is_folder(folder, "."));
}

static size_t hex_digits(const char *text) { return strspn(text, "0123456789abcdef"); }

bool tmb_hf_is_commit(const char *text) { return hex_digits(text) == 40 && text[40] == '\0'; }

bool tmb_hf_is_tag(const char *text) {
    size_t digits = hex_digits(text);
    return (digits == 40 || digits == 64) && text[digits] == '\0';
}

bool tmb_hf_is_path(const char *path) {
    size_t components = 0;
    if (strlen(path) > 200) {
        return false;
    }
    for (const char *begin = path;; begin++) {
        size_t length = strcspn(begin, "/");
        for (size_t i = 0; i < length; i++) {
            if ((unsigned char)begin[i] <= 0x20 || begin[i] == 0x7f || begin[i] == '\\') {
                return false;
            }
        }
        /* No "", ".", ".." and nothing hidden. */
        if (length == 0 || begin[0] == '.' || ++components > FOLDER_DEPTH_MAX) {
            return false;
        }
        begin += length;
        if (*begin == '\0') {
            return true;
        }
    }
}

static uint64_t add_folder_bytes(const char *folder, int depth) {
    uint64_t total = 0;
    DIR *open_folder = opendir(folder);
    struct dirent *entry;
    while (open_folder != NULL && (entry = readdir(open_folder)) != NULL) {
        if (entry->d_name[0] == '.') {
            continue;
        }
        char *path = tmb_asprintf("%s/%s", folder, entry->d_name);
        struct stat about;
        if (path != NULL && stat(path, &about) == 0) {
            if (S_ISREG(about.st_mode)) {
                total += (uint64_t)about.st_size;
            } else if (S_ISDIR(about.st_mode) && depth < FOLDER_DEPTH_MAX) {
                total += add_folder_bytes(path, depth + 1);
            }
        }
        free(path);
    }
    if (open_folder != NULL) {
        (void)closedir(open_folder);
    }
    return total;
}

uint64_t tmb_hf_folder_bytes(const char *folder) { return add_folder_bytes(folder, 0); }

/* One look through a repository's folder. */
typedef struct search {
    const char *folder;
    tmb_model_state state;
    char *found, *reason;
} search;

/* Looks at snapshots/COMMIT; the reason of the first that lacks something is kept. */
static void try_snapshot(search *s, const char *commit) {
    char reason[TMB_CHECKPOINT_REASON_MAX];
    char *folder = tmb_asprintf("%s/snapshots/%s", s->folder, commit);
    tmb_model_state state = folder != NULL ? tmb_checkpoint_state(folder, reason) : TMB_MODEL_ABSENT;
    if (state == TMB_MODEL_COMPLETE) {
        s->state = state;
        s->found = folder;
        return;
    }
    if (state == TMB_MODEL_INCOMPLETE && s->state == TMB_MODEL_ABSENT) {
        s->state = state;
        (void)snprintf(s->reason, TMB_CHECKPOINT_REASON_MAX, "%s", reason);
    }
    free(folder);
}

static void try_main(search *s) {
    char *path = tmb_asprintf("%s/refs/main", s->folder);
    char *text = NULL;
    size_t bytes = 0;
    if (path != NULL && tmb_file_read(path, 256, &text, &bytes, NULL) == TMB_OK) {
        text[strcspn(text, " \r\n")] = '\0';
        if (tmb_hf_is_commit(text)) {
            try_snapshot(s, text);
        }
    }
    free(text);
    free(path);
}

/* Opens a folder of the repository; NULL: it is not there. */
static DIR *open_part(const char *repository_folder, const char *name) {
    char *path = tmb_asprintf("%s/%s", repository_folder, name);
    DIR *folder = path != NULL ? opendir(path) : NULL;
    free(path);
    return folder;
}

static void try_all(search *s) {
    DIR *snapshots = open_part(s->folder, "snapshots");
    struct dirent *entry;
    while (snapshots != NULL && s->found == NULL && (entry = readdir(snapshots)) != NULL) {
        if (tmb_hf_is_commit(entry->d_name)) {
            try_snapshot(s, entry->d_name);
        }
    }
    if (snapshots != NULL) {
        (void)closedir(snapshots);
    }
}

/* A file whose download was begun and is not finished: both clients end such names in ".incomplete". */
static bool has_half_blob(const char *repository_folder) {
    DIR *blobs = open_part(repository_folder, "blobs");
    struct dirent *entry;
    bool found = false;
    while (blobs != NULL && !found && (entry = readdir(blobs)) != NULL) {
        const char *ending = strrchr(entry->d_name, '.');
        found = ending != NULL && strcmp(ending, ".incomplete") == 0;
    }
    if (blobs != NULL) {
        (void)closedir(blobs);
    }
    return found;
}

tmb_model_state tmb_hf_find_snapshot(const char *repository_folder, char **out,
                                     char reason[TMB_CHECKPOINT_REASON_MAX]) {
    search s = {.folder = repository_folder, .state = TMB_MODEL_ABSENT, .reason = reason};
    reason[0] = '\0';
    try_main(&s);
    if (s.found == NULL) {
        try_all(&s);
    }
    if (s.found == NULL && has_half_blob(repository_folder)) {
        s.state = TMB_MODEL_INCOMPLETE;
        (void)snprintf(reason, TMB_CHECKPOINT_REASON_MAX, "its download has not finished");
    }
    *out = s.found;
    return s.state;
}

tmb_status tmb_hf_link(const char *repository_folder, const char *commit, const char *path, const char *tag,
                       tmb_error *error) {
    char up[3 * (FOLDER_DEPTH_MAX + 2) + 1] = "../../";
    for (const char *c = path; *c != '\0'; c++) {
        if (*c == '/') {
            strcat(up, "../");
        }
    }
    char *link_path = tmb_asprintf("%s/snapshots/%s/%s", repository_folder, commit, path);
    /* No PID: in a container it is the same after each start. */
    uint64_t random = 0;
    (void)!getrandom(&random, sizeof random, 0);
    char *temporary =
        tmb_asprintf("%s/snapshots/%s/%s.%016llx.link", repository_folder, commit, path, (unsigned long long)random);
    char *target = tmb_asprintf("%sblobs/%s", up, tag);
    tmb_status status = TMB_OK;
    if (link_path == NULL || temporary == NULL || target == NULL) {
        status = tmb_fail_memory(error, "a path", 0);
    } else {
        status = tmb_path_make_parent(link_path, error);
    }
    if (status == TMB_OK) {
        if (symlink(target, temporary) != 0 || rename(temporary, link_path) != 0) {
            status = tmb_fail_errno(error, TMB_ERROR_IO, errno, "%s: cannot be linked", link_path);
            (void)unlink(temporary);
        }
    }
    free(link_path);
    free(temporary);
    free(target);
    return status;
}
