/* Jobs: adding, looking at, removing. */
#include "queue/jobs.h"

#include "base/memory.h"
#include "base/thread.h"
#include "queue/sqlite/database.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char job_columns[] = "id, label, created, finished,"
                                  " (SELECT count(*) FROM items WHERE job=number AND state=0), (SELECT count(*) FROM "
                                  "items WHERE job=number AND state=1),"
                                  " (SELECT count(*) FROM items WHERE job=number AND state=2), (SELECT count(*) FROM "
                                  "items WHERE job=number AND state=3), body";

static void read_job_row(sqlite3_stmt *row, tmb_job_info *info) {
    memset(info, 0, sizeof *info);
    tmb_column_copy(row, 0, info->id, sizeof info->id);
    tmb_column_copy(row, 1, info->label, sizeof info->label);
    info->created = tmb_column_time(row, 2);
    info->finished = tmb_column_time(row, 3);
    for (int state = 0; state < TMB_ITEM_STATES; state++) {
        info->items[state] = (size_t)sqlite3_column_int64(row, 4 + state);
        info->total += info->items[state];
    }
}

/* The first job that `condition` (with one text parameter) names. *same (may be NULL): it came with `body`. */
static tmb_store_status find_job(tmb_database *database, const char *condition, const char *value, const char *body,
                                 tmb_job_info *info, bool *same) {
    char sql[640];
    char known[128] = "";
    sqlite3_stmt *row = NULL;
    (void)snprintf(sql, sizeof sql, "SELECT %s FROM jobs WHERE %s", job_columns, condition);
    tmb_store_status status = tmb_database_prepare(database, &row, sql, "s", value);
    if (status == TMB_STORE_OK) {
        status = tmb_database_step(database, row);
    }
    if (status == TMB_STORE_OK) {
        read_job_row(row, info);
        tmb_column_copy(row, 8, known, sizeof known);
    }
    if (same != NULL) {
        /* Jobs of older versions have no body to compare. */
        *same = !known[0] || body == NULL || strcmp(known, body) == 0;
    }
    (void)sqlite3_finalize(row);
    return status;
}

static tmb_store_status insert_file(tmb_sqlite *store, int64_t number, const tmb_job_file *file) {
    /* A file that was removed since the caller looked at it must not leave a job that cannot run. */
    int64_t one = 0;
    tmb_store_status status =
        tmb_database_number(&store->writer, &one, "SELECT 1 FROM files WHERE id=?", "s", file->id);
    return status == TMB_STORE_OK ? tmb_database_run(&store->writer, "INSERT OR REPLACE INTO job_files VALUES(?,?,?)",
                                                     "isi", number, file->id, (int64_t)file->owned)
                                  : status;
}

/* In the caller's transaction. */
static tmb_store_status insert_job(tmb_sqlite *store, const tmb_new_job *job, const tmb_job_info *info) {
    tmb_database *writer = &store->writer;
    tmb_store_status status =
        tmb_database_run(writer, "INSERT INTO jobs(id,label,repeat_key,body,created,finished) VALUES(?,?,?,?,?,0)",
                         "ssssd", info->id, info->label, job->repeat_key, job->body, info->created);
    int64_t number = sqlite3_last_insert_rowid(writer->handle);
    for (size_t i = 0; status == TMB_STORE_OK && i < job->count; i++) {
        status = tmb_database_run(writer, "INSERT INTO items(job,position,state,request) VALUES(?,?,0,?)", "iis",
                                  number, (int64_t)i, job->requests[i]);
    }
    for (size_t i = 0; status == TMB_STORE_OK && i < job->file_count; i++) {
        status = insert_file(store, number, &job->files[i]);
    }
    return status;
}

/* In the caller's transaction, so that two submissions of one key are one job. */
static tmb_store_status add_or_find(tmb_sqlite *store, const tmb_new_job *job, tmb_job_info *info) {
    tmb_database *writer = &store->writer;
    int64_t waiting = 0;
    if (job->repeat_key != NULL) {
        tmb_job_info known;
        bool same = true;
        tmb_store_status status = find_job(writer, "repeat_key=?", job->repeat_key, job->body, &known, &same);
        if (status == TMB_STORE_OK) {
            *info = known;
        }
        if (status != TMB_STORE_NOT_FOUND) {
            return status != TMB_STORE_OK ? status : same ? TMB_STORE_EXISTS : TMB_STORE_CONFLICT;
        }
    }
    tmb_store_status status = tmb_database_number(writer, &waiting, "SELECT count(*) FROM jobs WHERE finished=0", "");
    if (status != TMB_STORE_OK) {
        return status;
    }
    return store->options.max_jobs && (uint64_t)waiting >= store->options.max_jobs ? TMB_STORE_FULL
                                                                                   : insert_job(store, job, info);
}

static tmb_store_status add(tmb_store *base, const tmb_new_job *job, tmb_job_info *info) {
    tmb_sqlite *store = tmb_sqlite_of(base);
    memset(info, 0, sizeof *info);
    size_t length = strlen(job->label);
    if (length >= sizeof info->label || !tmb_random_id(info->id)) {
        return length >= sizeof info->label ? TMB_STORE_TOO_LARGE : TMB_STORE_FAILED;
    }
    memcpy(info->label, job->label, length + 1);
    info->created = tmb_wall_clock();
    info->total = info->items[TMB_ITEM_QUEUED] = job->count;
    tmb_store_status status = tmb_sqlite_write_begin(store);
    if (status != TMB_STORE_OK) {
        return status;
    }
    status = tmb_database_begin(&store->writer);
    if (status == TMB_STORE_OK) {
        status = tmb_database_end(&store->writer, add_or_find(store, job, info));
    }
    tmb_sqlite_write_end(store);
    if (status == TMB_STORE_OK) {
        tmb_sqlite_tell(store, TMB_JOB_WORK, info->id);
    }
    return status;
}

static tmb_store_status get(tmb_store *base, const char *id, tmb_job_info *info) {
    tmb_sqlite *store = tmb_sqlite_of(base);
    tmb_database *reader = tmb_sqlite_read_begin(store);
    tmb_store_status status = find_job(reader, "id=?", id, NULL, info, NULL);
    tmb_sqlite_read_end(store);
    return status;
}

/* In the caller's transaction: the rows of the job and of the files that only it owns, whose ids come into `files`. */
static tmb_store_status remove_rows(tmb_sqlite *store, const char *id, tmb_id_list *files) {
    tmb_database *writer = &store->writer;
    int64_t number = 0;
    tmb_store_status status = tmb_database_number(writer, &number, "SELECT number FROM jobs WHERE id=?", "s", id);
    if (status == TMB_STORE_OK) {
        status = tmb_id_list_query(writer, files,
                                   "SELECT id FROM files WHERE id IN"
                                   " (SELECT file FROM job_files WHERE job=?1 AND owned=1) AND id NOT IN"
                                   " (SELECT file FROM job_files WHERE job<>?1)",
                                   "i", number);
    }
    for (size_t i = 0; status == TMB_STORE_OK && i < files->count; i++) {
        status = tmb_database_run(writer, "INSERT OR IGNORE INTO removed VALUES(?)", "s", files->ids[i]);
        if (status == TMB_STORE_OK) {
            status = tmb_database_run(writer, "DELETE FROM files WHERE id=?", "s", files->ids[i]);
        }
    }
    return status == TMB_STORE_OK ? tmb_database_run(writer, "DELETE FROM jobs WHERE number=?", "i", number) : status;
}

static tmb_store_status remove_job(tmb_store *base, const char *id) {
    tmb_sqlite *store = tmb_sqlite_of(base);
    tmb_id_list files = {.count = 0};
    tmb_store_status status = tmb_sqlite_write_begin(store);
    if (status != TMB_STORE_OK) {
        return status;
    }
    do {
        tmb_id_list_free(&files);
        status = tmb_database_begin(&store->writer);
        if (status == TMB_STORE_OK) {
            status = tmb_database_end(&store->writer, remove_rows(store, id, &files));
        }
    } while (tmb_sqlite_use_reserve(store, status));
    for (size_t i = 0; status == TMB_STORE_OK && i < files.count; i++) {
        tmb_sqlite_unlink_file(store, files.ids[i]);
    }
    tmb_sqlite_write_end(store);
    tmb_id_list_free(&files);
    if (status == TMB_STORE_OK) {
        tmb_sqlite_tell(store, TMB_JOB_REMOVED, id);
    }
    return status;
}

static tmb_store_status list(tmb_database *reader, size_t limit, tmb_job_info *jobs, size_t *count) {
    char sql[640];
    sqlite3_stmt *row = NULL;
    (void)snprintf(sql, sizeof sql, "SELECT %s FROM jobs ORDER BY number DESC LIMIT ?", job_columns);
    tmb_store_status status = tmb_database_prepare(reader, &row, sql, "i", (int64_t)limit);
    while (status == TMB_STORE_OK && *count < limit && (status = tmb_database_step(reader, row)) == TMB_STORE_OK) {
        read_job_row(row, &jobs[(*count)++]);
    }
    (void)sqlite3_finalize(row);
    return status == TMB_STORE_NOT_FOUND ? TMB_STORE_OK : status;
}

static tmb_store_status list_jobs(tmb_store *base, size_t limit, tmb_job_info **out, size_t *count) {
    tmb_sqlite *store = tmb_sqlite_of(base);
    *count = 0;
    *out = tmb_calloc(limit ? limit : 1, sizeof **out);
    if (*out == NULL) {
        return TMB_STORE_BUSY;
    }
    tmb_store_status status = list(tmb_sqlite_read_begin(store), limit, *out, count);
    tmb_sqlite_read_end(store);
    if (status != TMB_STORE_OK) {
        free(*out);
        *out = NULL;
        *count = 0;
    }
    return status;
}

const tmb_job_operations tmb_sqlite_jobs = {
    .add = add,
    .get = get,
    .remove = remove_job,
    .list = list_jobs,
    .items = tmb_sqlite_item_list,
    .take = tmb_sqlite_item_take,
    .renew = tmb_sqlite_item_renew,
    .give_back = tmb_sqlite_item_give_back,
    .finish = tmb_sqlite_item_finish,
    .counts = tmb_sqlite_item_counts,
    .watch = tmb_sqlite_watch,
};
