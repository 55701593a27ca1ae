#include "base/memory.h"
#include "queue/database.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char job_columns[] = "id, label, created, finished,"
                                  " (SELECT count(*) FROM items WHERE job=number AND state=0), (SELECT count(*) FROM "
                                  "items WHERE job=number AND state=1),"
                                  " (SELECT count(*) FROM items WHERE job=number AND state=2), (SELECT count(*) FROM "
                                  "items WHERE job=number AND state=3)";

static void read_job_row(sqlite3_stmt *row, tmb_job_info *info) {
    tmb_column_copy(row, 0, info->id, sizeof(info->id));
    tmb_column_copy(row, 1, info->label, sizeof(info->label));
    info->created = sqlite3_column_double(row, 2);
    info->finished = sqlite3_column_double(row, 3);
    info->total = 0;
    for (int state = 0; state < TMB_ITEM_STATES; state++) {
        info->items[state] = (size_t)sqlite3_column_int64(row, 4 + state);
        info->total += info->items[state];
    }
}

/* The first job that `condition` (with one text parameter) names. */
static tmb_store_status find_job(tmb_store *store, const char *condition, const char *value, tmb_job_info *info) {
    char sql[640];
    (void)snprintf(sql, sizeof(sql), "SELECT %s FROM jobs WHERE %s", job_columns, condition);
    sqlite3_stmt *row = tmb_database_prepare(store, sql, "s", value);
    int code = row ? sqlite3_step(row) : SQLITE_ERROR;
    if (code == SQLITE_ROW) {
        read_job_row(row, info);
    }
    (void)sqlite3_finalize(row);
    return code == SQLITE_ROW    ? TMB_STORE_OK
           : code == SQLITE_DONE ? TMB_STORE_NOT_FOUND
                                 : tmb_database_failure(store, code);
}

static tmb_store_status insert_job(tmb_store *store, const char *repeat_key, const char *const *requests, size_t count,
                                   const char *const *files, const bool *owned, size_t file_count, tmb_job_info *info) {
    tmb_store_status status =
        tmb_database_run(store, "INSERT INTO jobs(id,label,repeat_key,created,finished) VALUES(?,?,?,?,0)", "sssd",
                         info->id, info->label, repeat_key, info->created);
    int64_t number = sqlite3_last_insert_rowid(store->database);
    for (size_t i = 0; status == TMB_STORE_OK && i < count; i++) {
        status = tmb_database_run(store, "INSERT INTO items VALUES(?,?,0,?,NULL,NULL)", "iis", number, (int64_t)i,
                                  requests[i]);
    }
    for (size_t i = 0; status == TMB_STORE_OK && i < file_count; i++) {
        /* A file that was removed since the caller looked at it must not leave a job that cannot run. */
        if (!tmb_database_number(store, 0, "SELECT 1 FROM files WHERE id=?", "s", files[i])) {
            return TMB_STORE_NOT_FOUND;
        }
        status = tmb_database_run(store, "INSERT OR REPLACE INTO job_files VALUES(?,?,?)", "isi", number, files[i],
                                  (int64_t)owned[i]);
    }
    return status;
}

tmb_store_status tmb_store_job_add(tmb_store *store, const char *label, const char *repeat_key,
                                   const char *const *requests, size_t count, const char *const *files,
                                   const bool *owned, size_t file_count, tmb_job_info *info) {
    memset(info, 0, sizeof(*info));
    (void)snprintf(info->label, sizeof(info->label), "%s", label);
    info->created = tmb_wall_clock();
    info->total = info->items[TMB_ITEM_QUEUED] = count;
    if (!tmb_random_id(info->id)) {
        return TMB_STORE_FAILED;
    }
    (void)pthread_mutex_lock(&store->lock);
    tmb_store_status status = TMB_STORE_OK;
    if (repeat_key && (status = find_job(store, "repeat_key=?", repeat_key, info)) != TMB_STORE_NOT_FOUND) {
        (void)pthread_mutex_unlock(&store->lock);
        return status == TMB_STORE_OK ? TMB_STORE_EXISTS : status;
    }
    size_t waiting = (size_t)tmb_database_number(store, 0, "SELECT count(*) FROM jobs WHERE finished=0", "");
    if (store->options.max_jobs && waiting >= store->options.max_jobs) {
        status = TMB_STORE_FULL;
    } else {
        status = tmb_database_begin(store);
        if (status == TMB_STORE_OK) {
            status = insert_job(store, repeat_key, requests, count, files, owned, file_count, info);
            status = tmb_database_end(store, status);
        }
    }
    (void)pthread_mutex_unlock(&store->lock);
    return status;
}

tmb_store_status tmb_store_job_get(tmb_store *store, const char *id, tmb_job_info *info) {
    (void)pthread_mutex_lock(&store->lock);
    tmb_store_status status = find_job(store, "id=?", id, info);
    (void)pthread_mutex_unlock(&store->lock);
    return status;
}

/* Takes the files that only this job owns out of the table, within the caller's transaction, and leaves
 * their ids in a temporary table, so that they are unlinked only once the rows are gone for good. */
static tmb_store_status remove_rows(tmb_store *store, int64_t number) {
    tmb_store_status status = tmb_database_run(store, "DELETE FROM leaving", "");
    if (status == TMB_STORE_OK) {
        status = tmb_database_run(store,
                                  "INSERT INTO leaving SELECT id, bytes FROM files WHERE id IN"
                                  " (SELECT file FROM job_files WHERE job=?1 AND owned=1) AND id NOT IN"
                                  " (SELECT file FROM job_files WHERE job<>?1)",
                                  "i", number);
    }
    if (status == TMB_STORE_OK) {
        status = tmb_database_run(store, "DELETE FROM files WHERE id IN (SELECT id FROM leaving)", "");
    }
    return status == TMB_STORE_OK ? tmb_database_run(store, "DELETE FROM jobs WHERE number=?", "i", number) : status;
}

tmb_store_status tmb_store_job_remove(tmb_store *store, const char *id) {
    (void)pthread_mutex_lock(&store->lock);
    int64_t number = tmb_database_number(store, -1, "SELECT number FROM jobs WHERE id=?", "s", id);
    tmb_store_status status = number < 0 ? TMB_STORE_NOT_FOUND : TMB_STORE_OK;
    if (status == TMB_STORE_OK) {
        status = tmb_database_run(store, "CREATE TEMP TABLE IF NOT EXISTS leaving(id TEXT, bytes INTEGER)", "");
    }
    if (status == TMB_STORE_OK && (status = tmb_database_begin(store)) == TMB_STORE_OK) {
        status = tmb_database_end(store, remove_rows(store, number));
    }
    if (status == TMB_STORE_OK) {
        sqlite3_stmt *row = tmb_database_prepare(store, "SELECT id, bytes FROM leaving", "");
        while (row && sqlite3_step(row) == SQLITE_ROW) {
            tmb_store_file_forget(store, tmb_column_text(row, 0), (uint64_t)sqlite3_column_int64(row, 1));
        }
        (void)sqlite3_finalize(row);
    }
    (void)pthread_mutex_unlock(&store->lock);
    return status;
}

tmb_store_status tmb_store_job_each(tmb_store *store, size_t limit, bool (*each)(void *user, const tmb_job_info *info),
                                    void *user) {
    char sql[640];
    (void)snprintf(sql, sizeof(sql), "SELECT %s FROM jobs ORDER BY number DESC LIMIT ?", job_columns);
    (void)pthread_mutex_lock(&store->lock);
    sqlite3_stmt *row = tmb_database_prepare(store, sql, "i", (int64_t)limit);
    int code = SQLITE_ERROR;
    while (row && (code = sqlite3_step(row)) == SQLITE_ROW) {
        tmb_job_info info;
        read_job_row(row, &info);
        if (!each(user, &info)) {
            code = SQLITE_DONE;
            break;
        }
    }
    (void)sqlite3_finalize(row);
    (void)pthread_mutex_unlock(&store->lock);
    return code == SQLITE_DONE ? TMB_STORE_OK : TMB_STORE_FAILED;
}

tmb_store_status tmb_store_item_each(tmb_store *store, const char *job,
                                     bool (*each)(void *user, const tmb_job_item *item), void *user) {
    (void)pthread_mutex_lock(&store->lock);
    sqlite3_stmt *row = tmb_database_prepare(
        store,
        "SELECT position, state, request, result, file FROM items WHERE job=(SELECT number FROM jobs WHERE id=?)"
        " ORDER BY position",
        "s", job);
    int code = SQLITE_ERROR;
    while (row && (code = sqlite3_step(row)) == SQLITE_ROW) {
        tmb_job_item item = {
            .position = (size_t)sqlite3_column_int64(row, 0),
            .state = (tmb_item_state)sqlite3_column_int(row, 1),
            .request = tmb_column_text(row, 2),
            .result = (const char *)sqlite3_column_text(row, 3),
            .file = (const char *)sqlite3_column_text(row, 4),
        };
        if (!each(user, &item)) {
            code = SQLITE_DONE;
            break;
        }
    }
    (void)sqlite3_finalize(row);
    (void)pthread_mutex_unlock(&store->lock);
    return code == SQLITE_DONE ? TMB_STORE_OK : TMB_STORE_FAILED;
}

tmb_store_status tmb_store_item_take(tmb_store *store, int64_t after_job, tmb_taken_item *out) {
    memset(out, 0, sizeof(*out));
    (void)pthread_mutex_lock(&store->lock);
    sqlite3_stmt *row = tmb_database_prepare(
        store,
        "SELECT jobs.id, items.job, items.position, items.request FROM items JOIN jobs ON jobs.number=items.job"
        " WHERE items.state=0 ORDER BY items.job <= ?, items.job, items.position LIMIT 1",
        "i", after_job);
    int code = row ? sqlite3_step(row) : SQLITE_ERROR;
    tmb_store_status status = code == SQLITE_ROW    ? TMB_STORE_OK
                              : code == SQLITE_DONE ? TMB_STORE_NOT_FOUND
                                                    : TMB_STORE_FAILED;
    if (status == TMB_STORE_OK) {
        tmb_column_copy(row, 0, out->job, sizeof(out->job));
        out->job_number = sqlite3_column_int64(row, 1);
        out->position = (size_t)sqlite3_column_int64(row, 2);
        out->request = tmb_strdup(tmb_column_text(row, 3));
        status = out->request ? TMB_STORE_OK : TMB_STORE_FAILED;
    }
    (void)sqlite3_finalize(row);
    if (status == TMB_STORE_OK) {
        status = tmb_database_run(store, "UPDATE items SET state=1 WHERE job=? AND position=?", "ii", out->job_number,
                                  (int64_t)out->position);
        if (status != TMB_STORE_OK) {
            free(out->request);
            out->request = NULL;
        }
    }
    (void)pthread_mutex_unlock(&store->lock);
    return status;
}

tmb_store_status tmb_store_item_return(tmb_store *store, const tmb_taken_item *item) {
    (void)pthread_mutex_lock(&store->lock);
    tmb_store_status status = tmb_database_run(store, "UPDATE items SET state=0 WHERE job=? AND position=? AND state=1",
                                               "ii", item->job_number, (int64_t)item->position);
    (void)pthread_mutex_unlock(&store->lock);
    return status;
}

/* Within the caller's transaction. */
static tmb_store_status finish_item(tmb_store *store, const tmb_taken_item *item, tmb_item_state state,
                                    const char *path, tmb_file_info *info,
                                    char *(*describe)(void *user, const tmb_file_info *info), void *user) {
    if (!tmb_database_number(store, 0, "SELECT 1 FROM items WHERE job=? AND position=? AND state=1", "ii",
                             item->job_number, (int64_t)item->position)) {
        return TMB_STORE_NOT_FOUND;
    }
    tmb_store_status status = path ? tmb_store_file_add(store, path, info) : TMB_STORE_OK;
    if (status != TMB_STORE_OK) {
        return status;
    }
    char *result = describe(user, path ? info : NULL);
    status = result ? tmb_database_run(store, "UPDATE items SET state=?, result=?, file=? WHERE job=? AND position=?",
                                       "issii", (int64_t)state, result, path ? info->id : NULL, item->job_number,
                                       (int64_t)item->position)
                    : TMB_STORE_FAILED;
    free(result);
    if (status == TMB_STORE_OK && path) {
        status = tmb_database_run(store, "INSERT INTO job_files VALUES(?,?,1)", "is", item->job_number, info->id);
    }
    if (status == TMB_STORE_OK) {
        status = tmb_database_run(store,
                                  "UPDATE jobs SET finished=? WHERE number=? AND NOT EXISTS"
                                  " (SELECT 1 FROM items WHERE job=number AND state<2)",
                                  "di", tmb_wall_clock(), item->job_number);
    }
    return status;
}

tmb_store_status tmb_store_item_finish(tmb_store *store, const tmb_taken_item *item, tmb_item_state state,
                                       const char *path, tmb_file_info *info,
                                       char *(*describe)(void *user, const tmb_file_info *info), void *user) {
    if (info) {
        info->id[0] = 0;
    }
    (void)pthread_mutex_lock(&store->lock);
    uint64_t bytes_before = store->bytes;
    tmb_store_status status = tmb_database_begin(store);
    if (status == TMB_STORE_OK) {
        status = finish_item(store, item, state, path, info, describe, user);
        status = tmb_database_end(store, status);
    }
    if (status != TMB_STORE_OK && path) {
        (void)unlink(path);
        if (store->bytes != bytes_before) {
            tmb_store_file_forget(store, info->id, store->bytes - bytes_before);
        }
    }
    (void)pthread_mutex_unlock(&store->lock);
    return status;
}

void tmb_store_item_counts(tmb_store *store, size_t *queued, size_t *running) {
    (void)pthread_mutex_lock(&store->lock);
    *queued = (size_t)tmb_database_number(store, 0, "SELECT count(*) FROM items WHERE state=0", "");
    *running = (size_t)tmb_database_number(store, 0, "SELECT count(*) FROM items WHERE state=1", "");
    (void)pthread_mutex_unlock(&store->lock);
}
