/* /api/v1/queue: jobs that outlive their request. */
#include "base/memory.h"
#include "server/handlers.h"
#include "server/item.h"
#include "server/json_text.h"
#include "server/rope.h"
#include "server/runner.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *state_of(const tmb_job_info *job) {
    size_t open = job->items[TMB_ITEM_QUEUED] + job->items[TMB_ITEM_RUNNING];
    return open == 0 ? "finished" : job->items[TMB_ITEM_QUEUED] == job->total ? "queued" : "running";
}

static json_t *job_json(const tmb_job_info *job) {
    return json_pack("{s:s, s:o, s:s, s:I, s:I, s:I, s:I, s:I, s:f, s:o}", "id", job->id, "label",
                     tmb_json_text(job->label), "state", state_of(job), "total", (json_int_t)job->total, "queued",
                     (json_int_t)job->items[TMB_ITEM_QUEUED], "running", (json_int_t)job->items[TMB_ITEM_RUNNING],
                     "done", (json_int_t)job->items[TMB_ITEM_DONE], "failed", (json_int_t)job->items[TMB_ITEM_FAILED],
                     "created", job->created, "finished", job->finished > 0 ? json_real(job->finished) : json_null());
}

/* ---- Submitting ------------------------------------------------------------------------------ */

/* What a job needs of the store. */
typedef struct job_needs {
    char **requests; /* [count] */
    size_t count;
    char (*files)[TMB_STORE_ID]; /* [count] */
    const char **file_ids;
    bool *owned;
    size_t file_count;
} job_needs;

static void free_needs(tmb_server *server, job_needs *needs, bool keep_files) {
    for (size_t i = 0; i < needs->count && needs->requests; i++) {
        free(needs->requests[i]);
    }
    for (size_t i = 0; i < needs->file_count && !keep_files; i++) {
        if (needs->owned[i]) {
            (void)tmb_store_file_remove(server->store, needs->files[i]);
        }
    }
    free(needs->requests);
    free(needs->files);
    free(needs->file_ids);
    free(needs->owned);
}

static bool allocate_needs(job_needs *needs, size_t count) {
    needs->count = count;
    needs->requests = tmb_calloc(count, sizeof(*needs->requests));
    needs->files = tmb_calloc(count, sizeof(*needs->files));
    needs->file_ids = tmb_calloc(count, sizeof(*needs->file_ids));
    needs->owned = tmb_calloc(count, sizeof(*needs->owned));
    return needs->requests && needs->files && needs->file_ids && needs->owned;
}

/* Whether the voice that an item names, if it does, is stored. */
static bool settle_voice(tmb_request *request, json_t *item, tmb_item_problem *problem) {
    char voice[TMB_NAME_SIZE];
    bool given = false;
    tmb_voice_info info;
    if (!tmb_item_voice(request->server, item, 0, voice, &given, problem)) {
        return false;
    }
    if (!given) {
        return tmb_item_refuse(problem, "ref_audio", 400, "name a voice or ref_audio, one of them");
    }
    tmb_store_status status = tmb_store_voice_get(request->server->store, voice, NULL, &info);
    if (status == TMB_STORE_OK) {
        tmb_voice_info_free(&info);
        /* The job keeps the voice, whatever becomes of the alias or the default. */
        return json_object_set_new(item, "voice", json_string(voice)) == 0 ||
               tmb_item_refuse(problem, NULL, 503, "Not enough memory");
    }
    (void)tmb_item_refuse(problem, "voice", 400, "there is no voice \"%.120s\"", voice);
    if (status != TMB_STORE_NOT_FOUND) {
        problem->status = tmb_store_problem(status, "voice", problem->message, sizeof(problem->message));
    }
    return false;
}

/* Turns an item's reference into something that lasts. Equal texts are stored once: `seen` maps them. */
static bool settle_reference(tmb_request *request, json_t *item, tmb_references *references, json_t *seen,
                             job_needs *needs, tmb_item_problem *problem) {
    const char *ref_audio = tmb_text_at(item, "ref_audio", 0, NULL);
    if (!tmb_item_check_language(request->server, item, 0, problem)) {
        return false;
    }
    if (!ref_audio) {
        return settle_voice(request, item, problem);
    }
    if (tmb_text_at(item, "voice", 0, NULL)) {
        return tmb_item_refuse(problem, "ref_audio", 400, "name a voice or ref_audio, one of them");
    }
    (void)tmb_item_refuse(problem, "ref_audio", 400, " ");
    const char *known = json_string_value(json_object_get(seen, ref_audio));
    if (!known) {
        tmb_reference_problem reason;
        bool fresh = false;
        char *id = needs->files[needs->file_count];
        if (!tmb_reference_store(references, ref_audio, id, &fresh, &reason)) {
            problem->status = reason.status;
            (void)snprintf(problem->message, sizeof(problem->message), "%s", reason.message);
            return false;
        }
        if (id[0]) {
            needs->file_ids[needs->file_count] = id;
            needs->owned[needs->file_count] = fresh;
            needs->file_count++;
        }
        (void)json_object_set_new(seen, ref_audio, json_string(id[0] ? id : ref_audio));
        known = json_string_value(json_object_get(seen, ref_audio));
    }
    if (!known || json_object_set_new(item, "ref_audio", json_string(known))) {
        problem->status = 503;
        (void)snprintf(problem->message, sizeof(problem->message), "Not enough memory");
        return false;
    }
    return true;
}

static bool request_is_gone(void *user) { return tmb_request_gone(user); }

static bool settle(tmb_request *request, job_needs *needs, tmb_item_problem *problem, char field[96]) {
    json_t *items = json_object_get(request->arguments, "items");
    tmb_references *references = tmb_references_create(request->server, request_is_gone, request);
    json_t *seen = json_object();
    bool good = references && seen;
    for (size_t i = 0; good && i < needs->count; i++) {
        json_t *item = json_array_get(items, i);
        good = settle_reference(request, item, references, seen, needs, problem);
        if (!good) {
            (void)snprintf(field, 96, "items[%zu].%s", i, problem->field);
            break;
        }
        needs->requests[i] = json_dumps(item, JSON_COMPACT | JSON_REAL_PRECISION(15));
        good = needs->requests[i] != NULL;
    }
    json_decref(seen);
    tmb_references_destroy(references);
    return good;
}

static void submit_job(tmb_request *request, job_needs *needs) {
    tmb_server *server = request->server;
    tmb_item_problem problem = {.status = 0, .message = "Not enough memory"};
    char field[96] = "items";
    if (!settle(request, needs, &problem, field)) {
        free_needs(server, needs, false);
        if (problem.status == 503 || !problem.status) {
            tmb_refuse_for_now(request, 503, 5, "%s", problem.message);
        } else {
            tmb_refuse(request, problem.status, problem.status == 400 ? field : NULL, "%s", problem.message);
        }
        return;
    }
    /* Keys of different clients must not meet. */
    char repeat_key[400];
    (void)snprintf(repeat_key, sizeof(repeat_key), "%s/%.255s", request->key_name,
                   request->idempotency_key ? request->idempotency_key : "");
    tmb_job_info job;
    tmb_store_status status = tmb_store_job_add(
        server->store, tmb_text_at(request->arguments, "label", 0, ""), request->idempotency_key ? repeat_key : NULL,
        (const char *const *)needs->requests, needs->count, needs->file_ids, needs->owned, needs->file_count, &job);
    free_needs(server, needs, status == TMB_STORE_OK);
    if (status == TMB_STORE_NOT_FOUND) {
        tmb_refuse(request, 400, "items", "a file of ref_audio was removed meanwhile");
        return;
    }
    if (status != TMB_STORE_OK && status != TMB_STORE_EXISTS) {
        tmb_refuse_store(request, status, "job");
        return;
    }
    tmb_runner_wake(server->runner);
    tmb_answer_json(request, MHD_HTTP_ACCEPTED, job_json(&job));
}

void tmb_handle_queue_submit(tmb_request *request) {
    job_needs needs = {.count = 0};
    if (!allocate_needs(&needs, json_array_size(json_object_get(request->arguments, "items")))) {
        free_needs(request->server, &needs, false);
        tmb_refuse_for_now(request, 503, 5, "Not enough memory");
        return;
    }
    submit_job(request, &needs);
}

/* ---- Asking ------------------------------------------------------------------------------------ */

void tmb_handle_queue_status(tmb_request *request) {
    tmb_job_info job;
    tmb_store_status status = tmb_store_job_get(request->server->store, request->path_value, &job);
    if (status != TMB_STORE_OK) {
        tmb_refuse_store(request, status, "job");
        return;
    }
    tmb_answer_json(request, MHD_HTTP_OK, job_json(&job));
}

static bool add_job(void *user, const tmb_job_info *job) { return json_array_append_new(user, job_json(job)) == 0; }

void tmb_handle_queue_list(tmb_request *request) {
    json_t *jobs = json_array();
    tmb_store_status status = jobs ? tmb_store_job_each(request->server->store, 100, add_job, jobs) : TMB_STORE_FAILED;
    if (status != TMB_STORE_OK) {
        json_decref(jobs);
        tmb_refuse_store(request, status, "job");
        return;
    }
    tmb_answer_json(request, MHD_HTTP_OK, json_pack("{s:o}", "jobs", jobs));
}

typedef struct results {
    json_t *list; /* [{text, file}]: collected under the store's lock, opened after it */
} results;

static bool add_result(void *user, const tmb_job_item *item) {
    results *to = user;
    static const char *const states[] = {"queued", "running", "done", "failed"};
    json_t *value = item->result ? json_loads(item->result, 0, NULL) : NULL;
    if (!value) {
        json_t *request = json_loads(item->request, 0, NULL);
        value = json_pack("{s:s?}", "custom_id", tmb_text_at(request, "custom_id", 0, NULL));
        json_decref(request);
    }
    if (value) {
        (void)json_object_set_new(value, "state", json_string(states[item->state]));
    }
    return value && json_array_append_new(to->list, json_pack("{s:o, s:s?}", "item", value, "file", item->file)) == 0;
}

static tmb_store_status append_item(tmb_rope *rope, tmb_server *server, const json_t *entry, bool first,
                                    bool with_audio) {
    char *text = json_dumps(json_object_get(entry, "item"), JSON_COMPACT | JSON_REAL_PRECISION(15));
    const char *file = json_string_value(json_object_get(entry, "file"));
    int descriptor = -1;
    tmb_file_info info;
    bool good = text && (first || tmb_rope_text(rope, ",", 1)) && tmb_rope_text(rope, text, strlen(text) - 1);
    free(text);
    if (good && with_audio && file) {
        tmb_store_status status = tmb_store_file_open(server->store, file, &descriptor, &info);
        if (status != TMB_STORE_OK && status != TMB_STORE_NOT_FOUND) {
            return status;
        }
    }
    if (descriptor >= 0) {
        static const char name[] = ",\"audio_base64\":\"";
        if (!tmb_rope_text(rope, name, sizeof(name) - 1)) {
            (void)close(descriptor);
            return TMB_STORE_BUSY;
        }
        good = tmb_rope_base64_file(rope, descriptor, info.bytes) && tmb_rope_text(rope, "\"}", 2);
    } else {
        good = good && tmb_rope_text(rope, "}", 1);
    }
    return good ? TMB_STORE_OK : TMB_STORE_BUSY;
}

void tmb_handle_queue_results(tmb_request *request) {
    tmb_server *server = request->server;
    tmb_job_info job;
    results to = {.list = json_array()};
    tmb_store_status status = tmb_store_job_get(server->store, request->path_value, &job);
    if (status == TMB_STORE_OK) {
        status = tmb_store_item_each(server->store, job.id, add_result, &to);
    }
    if (status != TMB_STORE_OK) {
        json_decref(to.list);
        tmb_refuse_store(request, status, "job");
        return;
    }
    bool with_audio = strcmp(tmb_text_at(request->query, "audio", 0, "base64"), "base64") == 0;
    json_t *head = job_json(&job);
    char *text = head ? json_dumps(head, JSON_COMPACT | JSON_REAL_PRECISION(15)) : NULL;
    json_decref(head);
    tmb_rope *rope = tmb_rope_create();
    static const char items[] = ",\"items\":[";
    bool good =
        text && rope && tmb_rope_text(rope, text, strlen(text) - 1) && tmb_rope_text(rope, items, sizeof(items) - 1);
    status = good ? TMB_STORE_OK : TMB_STORE_BUSY;
    for (size_t i = 0; status == TMB_STORE_OK && i < json_array_size(to.list); i++) {
        status = append_item(rope, server, json_array_get(to.list, i), i == 0, with_audio);
    }
    if (status == TMB_STORE_OK && !tmb_rope_text(rope, "]}", 2)) {
        status = TMB_STORE_BUSY;
    }
    free(text);
    json_decref(to.list);
    if (status != TMB_STORE_OK) {
        tmb_rope_destroy(rope);
        tmb_refuse_store(request, status, "job");
        return;
    }
    tmb_answer_rope(request, MHD_HTTP_OK, "application/json", rope);
}

void tmb_handle_queue_delete(tmb_request *request) {
    tmb_store_status status = tmb_store_job_remove(request->server->store, request->path_value);
    if (status != TMB_STORE_OK) {
        tmb_refuse_store(request, status, "job");
        return;
    }
    tmb_runner_cancel(request->server->runner, request->path_value);
    tmb_answer_empty(request, MHD_HTTP_NO_CONTENT);
}
