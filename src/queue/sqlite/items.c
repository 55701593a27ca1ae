/* The items of jobs: looking at them, and delivering them to those who run them. */
#include "base/memory.h"
#include "base/thread.h"
#include "queue/sqlite/database.h"

#include <stdlib.h>
#include <string.h>

static tmb_store_status read_item(sqlite3_stmt *row, tmb_job_item *item) {
    bool good = true;
    memset(item, 0, sizeof *item);
    item->position = (size_t)tmb_column_integer(row, 0, 0, INT64_MAX, 0);
    item->request = tmb_column_text(row, 2, &good);
    item->result = tmb_column_text(row, 3, &good);
    tmb_column_copy(row, 4, item->file, sizeof item->file);
    item->file[tmb_is_id(item->file) ? TMB_ID_LENGTH : 0] = 0;
    /* A state that is none becomes what the next start makes of it. */
    int64_t otherwise = item->result == NULL ? TMB_ITEM_QUEUED : item->file[0] ? TMB_ITEM_DONE : TMB_ITEM_FAILED;
    item->state = (tmb_item_state)tmb_column_integer(row, 1, 0, TMB_ITEM_STATES - 1, otherwise);
    return good && item->request != NULL ? TMB_STORE_OK : TMB_STORE_BUSY;
}

static tmb_store_status list(tmb_database *reader, const char *job, tmb_job_item **items, size_t *count) {
    sqlite3_stmt *row = NULL;
    size_t capacity = 0;
    tmb_store_status status = tmb_database_prepare(reader, &row,
                                                   "SELECT position, state, request, result, file FROM items"
                                                   " WHERE job=(SELECT number FROM jobs WHERE id=?) ORDER BY position",
                                                   "s", job);
    while (status == TMB_STORE_OK && (status = tmb_database_step(reader, row)) == TMB_STORE_OK) {
        if (*count == capacity) {
            capacity = capacity ? 2 * capacity : 64;
            tmb_job_item *more = tmb_realloc(*items, capacity, sizeof *more);
            if (more == NULL) {
                status = TMB_STORE_BUSY;
                break;
            }
            *items = more;
        }
        status = read_item(row, &(*items)[(*count)++]);
    }
    (void)sqlite3_finalize(row);
    return status == TMB_STORE_NOT_FOUND ? TMB_STORE_OK : status;
}

tmb_store_status tmb_sqlite_item_list(tmb_store *base, const char *job, tmb_job_item **out, size_t *count) {
    tmb_sqlite *store = tmb_sqlite_of(base);
    *out = NULL;
    *count = 0;
    tmb_store_status status = list(tmb_sqlite_read_begin(store), job, out, count);
    tmb_sqlite_read_end(store);
    if (status != TMB_STORE_OK) {
        tmb_item_list_free(*out, *count);
        *out = NULL;
        *count = 0;
    }
    return status;
}

/* ---- Deliveries ---- */

/* In the caller's transaction. */
static tmb_store_status take(tmb_sqlite *store, const tmb_taking *how, tmb_delivery *out) {
    sqlite3_stmt *row = NULL;
    bool good = true;
    double now = tmb_now();
    tmb_store_status status = tmb_database_prepare(
        &store->writer, &row,
        "SELECT jobs.id, items.job, items.position, items.delivery, items.request FROM items JOIN jobs ON"
        " jobs.number=items.job WHERE items.state<2 AND (items.state=0 OR items.lease < ?)"
        " ORDER BY items.job <= ?, items.job, items.position LIMIT 1",
        "di", now, how->after_job);
    if (status == TMB_STORE_OK) {
        status = tmb_database_step(&store->writer, row);
    }
    if (status == TMB_STORE_OK) {
        tmb_column_copy(row, 0, out->job, sizeof out->job);
        out->job_number = sqlite3_column_int64(row, 1);
        out->position = (size_t)sqlite3_column_int64(row, 2);
        out->number = tmb_column_integer(row, 3, 0, INT64_MAX - 1, 0) + 1;
        out->request = tmb_column_text(row, 4, &good);
        status = out->request != NULL ? TMB_STORE_OK : TMB_STORE_BUSY;
    }
    (void)sqlite3_finalize(row);
    return status != TMB_STORE_OK
               ? status
               : tmb_database_run(&store->writer,
                                  "UPDATE items SET state=1, delivery=?, lease=? WHERE job=? AND position=?", "idii",
                                  out->number, now + how->lease_seconds, out->job_number, (int64_t)out->position);
}

tmb_store_status tmb_sqlite_item_take(tmb_store *base, const tmb_taking *how, tmb_delivery *out) {
    tmb_sqlite *store = tmb_sqlite_of(base);
    memset(out, 0, sizeof *out);
    tmb_store_status status = tmb_sqlite_write_begin(store);
    if (status != TMB_STORE_OK) {
        return status;
    }
    status = tmb_database_begin(&store->writer);
    if (status == TMB_STORE_OK) {
        status = tmb_database_end(&store->writer, take(store, how, out));
    }
    tmb_sqlite_write_end(store);
    if (status != TMB_STORE_OK) {
        free(out->request);
        out->request = NULL;
    }
    return status;
}

/* A change to an item that this delivery has; TMB_STORE_NOT_FOUND if it has it no more. */
static tmb_store_status change(tmb_sqlite *store, const tmb_delivery *delivery, const char *sql, double value) {
    tmb_store_status status = tmb_sqlite_write_begin(store);
    if (status != TMB_STORE_OK) {
        return status;
    }
    do {
        status = tmb_database_run(&store->writer, sql, "diii", value, delivery->job_number, (int64_t)delivery->position,
                                  delivery->number);
    } while (tmb_sqlite_use_reserve(store, status));
    if (status == TMB_STORE_OK && !sqlite3_changes(store->writer.handle)) {
        status = TMB_STORE_NOT_FOUND;
    }
    tmb_sqlite_write_end(store);
    return status;
}

tmb_store_status tmb_sqlite_item_renew(tmb_store *base, const tmb_delivery *delivery, double lease_seconds) {
    tmb_sqlite *store = tmb_sqlite_of(base);
    return change(store, delivery, "UPDATE items SET lease=? WHERE job=? AND position=? AND delivery=? AND state=1",
                  tmb_now() + lease_seconds);
}

tmb_store_status tmb_sqlite_item_give_back(tmb_store *base, const tmb_delivery *delivery, bool unable) {
    (void)unable;
    tmb_sqlite *store = tmb_sqlite_of(base);
    tmb_store_status status = change(
        store, delivery, "UPDATE items SET state=0, lease=? WHERE job=? AND position=? AND delivery=? AND state=1", 0);
    if (status == TMB_STORE_OK) {
        tmb_sqlite_tell(store, TMB_JOB_WORK, delivery->job);
    }
    return status;
}

/* Whether this delivery has the item, or ended it already (*before). */
static tmb_store_status look(tmb_sqlite *store, const tmb_delivery *delivery, bool *before) {
    int64_t state = 0;
    tmb_store_status status =
        tmb_database_number(&store->writer, &state, "SELECT state FROM items WHERE job=? AND position=? AND delivery=?",
                            "iii", delivery->job_number, (int64_t)delivery->position, delivery->number);
    *before = state == TMB_ITEM_DONE || state == TMB_ITEM_FAILED;
    return status == TMB_STORE_OK && !*before && state != TMB_ITEM_RUNNING ? TMB_STORE_NOT_FOUND : status;
}

/* The audio becomes the job's. */
static tmb_store_status keep_audio(tmb_sqlite *store, const tmb_delivery *delivery, const char *audio) {
    tmb_store_status status = tmb_database_run(&store->writer, "UPDATE files SET pending=0 WHERE id=?", "s", audio);
    if (status == TMB_STORE_OK && !sqlite3_changes(store->writer.handle)) {
        tmb_log(store->logger, TMB_LOG_ERROR, "the audio of job %s item %zu is not there", delivery->job,
                delivery->position);
        status = TMB_STORE_DAMAGED;
    }
    return status == TMB_STORE_OK ? tmb_database_run(&store->writer, "INSERT OR REPLACE INTO job_files VALUES(?,?,1)",
                                                     "is", delivery->job_number, audio)
                                  : status;
}

/* In the caller's transaction. */
static tmb_store_status finish(tmb_sqlite *store, const tmb_delivery *delivery, tmb_item_state state,
                               const char *result, const char *audio) {
    tmb_database *writer = &store->writer;
    bool before = false;
    tmb_store_status status = look(store, delivery, &before);
    if (status != TMB_STORE_OK || before) {
        return status;
    }
    status = audio != NULL ? keep_audio(store, delivery, audio) : TMB_STORE_OK;
    if (status == TMB_STORE_OK) {
        status =
            tmb_database_run(writer, "UPDATE items SET state=?, result=?, file=? WHERE job=? AND position=?", "issii",
                             (int64_t)state, result, audio, delivery->job_number, (int64_t)delivery->position);
    }
    if (status == TMB_STORE_OK) {
        status = tmb_database_run(writer,
                                  "UPDATE jobs SET finished=? WHERE number=? AND NOT EXISTS"
                                  " (SELECT 1 FROM items WHERE job=number AND state<2)",
                                  "di", tmb_wall_clock(), delivery->job_number);
    }
    return status;
}

tmb_store_status tmb_sqlite_item_finish(tmb_store *base, const tmb_delivery *delivery, tmb_item_state state,
                                        const char *result, const char *audio) {
    tmb_sqlite *store = tmb_sqlite_of(base);
    tmb_store_status status = tmb_sqlite_write_begin(store);
    if (status != TMB_STORE_OK) {
        return status;
    }
    do {
        status = tmb_database_begin(&store->writer);
        if (status == TMB_STORE_OK) {
            status = tmb_database_end(&store->writer, finish(store, delivery, state, result, audio));
        }
    } while (tmb_sqlite_use_reserve(store, status));
    tmb_sqlite_write_end(store);
    return status;
}

tmb_store_status tmb_sqlite_item_counts(tmb_store *base, size_t *queued, size_t *running) {
    tmb_sqlite *store = tmb_sqlite_of(base);
    int64_t counts[2] = {0, 0};
    tmb_store_status status = TMB_STORE_OK;
    tmb_database *reader = tmb_sqlite_read_begin(store);
    for (int state = 0; state < 2 && status == TMB_STORE_OK; state++) {
        status = tmb_database_number(reader, &counts[state],
                                     "SELECT count(*) FROM items WHERE state=? AND state<2 AND"
                                     " job IN (SELECT number FROM jobs)",
                                     "i", (int64_t)state);
    }
    tmb_sqlite_read_end(store);
    *queued = (size_t)counts[0];
    *running = (size_t)counts[1];
    return status;
}
