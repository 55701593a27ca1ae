#include "weights/paths.h"

#include "base/buffer.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PASSWORD_BYTES 16384 /* of an entry of the user database */
#define EXPANDED_BYTES_MAX 16384

tmb_status tmb_path_xdg(const char *variable, const char *home_rest, const char *rest, char **out, tmb_error *error) {
    const char *base = getenv(variable);
    const char *home = getenv("HOME");
    *out = NULL;
    if (base != NULL && base[0] == '/') {
        *out = tmb_asprintf("%s/%s", base, rest);
    } else if (home != NULL && home[0] != '\0') {
        *out = tmb_asprintf("%s/%s/%s", home, home_rest, rest);
    } else {
        return tmb_fail(error, TMB_ERROR_IO, "neither %s nor HOME is set", variable);
    }
    return *out == NULL ? tmb_fail_memory(error, "a path", 0) : TMB_OK;
}

/* The home folder of a user, "" is this one; allocated; NULL: none is known. */
static char *home_of(const char *user, size_t length) {
    const char *home = getenv("HOME");
    if (length == 0 && home != NULL && home[0] != '\0') {
        return tmb_strdup(home);
    }
    char *memory = tmb_calloc(PASSWORD_BYTES, 1);
    char name[256] = "";
    struct passwd entry;
    struct passwd *found = NULL;
    if (memory != NULL && length < sizeof name) {
        memcpy(name, user, length);
        if (length == 0) {
            (void)getpwuid_r(getuid(), &entry, memory, PASSWORD_BYTES, &found);
        } else {
            (void)getpwnam_r(name, &entry, memory, PASSWORD_BYTES, &found);
        }
    }
    char *copy = found != NULL && found->pw_dir != NULL ? tmb_strdup(found->pw_dir) : NULL;
    free(memory);
    return copy;
}

/* What the variable at `text`, "$NAME" or "${NAME}", holds, and how long that spelling is; NULL: it is none. */
static const char *variable_at(const char *text, size_t *length) {
    char name[256];
    bool braces = text[1] == '{';
    const char *begin = text + (braces ? 2 : 1);
    size_t bytes = strspn(begin, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");
    if (bytes == 0 || bytes >= sizeof name || (braces && begin[bytes] != '}')) {
        return NULL;
    }
    memcpy(name, begin, bytes);
    name[bytes] = '\0';
    *length = bytes + (braces ? 3 : 1);
    return getenv(name);
}

tmb_status tmb_path_expand(const char *text, char **out, tmb_error *error) {
    size_t user = text[0] == '~' ? strcspn(text + 1, "/") : 0;
    char *home = text[0] == '~' ? home_of(text + 1, user) : NULL;
    tmb_buffer path = {.maximum = EXPANDED_BYTES_MAX};
    bool good = true;
    if (home != NULL) {
        good = tmb_buffer_append(&path, home, strlen(home));
        text += 1 + user;
    }
    while (good && *text != '\0') {
        size_t length = 1;
        const char *value = *text == '$' ? variable_at(text, &length) : NULL;
        good = value != NULL ? tmb_buffer_append(&path, value, strlen(value)) : tmb_buffer_append(&path, text, 1);
        text += value != NULL ? length : 1;
    }
    good = good && tmb_buffer_append(&path, "", 1);
    free(home);
    *out = good ? path.data : NULL;
    if (!good) {
        tmb_buffer_free(&path);
        return tmb_fail_memory(error, "a path", 0);
    }
    return TMB_OK;
}

tmb_status tmb_path_make_folder(const char *path, tmb_error *error) {
    return tmb_make_folders(path, 0777) ? TMB_OK
                                        : tmb_fail_errno(error, TMB_ERROR_IO, errno, "%s: cannot be made", path);
}

tmb_status tmb_path_make_parent(const char *path, tmb_error *error) {
    char *copy = tmb_strdup(path);
    if (copy == NULL) {
        return tmb_fail_memory(error, "a path", 0);
    }
    char *slash = strrchr(copy, '/');
    tmb_status status = TMB_OK;
    if (slash != NULL && slash != copy) {
        *slash = '\0';
        status = tmb_path_make_folder(copy, error);
    }
    free(copy);
    return status;
}

tmb_status tmb_path_publish(const char *path, const void *data, size_t bytes, tmb_error *error) {
    tmb_status status = tmb_path_make_parent(path, error);
    return status == TMB_OK ? tmb_file_write(path, data, bytes, error) : status;
}
