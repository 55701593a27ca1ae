/* /api/v1/queue: jobs that outlive their request. */
#include "base/memory.h"
#include "server/handlers.h"
#include "server/item.h"
#include "server/json_text.h"
#include "server/rope.h"
#include "server/state.h"

#include <nettle/sha2.h>
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
    char **workers;  /* [count] labels that a worker must have */
    char **voices;   /* [count] whose they are */
    size_t count;
    tmb_job_file *files; /* [count] */
    size_t file_count;
} job_needs;

static void free_needs(tmb_server *server, job_needs *needs, bool keep_files) {
    for (size_t i = 0; i < needs->count && needs->requests != NULL; i++) {
        free(needs->requests[i]);
    }
    for (size_t i = 0; i < needs->count && needs->workers != NULL; i++) {
        free(needs->workers[i]);
    }
    for (size_t i = 0; i < needs->count && needs->voices != NULL; i++) {
        free(needs->voices[i]);
    }
    for (size_t i = 0; i < needs->file_count && !keep_files; i++) {
        if (needs->files[i].owned) {
            (void)tmb_store_file_remove(server->store, needs->files[i].id);
        }
    }
    free(needs->requests);
    free(needs->workers);
    free(needs->voices);
    free(needs->files);
}

static bool allocate_needs(job_needs *needs, size_t count) {
    needs->count = count;
    needs->requests = tmb_calloc(count, sizeof *needs->requests);
    needs->files = tmb_calloc(count, sizeof *needs->files);
    needs->workers = tmb_calloc(count, sizeof *needs->workers);
    needs->voices = tmb_calloc(count, sizeof *needs->voices);
    return needs->requests != NULL && needs->files != NULL && needs->workers != NULL && needs->voices != NULL;
}

/* Whether the voice that an item names, if it does, is stored. */
static bool settle_voice(tmb_request *request, json_t *item, tmb_problem *problem) {
    char voice[TMB_NAME_SIZE];
    bool given = false;
    tmb_voice_info info;
    if (!tmb_item_voice(request->server, item, 0, voice, &given, problem)) {
        return false;
    }
    if (!given) {
        return tmb_problem_set(problem, "ref_audio", 400, "name a voice or ref_audio, one of them");
    }
    tmb_store_status status = tmb_store_voice_get(request->server->store, voice, NULL, &info);
    if (status == TMB_STORE_OK) {
        tmb_voice_info_free(&info);
        /* The job keeps the voice, whatever becomes of the alias or the default. */
        return json_object_set_new(item, "voice", json_string(voice)) == 0 ||
               tmb_problem_set(problem, NULL, 503, "Not enough memory");
    }
    (void)tmb_problem_set(problem, "voice", 400, "there is no voice \"%.120s\"", voice);
    if (status != TMB_STORE_NOT_FOUND) {
        problem->status = tmb_store_problem(status, "voice", problem->message, sizeof problem->message);
    }
    return false;
}

/* Turns an item's reference into something that lasts. Equal texts are stored once: `seen` maps them. */
static bool settle_reference(tmb_request *request, json_t *item, tmb_references *references, json_t *seen,
                             job_needs *needs, tmb_problem *problem) {
    const char *ref_audio = tmb_text_at(item, "ref_audio", 0, NULL);
    if (!tmb_item_check_language(request->server, item, 0, problem)) {
        return false;
    }
    if (tmb_item_has_own_voice(item, 0)) {
        return true;
    }
    if (ref_audio == NULL) {
        return settle_voice(request, item, problem);
    }
    if (tmb_text_at(item, "voice", 0, NULL) != NULL) {
        return tmb_problem_set(problem, "ref_audio", 400, "name a voice or ref_audio, one of them");
    }
    const char *known = json_string_value(json_object_get(seen, ref_audio));
    if (known == NULL) {
        bool fresh = false;
        char *id = needs->files[needs->file_count].id;
        tmb_references_salvage(references, tmb_boolean_at(item, "salvage", false));
        if (!tmb_reference_store(references, ref_audio, id, &fresh, problem)) {
            return tmb_problem_name(problem, "ref_audio");
        }
        if (id[0]) {
            needs->files[needs->file_count].owned = fresh;
            needs->file_count++;
        }
        (void)json_object_set_new(seen, ref_audio, json_string(id[0] ? id : ref_audio));
        known = json_string_value(json_object_get(seen, ref_audio));
    }
    if (known == NULL || json_object_set_new(item, "ref_audio", json_string(known))) {
        return tmb_problem_set(problem, NULL, 503, "Not enough memory");
    }
    return true;
}

static bool request_is_gone(void *user) { return tmb_request_gone(user); }

static bool settle(tmb_request *request, job_needs *needs, tmb_problem *problem) {
    json_t *items = json_object_get(request->arguments, "items");
    tmb_references *references = tmb_references_create(request->server, request_is_gone, request);
    json_t *seen = json_object();
    bool good = references != NULL && seen != NULL;
    for (size_t i = 0; good && i < needs->count; i++) {
        json_t *item = json_array_get(items, i);
        good = settle_reference(request, item, references, seen, needs, problem);
        if (!good) {
            (void)tmb_problem_within(problem, "items", i);
            break;
        }
        needs->requests[i] = json_dumps(item, JSON_COMPACT | JSON_REAL_PRECISION(15));
        needs->workers[i] = tmb_item_need(request->server, item, 0);
        needs->voices[i] = tmb_item_whose(tmb_text_at(item, "ref_audio", 0, NULL), tmb_text_at(item, "voice", 0, NULL));
        good = needs->requests[i] != NULL && needs->workers[i] != NULL && needs->voices[i] != NULL;
    }
    json_decref(seen);
    tmb_references_destroy(references);
    return good;
}

/* SHA-256 as text: whole identities in a fixed size. */
enum { HASH_SIZE = 2 * SHA256_DIGEST_SIZE + 1 };

static void end_hash(struct sha256_ctx *hash, char text[HASH_SIZE]) {
    uint8_t digest[SHA256_DIGEST_SIZE];
    sha256_digest(hash, sizeof digest, digest);
    tmb_hex_encode(digest, sizeof digest, text);
}

/* Keys of different clients must not meet, nor long ones that begin alike. */
static void make_repeat_key(const tmb_request *request, char text[HASH_SIZE]) {
    struct sha256_ctx hash;
    sha256_init(&hash);
    sha256_update(&hash, strlen(request->key_name) + 1, (const uint8_t *)request->key_name);
    sha256_update(&hash, strlen(request->idempotency_key), (const uint8_t *)request->idempotency_key);
    end_hash(&hash, text);
}

static int hash_piece(const char *data, size_t size, void *hash) {
    sha256_update(hash, size, (const uint8_t *)data);
    return 0;
}

/* What was asked for: the same fields in any order and spacing are the same. */
static bool hash_body(const json_t *arguments, char text[HASH_SIZE]) {
    struct sha256_ctx hash;
    sha256_init(&hash);
    bool good = json_dump_callback(arguments, hash_piece, &hash, JSON_COMPACT | JSON_SORT_KEYS) == 0;
    end_hash(&hash, text);
    return good;
}

static void submit_job(tmb_request *request, job_needs *needs) {
    tmb_server *server = request->server;
    char body[HASH_SIZE]; /* of what came, before references become files */
    if (!hash_body(request->arguments, body)) {
        free_needs(server, needs, false);
        tmb_refuse_for_now(request, 503, 5, "Not enough memory");
        return;
    }
    tmb_problem problem = {.status = 0};
    if (!settle(request, needs, &problem)) {
        free_needs(server, needs, false);
        if (problem.status == 503 || !problem.status) {
            tmb_refuse_for_now(request, 503, 5, "%s", problem.status ? problem.message : "Not enough memory");
        } else {
            tmb_refuse(request, problem.status, problem.status == 400 ? problem.field : NULL, "%s", problem.message);
        }
        return;
    }
    char repeat_key[HASH_SIZE];
    bool repeats = request->idempotency_key != NULL;
    if (repeats) {
        make_repeat_key(request, repeat_key);
    }
    tmb_new_job new_job = {.label = tmb_text_at(request->arguments, "label", 0, ""),
                           .repeat_key = repeats ? repeat_key : NULL,
                           .body = repeats ? body : NULL,
                           .requests = (const char *const *)needs->requests,
                           .count = needs->count,
                           .needs = (const char *const *)needs->workers,
                           .voices = (const char *const *)needs->voices,
                           .files = needs->files,
                           .file_count = needs->file_count};
    tmb_job_info job;
    tmb_store_status status = tmb_store_job_add(server->store, &new_job, &job);
    free_needs(server, needs, status == TMB_STORE_OK);
    if (status == TMB_STORE_NOT_FOUND) {
        tmb_refuse(request, 400, "items", "a file of ref_audio was removed meanwhile");
    } else if (status == TMB_STORE_CONFLICT) {
        tmb_refuse(
            request, 409, NULL,
            "The Idempotency-Key came with another body before, and stands for job %s: use a new key for a new job",
            job.id);
    } else if (status != TMB_STORE_OK && status != TMB_STORE_EXISTS) {
        tmb_refuse_store(request, status, "job");
    } else {
        tmb_answer_json(request, MHD_HTTP_ACCEPTED, job_json(&job));
    }
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

void tmb_handle_queue_list(tmb_request *request) {
    tmb_job_info *jobs = NULL;
    size_t count = 0;
    tmb_store_status status = tmb_store_job_list(request->server->store, 100, &jobs, &count);
    if (status != TMB_STORE_OK) {
        tmb_refuse_store(request, status, "job");
        return;
    }
    json_t *list = json_array();
    bool good = list != NULL;
    for (size_t i = 0; i < count && good; i++) {
        good = json_array_append_new(list, job_json(&jobs[i])) == 0;
    }
    free(jobs);
    if (!good) {
        json_decref(list);
        tmb_refuse_for_now(request, 503, 5, "Not enough memory");
        return;
    }
    tmb_answer_json(request, MHD_HTTP_OK, json_pack("{s:o}", "jobs", list));
}

/* An item as it is answered, without its audio. New reference or NULL. */
static json_t *item_json(const tmb_job_item *item) {
    static const char *const states[TMB_ITEM_STATES] = {"queued", "running", "done", "failed"};
    json_t *value = item->result != NULL ? json_loads(item->result, 0, NULL) : NULL;
    if (!json_is_object(value)) {
        json_decref(value);
        json_t *request = json_loads(item->request, 0, NULL);
        value = json_pack("{s:s?}", "custom_id", tmb_text_at(request, "custom_id", 0, NULL));
        json_decref(request);
        if (value != NULL && item->result != NULL) {
            (void)json_object_set_new(value, "error", json_string("What was stored of the result is damaged"));
        }
    }
    if (value != NULL) {
        (void)json_object_set_new(value, "state", json_string(states[item->state]));
    }
    return value;
}

/* A job's file while an answer is sent. */
static unsigned open_audio(void *user, const char *id, int *descriptor, uint64_t *bytes, char *problem, size_t size) {
    tmb_file_info info;
    tmb_store_status status = tmb_store_file_open(user, id, descriptor, &info);
    *bytes = info.bytes;
    return status == TMB_STORE_OK ? 0 : tmb_store_problem(status, "audio", problem, size);
}

static bool append_item(tmb_rope *rope, tmb_server *server, const tmb_job_item *item, bool first, bool with_audio) {
    json_t *value = item_json(item);
    char *text = value != NULL ? json_dumps(value, JSON_COMPACT | JSON_REAL_PRECISION(15)) : NULL;
    json_decref(value);
    bool good = text != NULL && (first || tmb_rope_text(rope, ",", 1)) && tmb_rope_text(rope, text, strlen(text) - 1);
    free(text);
    if (good && with_audio && item->file[0]) {
        /* One after the other is opened while the answer is sent: a job may have more files than there are
         * descriptors. */
        static const char name[] = ",\"audio_base64\":";
        good =
            tmb_rope_text(rope, name, sizeof name - 1) && tmb_rope_audio(rope, open_audio, server->store, item->file);
    }
    return good && tmb_rope_text(rope, "}", 1);
}

static bool compose_results(tmb_rope *rope, tmb_server *server, const tmb_job_info *job, const tmb_job_item *items,
                            size_t count, bool with_audio) {
    json_t *head = job_json(job);
    char *text = head != NULL ? json_dumps(head, JSON_COMPACT | JSON_REAL_PRECISION(15)) : NULL;
    json_decref(head);
    static const char begin[] = ",\"items\":[";
    bool good =
        text != NULL && tmb_rope_text(rope, text, strlen(text) - 1) && tmb_rope_text(rope, begin, sizeof begin - 1);
    free(text);
    for (size_t i = 0; good && i < count; i++) {
        good = append_item(rope, server, &items[i], i == 0, with_audio);
    }
    return good && tmb_rope_text(rope, "]}", 2);
}

void tmb_handle_queue_results(tmb_request *request) {
    tmb_server *server = request->server;
    tmb_job_info job;
    tmb_job_item *items = NULL;
    size_t count = 0;
    tmb_store_status status = tmb_store_job_get(server->store, request->path_value, &job);
    if (status == TMB_STORE_OK) {
        status = tmb_store_item_list(server->store, job.id, &items, &count);
    }
    if (status != TMB_STORE_OK) {
        tmb_refuse_store(request, status, "job");
        return;
    }
    bool with_audio = strcmp(tmb_text_at(request->query, "audio", 0, "base64"), "base64") == 0;
    tmb_rope *rope = tmb_rope_create();
    bool good = rope != NULL && compose_results(rope, server, &job, items, count, with_audio);
    tmb_item_list_free(items, count);
    if (!good) {
        tmb_rope_destroy(rope);
        tmb_refuse_for_now(request, 503, 5, "Not enough memory");
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
    tmb_answer_empty(request, MHD_HTTP_NO_CONTENT);
}
