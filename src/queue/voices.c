#include "base/memory.h"
#include "queue/database.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char columns[] = "name, id, content_type, language, ref_text, x_vector_only, run_pre_processing, bytes,"
                              " duration, created";

void tmb_voice_info_free(tmb_voice_info *info) {
    free(info->ref_text);
    info->ref_text = NULL;
}

/* `info->ref_text` borrows from the row. */
static void read_voice_row(sqlite3_stmt *row, tmb_voice_info *info) {
    tmb_column_copy(row, 0, info->name, sizeof(info->name));
    tmb_column_copy(row, 1, info->id, sizeof(info->id));
    tmb_column_copy(row, 2, info->content_type, sizeof(info->content_type));
    tmb_column_copy(row, 3, info->language, sizeof(info->language));
    info->ref_text = (char *)(uintptr_t)sqlite3_column_text(row, 4);
    info->x_vector_only = sqlite3_column_int(row, 5) != 0;
    info->run_pre_processing = sqlite3_column_int(row, 6) != 0;
    info->bytes = (uint64_t)sqlite3_column_int64(row, 7);
    info->duration = sqlite3_column_double(row, 8);
    info->created = sqlite3_column_double(row, 9);
}

tmb_store_status tmb_store_voice_add(tmb_store *store, tmb_upload **upload, tmb_voice_info *info) {
    char target[TMB_STORE_PATH];
    (void)pthread_mutex_lock(&store->lock);
    tmb_store_status status = TMB_STORE_OK;
    if (tmb_database_number(store, 0, "SELECT 1 FROM voices WHERE name=?", "s", info->name)) {
        status = TMB_STORE_EXISTS;
    } else if (!tmb_random_id(info->id)) {
        status = TMB_STORE_FAILED;
    } else {
        tmb_store_file_path(store, "voices", info->id, target);
        info->bytes = tmb_upload_bytes(*upload);
        info->created = tmb_wall_clock();
        status = tmb_store_flush(store, tmb_upload_path(*upload), NULL);
        if (status == TMB_STORE_OK && rename(tmb_upload_path(*upload), target)) {
            status = tmb_store_errno(store, "cannot move a voice");
        }
        if (status == TMB_STORE_OK) {
            status = tmb_database_run(store, "INSERT INTO voices VALUES(?,?,?,?,?,?,?,?,?,?)", "sssssiiidd", info->name,
                                      info->id, info->content_type, info->language, info->ref_text,
                                      (int64_t)info->x_vector_only, (int64_t)info->run_pre_processing,
                                      (int64_t)info->bytes, info->duration, info->created);
            if (status != TMB_STORE_OK) {
                (void)unlink(target);
            }
        }
        store->bytes += status == TMB_STORE_OK ? info->bytes : 0;
    }
    (void)pthread_mutex_unlock(&store->lock);
    tmb_upload_abort(upload);
    return status;
}

tmb_store_status tmb_store_voice_get(tmb_store *store, const char *name, int *descriptor, tmb_voice_info *info) {
    char sql[256];
    (void)snprintf(sql, sizeof(sql), "SELECT %s FROM voices WHERE name=?", columns);
    memset(info, 0, sizeof(*info));
    (void)pthread_mutex_lock(&store->lock);
    sqlite3_stmt *row = tmb_database_prepare(store, sql, "s", name);
    int code = row ? sqlite3_step(row) : SQLITE_ERROR;
    tmb_store_status status = code == SQLITE_ROW    ? TMB_STORE_OK
                              : code == SQLITE_DONE ? TMB_STORE_NOT_FOUND
                                                    : TMB_STORE_FAILED;
    if (status == TMB_STORE_OK) {
        read_voice_row(row, info);
        const char *ref_text = info->ref_text;
        info->ref_text = tmb_strdup(ref_text);
        status = ref_text && !info->ref_text ? TMB_STORE_FAILED : TMB_STORE_OK;
    }
    if (status == TMB_STORE_OK && descriptor) {
        char path[TMB_STORE_PATH];
        tmb_store_file_path(store, "voices", info->id, path);
        *descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (*descriptor < 0) {
            status = tmb_store_errno(store, "cannot open a voice");
            tmb_voice_info_free(info);
        }
    }
    (void)sqlite3_finalize(row);
    (void)pthread_mutex_unlock(&store->lock);
    return status;
}

/* The reference and what was prepared from it: every file in voices/ that begins with the id. */
static void unlink_voice(tmb_store *store, const char *id) {
    char path[TMB_STORE_PATH];
    tmb_store_file_path(store, "voices", "", path);
    DIR *directory = opendir(path);
    if (!directory) {
        return;
    }
    for (struct dirent *entry = NULL; (entry = readdir(directory));) {
        if (strncmp(entry->d_name, id, TMB_ID_LENGTH) == 0) {
            (void)unlinkat(dirfd(directory), entry->d_name, 0);
        }
    }
    (void)closedir(directory);
}

tmb_store_status tmb_store_voice_remove(tmb_store *store, const char *name) {
    tmb_voice_info info;
    tmb_store_status status = tmb_store_voice_get(store, name, NULL, &info);
    if (status != TMB_STORE_OK) {
        return status;
    }
    (void)pthread_mutex_lock(&store->lock);
    status = tmb_database_run(store, "DELETE FROM voices WHERE id=?", "s", info.id);
    if (status == TMB_STORE_OK) {
        /* Two threads may have come this far; the first takes the bytes off the books. */
        if (sqlite3_changes(store->database)) {
            store->bytes -= info.bytes;
            unlink_voice(store, info.id);
        } else {
            status = TMB_STORE_NOT_FOUND;
        }
    }
    (void)pthread_mutex_unlock(&store->lock);
    tmb_voice_info_free(&info);
    return status;
}

tmb_store_status tmb_store_voice_each(tmb_store *store, bool (*each)(void *user, const tmb_voice_info *info),
                                      void *user) {
    char sql[256];
    (void)snprintf(sql, sizeof(sql), "SELECT %s FROM voices ORDER BY name", columns);
    (void)pthread_mutex_lock(&store->lock);
    sqlite3_stmt *row = tmb_database_prepare(store, sql, "");
    tmb_store_status status = row ? TMB_STORE_OK : TMB_STORE_FAILED;
    for (bool more = row != NULL; more;) {
        int code = sqlite3_step(row);
        if (code != SQLITE_ROW) {
            status = code == SQLITE_DONE ? TMB_STORE_OK : tmb_database_failure(store, code);
            break;
        }
        tmb_voice_info info = {0};
        read_voice_row(row, &info);
        more = each(user, &info);
    }
    (void)sqlite3_finalize(row);
    (void)pthread_mutex_unlock(&store->lock);
    return status;
}

void tmb_store_voice_prepared_path(tmb_store *store, const tmb_voice_info *info, const char *model,
                                   char path[TMB_STORE_PATH]) {
    uint64_t hash = 14695981039346656037u; /* FNV-1a: a name, not a secret */
    for (const char *at = model; *at; at++) {
        hash = (hash ^ (unsigned char)*at) * 1099511628211u;
    }
    char name[TMB_ID_LENGTH + 32];
    (void)snprintf(name, sizeof(name), "%s.%016llx", info->id, (unsigned long long)hash);
    tmb_store_file_path(store, "voices", name, path);
}
