/* Voices in a folder: voice files, and recordings with their transcripts beside them. */
#include "base/error.h"
#include "base/memory.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utf8proc.h>

#define VOICES_MOST 65536

/* Recordings that may stand for a voice. */
static const char *const recordings[] = {"wav", "flac", "ogg", "opus", "mp3", "m4a", "mp4", "webm", "aac", "caf"};

typedef struct voice {
    char *name, *path, *transcript;
} voice;

typedef struct voice_list {
    voice *items; /* [count] */
    size_t count, capacity;
} voice_list;

static void free_voice(voice *item) {
    free(item->name);
    free(item->path);
    free(item->transcript);
}

static bool is_recording(const char *ending) {
    for (size_t i = 0; i < sizeof recordings / sizeof recordings[0]; i++) {
        if (strcasecmp(ending, recordings[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* NFC, so that a name is found however its accents were typed; NULL: not UTF-8, or no memory. */
static char *normal_name(const char *file, size_t length) {
    utf8proc_uint8_t *out = NULL;
    const utf8proc_ssize_t size = utf8proc_map((const utf8proc_uint8_t *)file, (utf8proc_ssize_t)length, &out,
                                               UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    return size < 0 ? NULL : (char *)out;
}

static bool is_voice(const voice *item, bool recording) {
    struct stat status;
    return item->name != NULL && item->path != NULL && stat(item->path, &status) == 0 && S_ISREG(status.st_mode) &&
           /* A recording without its transcript is a file like any other, and no voice. */
           (!recording || (item->transcript != NULL && access(item->transcript, R_OK) == 0));
}

static tmb_status add(voice_list *list, const voice *item, const char *folder, tmb_error *error) {
    if (list->count == VOICES_MOST) {
        return tmb_fail(error, TMB_ERROR_LIMIT, "%s has more than %d voices", folder, VOICES_MOST);
    }
    if (list->count == list->capacity) {
        const size_t capacity = list->capacity == 0 ? 16 : 2 * list->capacity;
        voice *grown = tmb_realloc(list->items, capacity, sizeof *grown);
        if (grown == NULL) {
            return tmb_fail_memory(error, "a folder's voices", capacity * sizeof *grown);
        }
        list->items = grown;
        list->capacity = capacity;
    }
    list->items[list->count++] = *item;
    return TMB_OK;
}

/* Adds this file of the folder if it is a voice. */
static tmb_status look_at(voice_list *list, const char *folder, const char *file, tmb_error *error) {
    const char *dot = strrchr(file, '.');
    if (dot == NULL || dot == file) {
        return TMB_OK;
    }
    const bool recording = is_recording(dot + 1);
    const int stem = (int)(dot - file);
    if (!recording && strcasecmp(dot + 1, "tmbvoice") != 0) {
        return TMB_OK;
    }
    voice item = {
        .name = normal_name(file, (size_t)stem),
        .path = tmb_asprintf("%s/%s", folder, file),
        .transcript = recording ? tmb_asprintf("%s/%.*s.txt", folder, stem, file) : NULL,
    };
    tmb_status status = TMB_OK;
    const bool added = is_voice(&item, recording) && (status = add(list, &item, folder, error)) == TMB_OK;
    if (!added) {
        free_voice(&item);
    }
    return status;
}

static int by_name(const void *a, const void *b) {
    const voice *first = a;
    const voice *second = b;
    const int order = strcmp(first->name, second->name);
    return order != 0 ? order : (first->transcript != NULL) - (second->transcript != NULL);
}

tmb_status tmb_voice_folder(const char *folder, bool (*each)(void *user, const tmb_folder_voice *voice), void *user,
                            tmb_error *error) {
    voice_list list = {0};
    DIR *directory = opendir(folder);
    tmb_status status = TMB_OK;
    if (directory == NULL) {
        return tmb_fail_errno(error, TMB_ERROR_IO, errno, "%s", folder);
    }
    for (struct dirent *entry; status == TMB_OK && (entry = readdir(directory)) != NULL;) {
        status = look_at(&list, folder, entry->d_name, error);
    }
    (void)closedir(directory);
    if (list.count > 0) {
        qsort(list.items, list.count, sizeof *list.items, by_name);
    }
    bool more = status == TMB_OK;
    for (size_t i = 0; i < list.count; i++) {
        const tmb_folder_voice shown = {list.items[i].name, list.items[i].path, list.items[i].transcript};
        more = more && each(user, &shown);
        free_voice(&list.items[i]);
    }
    free(list.items);
    return status;
}
