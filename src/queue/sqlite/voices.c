#include "queue/voices.h"

#include "base/hash.h"
#include "base/memory.h"
#include "base/thread.h"
#include "queue/sqlite/database.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char columns[] = "name, id, content_type, language, ref_text, x_vector_only, run_pre_processing, bytes,"
                              " duration, created";

/* False: out of memory. */
static bool read_voice_row(sqlite3_stmt *row, tmb_voice_info *info) {
    bool good = true;
    tmb_column_copy(row, 0, info->name, sizeof info->name);
    tmb_column_copy(row, 1, info->id, sizeof info->id);
    tmb_column_copy(row, 2, info->content_type, sizeof info->content_type);
    tmb_column_copy(row, 3, info->language, sizeof info->language);
    info->ref_text = tmb_column_text(row, 4, &good);
    info->x_vector_only = tmb_column_integer(row, 5, 0, 1, 0) != 0;
    info->run_pre_processing = tmb_column_integer(row, 6, 0, 1, 1) != 0;
    info->bytes = (uint64_t)tmb_column_integer(row, 7, 0, TMB_BYTES_MOST, 0);
    info->duration = tmb_column_real(row, 8, 0, 1e9, 0);
    info->created = tmb_column_time(row, 9);
    return good;
}

static tmb_store_status insert(tmb_sqlite *store, const char *path, tmb_voice_info *info) {
    char target[TMB_STORE_PATH];
    int64_t one = 0;
    tmb_store_status status =
        tmb_database_number(&store->writer, &one, "SELECT 1 FROM voices WHERE name=?", "s", info->name);
    if (status != TMB_STORE_NOT_FOUND) {
        return status == TMB_STORE_OK ? TMB_STORE_EXISTS : status;
    }
    tmb_sqlite_file_path(store, "voices", info->id, target);
    if (rename(path, target)) {
        return tmb_sqlite_errno(store, "cannot move a voice");
    }
    status =
        tmb_database_run(&store->writer, "INSERT INTO voices VALUES(?,?,?,?,?,?,?,?,?,?)", "sssssiiidd", info->name,
                         info->id, info->content_type, info->language, info->ref_text, (int64_t)info->x_vector_only,
                         (int64_t)info->run_pre_processing, (int64_t)info->bytes, info->duration, info->created);
    if (status != TMB_STORE_OK) {
        (void)rename(target, path);
    }
    return status;
}

static tmb_store_status add(tmb_store *base, const char *path, tmb_voice_info *info) {
    tmb_sqlite *store = tmb_sqlite_of(base);
    info->created = tmb_wall_clock();
    tmb_store_status status = tmb_random_id(info->id) ? TMB_STORE_OK : TMB_STORE_FAILED;
    if (status == TMB_STORE_OK) {
        status = tmb_sqlite_flush(store, path, NULL);
    }
    if (status == TMB_STORE_OK) {
        status = tmb_sqlite_write_begin(store);
    }
    if (status == TMB_STORE_OK) {
        status = insert(store, path, info);
        tmb_sqlite_write_end(store);
    }
    return status;
}

static tmb_store_status find(tmb_sqlite *store, const char *name, tmb_voice_info *info) {
    char sql[256];
    sqlite3_stmt *row = NULL;
    (void)snprintf(sql, sizeof sql, "SELECT %s FROM voices WHERE name=?", columns);
    memset(info, 0, sizeof *info);
    tmb_database *reader = tmb_sqlite_read_begin(store);
    tmb_store_status status = tmb_database_prepare(reader, &row, sql, "s", name);
    if (status == TMB_STORE_OK) {
        status = tmb_database_step(reader, row);
    }
    if (status == TMB_STORE_OK && !read_voice_row(row, info)) {
        status = TMB_STORE_BUSY;
    }
    (void)sqlite3_finalize(row);
    tmb_sqlite_read_end(store);
    return status;
}

static tmb_store_status get(tmb_store *base, const char *name, int *descriptor, tmb_voice_info *info) {
    tmb_sqlite *store = tmb_sqlite_of(base);
    tmb_store_status status = find(store, name, info);
    if (status == TMB_STORE_OK && descriptor != NULL) {
        char path[TMB_STORE_PATH];
        *descriptor = -1;
        if (tmb_is_id(info->id)) {
            tmb_sqlite_file_path(store, "voices", info->id, path);
            status = tmb_sqlite_open_file(store, path, &info->bytes, descriptor);
        } else {
            tmb_log(store->logger, TMB_LOG_ERROR, "the row of voice %s names no file", info->name);
            status = TMB_STORE_DAMAGED;
        }
    }
    if (status != TMB_STORE_OK) {
        tmb_voice_info_free(info);
    }
    return status;
}

/* In the caller's transaction. */
static tmb_store_status remove_row(tmb_sqlite *store, const char *name, const char *id) {
    tmb_database *writer = &store->writer;
    tmb_store_status status = tmb_database_run(
        writer, "INSERT OR IGNORE INTO removed SELECT id FROM voices WHERE name=? AND id=?", "ss", name, id);
    if (status == TMB_STORE_OK) {
        status = tmb_database_run(writer, "DELETE FROM voices WHERE name=? AND id=?", "ss", name, id);
    }
    /* Two threads may have come this far; the first removes it. */
    return status == TMB_STORE_OK && !sqlite3_changes(writer->handle) ? TMB_STORE_NOT_FOUND : status;
}

static tmb_store_status remove_voice(tmb_store *base, const char *name, const char *id) {
    tmb_sqlite *store = tmb_sqlite_of(base);
    tmb_voice_info info;
    tmb_store_status status = find(store, name, &info);
    if (status != TMB_STORE_OK) {
        return status;
    }
    tmb_voice_info_free(&info);
    if (id != NULL && strcmp(id, info.id) != 0) {
        return TMB_STORE_NOT_FOUND;
    }
    status = tmb_sqlite_write_begin(store);
    if (status != TMB_STORE_OK) {
        return status;
    }
    do {
        status = tmb_database_begin(&store->writer);
        if (status == TMB_STORE_OK) {
            status = tmb_database_end(&store->writer, remove_row(store, name, info.id));
        }
    } while (tmb_sqlite_use_reserve(store, status));
    if (status == TMB_STORE_OK && tmb_is_id(info.id)) {
        tmb_sqlite_unlink_voice(store, info.id);
    }
    tmb_sqlite_write_end(store);
    return status;
}

static tmb_store_status list(tmb_database *reader, tmb_voice_info **voices, size_t *count) {
    char sql[256];
    sqlite3_stmt *row = NULL;
    size_t capacity = 0;
    (void)snprintf(sql, sizeof sql, "SELECT %s FROM voices ORDER BY name", columns);
    tmb_store_status status = tmb_database_prepare(reader, &row, sql, "");
    while (status == TMB_STORE_OK && (status = tmb_database_step(reader, row)) == TMB_STORE_OK) {
        if (*count == capacity) {
            capacity = capacity ? 2 * capacity : 32;
            tmb_voice_info *more = tmb_realloc(*voices, capacity, sizeof *more);
            if (more == NULL) {
                status = TMB_STORE_BUSY;
                break;
            }
            *voices = more;
        }
        memset(&(*voices)[*count], 0, sizeof **voices);
        status = read_voice_row(row, &(*voices)[(*count)++]) ? TMB_STORE_OK : TMB_STORE_BUSY;
    }
    (void)sqlite3_finalize(row);
    return status == TMB_STORE_NOT_FOUND ? TMB_STORE_OK : status;
}

static tmb_store_status list_voices(tmb_store *base, tmb_voice_info **out, size_t *count) {
    tmb_sqlite *store = tmb_sqlite_of(base);
    *out = NULL;
    *count = 0;
    tmb_store_status status = list(tmb_sqlite_read_begin(store), out, count);
    tmb_sqlite_read_end(store);
    if (status != TMB_STORE_OK) {
        tmb_voice_list_free(*out, *count);
        *out = NULL;
        *count = 0;
    }
    return status;
}

/* ---- Prepared ---- */

static bool prepared_path(tmb_sqlite *store, const tmb_voice_info *info, const char *model, char path[TMB_STORE_PATH]) {
    char name[TMB_ID_LENGTH + 32];
    (void)snprintf(name, sizeof name, "%s.%016llx", info->id, (unsigned long long)tmb_hash_name(model, strlen(model)));
    tmb_sqlite_file_path(store, "voices", name, path);
    return tmb_is_id(info->id);
}

/* With the right to write, so that the voice is neither removed nor replaced meanwhile. */
static tmb_store_status keep_prepared(tmb_sqlite *store, const tmb_voice_info *info, const char *from, const char *to,
                                      uint64_t bytes) {
    int64_t one = 0;
    tmb_store_status status = tmb_database_number(&store->writer, &one, "SELECT 1 FROM voices WHERE name=? AND id=?",
                                                  "ss", info->name, info->id);
    if (status != TMB_STORE_OK) {
        return status;
    }
    tmb_sqlite_unlink_path(store, to);
    if (!tmb_store_book(&store->base, bytes)) {
        return TMB_STORE_NO_SPACE;
    }
    if (rename(from, to)) {
        status = tmb_sqlite_errno(store, "cannot move a prepared voice");
        tmb_store_unbook(&store->base, bytes);
    }
    return status;
}

static tmb_store_status prepared_keep(tmb_store *base, const tmb_voice_info *info, const char *model,
                                      const char *path) {
    tmb_sqlite *store = tmb_sqlite_of(base);
    char target[TMB_STORE_PATH];
    uint64_t bytes = 0;
    tmb_store_status status =
        prepared_path(store, info, model, target) ? tmb_sqlite_flush(store, path, &bytes) : TMB_STORE_DAMAGED;
    if (status == TMB_STORE_OK) {
        status = tmb_sqlite_write_begin(store);
    }
    if (status == TMB_STORE_OK) {
        status = keep_prepared(store, info, path, target, bytes);
        tmb_sqlite_write_end(store);
    }
    if (status != TMB_STORE_OK) {
        (void)unlink(path);
    }
    return status;
}

static tmb_store_status prepared_open(tmb_store *base, const tmb_voice_info *info, const char *model, int *descriptor) {
    tmb_sqlite *store = tmb_sqlite_of(base);
    char path[TMB_STORE_PATH];
    uint64_t bytes = 0;
    *descriptor = -1;
    return prepared_path(store, info, model, path) ? tmb_sqlite_open_file(store, path, &bytes, descriptor)
                                                   : TMB_STORE_NOT_FOUND;
}

static void prepared_drop(tmb_store *base, const tmb_voice_info *info, const char *model) {
    tmb_sqlite *store = tmb_sqlite_of(base);
    char path[TMB_STORE_PATH];
    if (prepared_path(store, info, model, path)) {
        tmb_sqlite_unlink_path(store, path);
    }
}

static bool prepared_exists(tmb_store *base, const tmb_voice_info *info, const char *model) {
    tmb_sqlite *store = tmb_sqlite_of(base);
    char path[TMB_STORE_PATH];
    return prepared_path(store, info, model, path) && access(path, R_OK) == 0;
}

const tmb_voice_operations tmb_sqlite_voices = {
    .add = add,
    .get = get,
    .remove = remove_voice,
    .list = list_voices,
    .prepared_keep = prepared_keep,
    .prepared_open = prepared_open,
    .prepared_drop = prepared_drop,
    .prepared_exists = prepared_exists,
};
