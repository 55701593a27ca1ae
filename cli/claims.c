#include "claims.h"

#include "shared.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utf8proc.h>

enum { KEY_SIZE = 64 + NAME_MAX };

/* The first three map a file's key to who claims it. `names` are the outputs by folder and folded name: the values are
 * objects that map paths to who claims them. */
struct cli_claims {
    json_t *inputs, *outputs, *folders, *names;
};

static tmb_error *fail(tmb_error *error, tmb_status status, const char *format, ...) TMB_PRINTF(3, 4);
static tmb_error *fail(tmb_error *error, tmb_status status, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(error->message, sizeof error->message, format, arguments);
    va_end(arguments);
    error->status = status;
    return error;
}

static void fail_memory(tmb_error *error) { (void)fail(error, TMB_ERROR_MEMORY, "no memory for the list of files"); }

char *cli_name_key(const char *name) {
    utf8proc_uint8_t *folded = NULL;
    const utf8proc_option_t how = UTF8PROC_NULLTERM | UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_CASEFOLD;
    if (utf8proc_map((const utf8proc_uint8_t *)name, 0, &folded, how) >= 0) {
        return (char *)folded;
    }
    char *copy = strdup(name); /* not UTF-8: bytes */
    for (char *c = copy; c != NULL && *c != '\0'; c++) {
        *c = (char)(*c >= 'A' && *c <= 'Z' ? *c | 0x20 : *c);
    }
    return copy;
}

static void key_of(const struct stat *status, char out[KEY_SIZE]) {
    (void)snprintf(out, KEY_SIZE, "%llx:%llx", (unsigned long long)status->st_dev, (unsigned long long)status->st_ino);
}

/* What is behind a path, links followed; standard input or output for "-". */
static bool look(const char *path, bool written, struct stat *status) {
    if (cli_is_standard(path)) {
        return fstat(written ? STDOUT_FILENO : STDIN_FILENO, status) == 0;
    }
    return stat(path, status) == 0;
}

/* The folder of a file that does not exist yet, and its name within it; false if the folder cannot be found either. */
static bool look_at_place(const char *path, struct stat *folder, const char **name) {
    char copy[PATH_MAX];
    const char *slash = strrchr(path, '/');
    *name = slash != NULL ? slash + 1 : path;
    size_t length = slash != NULL ? (size_t)(slash - path) + (slash == path) : 0;
    if (length >= sizeof copy) {
        return false;
    }
    (void)snprintf(copy, sizeof copy, "%.*s", (int)length, path);
    return stat(length > 0 ? copy : ".", folder) == 0;
}

static const char *claimed_by(const json_t *list, const char *key) {
    return json_string_value(json_object_get(list, key));
}

static bool put(json_t *list, const char *key, const char *what, tmb_error *error) {
    /* `what` may hold a path that is not UTF-8. */
    bool kept = json_object_get(list, key) != NULL ||
                json_object_set_new_nocheck(list, key, json_stringn_nocheck(what, strlen(what))) == 0;
    if (!kept) {
        fail_memory(error);
    }
    return kept;
}

cli_claims *cli_claims_create(void) {
    cli_claims *claims = calloc(1, sizeof *claims);
    tmb_error error = {0};
    if (claims == NULL) {
        return NULL;
    }
    *claims = (cli_claims){json_object(), json_object(), json_object(), json_object()};
    bool whole = claims->inputs != NULL && claims->outputs != NULL && claims->folders != NULL && claims->names != NULL;
    if (!whole || !cli_claim_output(claims, "-", "standard output", &error)) {
        cli_claims_destroy(&claims);
    }
    return claims;
}

void cli_claims_destroy(cli_claims **claims) {
    if (*claims == NULL) {
        return;
    }
    json_decref((*claims)->inputs);
    json_decref((*claims)->outputs);
    json_decref((*claims)->folders);
    json_decref((*claims)->names);
    free(*claims);
    *claims = NULL;
}

static const char *shown(const char *path, bool written) {
    return !cli_is_standard(path) ? path : written ? "standard output" : "standard input";
}

/* Outputs of this place and folded name, [path: who]; created on demand. */
static json_t *places(cli_claims *claims, const char *path, bool create) {
    struct stat folder;
    const char *name;
    char key[2 * KEY_SIZE + 4 * NAME_MAX], place[KEY_SIZE];
    if (!look_at_place(path, &folder, &name)) {
        return NULL;
    }
    char *folded = cli_name_key(name);
    if (folded == NULL) {
        return NULL;
    }
    key_of(&folder, place);
    (void)snprintf(key, sizeof key, "%s/%s", place, folded);
    free(folded);
    json_t *list = json_object_get(claims->names, key);
    if (list == NULL && create) {
        list = json_object();
        if (json_object_set_new_nocheck(claims->names, key, list) != 0) {
            return NULL;
        }
    }
    return list;
}

/* Would both paths, whose names differ in spelling at most, be one file? Only the file system knows. */
static bool are_one_file(const char *first, const char *second) {
    struct stat a, b;
    const char *first_name = strrchr(first, '/'), *second_name = strrchr(second, '/');
    first_name = first_name != NULL ? first_name + 1 : first;
    second_name = second_name != NULL ? second_name + 1 : second;
    if (strcmp(first_name, second_name) == 0) {
        return true; /* the folder is the same already */
    }
    int file = open(first, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    bool one = stat(first, &a) == 0 && stat(second, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
    if (file >= 0) {
        (void)close(file);
        (void)unlink(first);
    }
    return one;
}

/* The claim on an output of this place, or NULL. */
static const char *claimed_place(cli_claims *claims, const char *path) {
    const char *other;
    json_t *who, *list = places(claims, path, false);
    json_object_foreach(list, other, who) {
        if (are_one_file(other, path)) {
            return json_string_value(who);
        }
    }
    return NULL;
}

bool cli_claim_input(cli_claims *claims, const char *path, const char *what, tmb_error *error) {
    struct stat status;
    char key[KEY_SIZE];
    if (path == NULL) {
        return true;
    }
    bool exists = look(path, false, &status);
    if (exists && !S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode)) {
        return true;
    }
    const char *other = NULL;
    if (exists) {
        key_of(&status, key);
        other = claimed_by(claims->outputs, key);
    }
    if (other == NULL && !cli_is_standard(path)) {
        other = claimed_place(claims, path);
    }
    if (other == NULL) {
        return !exists || put(S_ISDIR(status.st_mode) ? claims->folders : claims->inputs, key, what, error);
    }
    (void)fail(error, TMB_ERROR_ARGUMENT, "%s would replace %s, which %s reads; choose another output", other,
               shown(path, false), what);
    return false;
}

/* Who reads a folder that this file lies in, or NULL. */
static const char *reader_of_folder(const cli_claims *claims, const char *path) {
    struct stat folder;
    const char *name;
    char key[KEY_SIZE];
    char *real = realpath(path, NULL);
    const char *reader = NULL;
    if (real != NULL && json_object_size(claims->folders) > 0 && look_at_place(real, &folder, &name)) {
        key_of(&folder, key);
        reader = claimed_by(claims->folders, key);
    }
    free(real);
    return reader;
}

bool cli_claim_output(cli_claims *claims, const char *path, const char *what, tmb_error *error) {
    struct stat status;
    char key[KEY_SIZE];
    if (path == NULL) {
        return true;
    }
    const char *reader = NULL, *writer = NULL;
    bool exists = look(path, true, &status);
    if (exists && !S_ISREG(status.st_mode)) {
        return true;
    }
    if (exists) {
        key_of(&status, key);
        reader = claimed_by(claims->inputs, key);
        writer = claimed_by(claims->outputs, key);
        /* The one file that two claims share by right is standard output itself. */
        if (writer != NULL && cli_is_standard(path)) {
            writer = NULL;
        }
        if (reader == NULL && !cli_is_standard(path)) {
            reader = reader_of_folder(claims, path);
        }
    }
    if (writer == NULL && !cli_is_standard(path)) {
        writer = claimed_place(claims, path);
    }
    if (reader != NULL) {
        (void)fail(error, TMB_ERROR_ARGUMENT, "%s would replace %s, which %s reads; choose another output", what,
                   shown(path, true), reader);
        return false;
    }
    if (writer != NULL) {
        (void)fail(error, TMB_ERROR_ARGUMENT, "%s and %s would both write %s; choose another output", writer, what,
                   shown(path, true));
        return false;
    }
    if (exists && !put(claims->outputs, key, what, error)) {
        return false;
    }
    /* By its place too: the file that stands there in the end is another one. */
    json_t *list = cli_is_standard(path) ? NULL : places(claims, path, true);
    return list == NULL || put(list, path, what, error);
}

bool cli_would_replace(const char *path) {
    struct stat status;
    return look(path, true, &status) && S_ISREG(status.st_mode);
}

bool cli_claim_all(cli_claims *claims, const cli_claim *list, size_t count) {
    tmb_error error = {0};
    if (claims == NULL) {
        fail_memory(&error);
    }
    for (size_t i = 0; i < count && error.status == TMB_OK; i++) {
        (void)(list[i].written ? cli_claim_output(claims, list[i].path, list[i].what, &error)
                               : cli_claim_input(claims, list[i].path, list[i].what, &error));
    }
    if (error.status != TMB_OK) {
        cli_error("%s", error.message);
    }
    return error.status == TMB_OK;
}

bool cli_claims_agree(const cli_claim *list, size_t count) {
    cli_claims *claims = cli_claims_create();
    bool agree = cli_claim_all(claims, list, count);
    cli_claims_destroy(&claims);
    return agree;
}
