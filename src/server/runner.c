#include "server/runner.h"

#include "base/error.h"
#include "base/memory.h"
#include "server/item.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Jobs run behind requests that somebody waits for. */
static const int job_priority = -10;
/* How long nothing is started when the library's queue, descriptors or memory ran out. */
static const double rest_seconds = 1;

typedef struct job_run {
    struct job_run *next;
    tmb_runner *runner;
    tmb_taken_item taken;
    uint64_t number; /* the library's */
    bool cancelled;  /* the job is gone, or the server stops */
    bool returning;  /* back into the queue instead of a result */
    json_t *arguments;
    tmb_references *references;
    const tmb_format *format;
    tmb_output *output;
    char path[TMB_STORE_PATH];
    tmb_error error;
    const tmb_clone_result *result; /* during the result callback */
    char message[512];
} job_run;

struct tmb_runner {
    tmb_server *server;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    job_run *runs;
    size_t running, capacity;
    int64_t last_job; /* the job that the last item came from */
    bool awake, draining, stopping;
    double rest_until; /* of the monotonic clock: something ran out, and nothing is started before */
};

static void free_run(job_run *run) {
    tmb_output_destroy(&run->output);
    tmb_references_destroy(run->references);
    json_decref(run->arguments);
    free(run->taken.request);
    free(run);
}

/* Something that all share ran out: the item goes back, and after a rest it is tried again. */
static void try_later(job_run *run) {
    tmb_runner *runner = run->runner;
    (void)tmb_store_item_return(runner->server->store, &run->taken);
    (void)pthread_mutex_lock(&runner->lock);
    runner->rest_until = tmb_now() + rest_seconds;
    (void)pthread_mutex_unlock(&runner->lock);
}

static void remove_run(job_run *gone) {
    tmb_runner *runner = gone->runner;
    (void)pthread_mutex_lock(&runner->lock);
    for (job_run **at = &runner->runs; *at; at = &(*at)->next) {
        if (*at == gone) {
            *at = gone->next;
            break;
        }
    }
    (void)pthread_mutex_unlock(&runner->lock);
    free_run(gone); /* first, with its temporary file: whoever sees nothing running may end the process */
    (void)pthread_mutex_lock(&runner->lock);
    runner->running--;
    runner->awake = true;
    (void)pthread_cond_broadcast(&runner->changed);
    (void)pthread_mutex_unlock(&runner->lock);
}

/* The result's fields as text, once the file has its id. */
static char *describe(void *user, const tmb_file_info *info) {
    job_run *run = user;
    static const tmb_clone_result nothing = {.item = 0};
    json_t *item =
        tmb_item_json(run->result ? run->result : &nothing, tmb_item_custom_id(run->arguments, 0),
                      info ? info->sample_rate : 0, info ? info->duration : 0, run->message[0] ? run->message : NULL);
    if (item && info) {
        tmb_json_clipped(item, tmb_output_clipped(run->output));
        char url[64];
        tmb_file_url(info->id, url);
        (void)json_object_set_new(item, "url", json_string(url));
    }
    char *text = item ? json_dumps(item, JSON_COMPACT | JSON_REAL_PRECISION(15)) : NULL;
    json_decref(item);
    return text;
}

static void finish(job_run *run, tmb_item_state state) {
    tmb_store *store = run->runner->server->store;
    tmb_file_info info = {.sample_rate = 0};
    bool has_file = state == TMB_ITEM_DONE;
    if (has_file) {
        info.sample_rate = tmb_output_rate(run->output);
        info.duration = tmb_output_seconds(run->output);
        tmb_format_content_type(run->format, info.sample_rate, info.content_type);
        (void)snprintf(info.name, sizeof(info.name), "speech-%zu%s", run->taken.position + 1, run->format->ending);
    }
    tmb_store_status status = tmb_store_item_finish(store, &run->taken, state, has_file ? run->path : NULL,
                                                    has_file ? &info : NULL, describe, run);
    if (status == TMB_STORE_NO_SPACE && has_file) {
        /* The text of a failure is short; it may fit. */
        (void)snprintf(run->message, sizeof(run->message), "There is no room left for the audio");
        status = tmb_store_item_finish(store, &run->taken, TMB_ITEM_FAILED, NULL, NULL, describe, run);
    }
    if (status != TMB_STORE_OK && status != TMB_STORE_NOT_FOUND) {
        tmb_log(&run->runner->server->logger, TMB_LOG_ERROR, "the result of job %s item %zu could not be stored",
                run->taken.job, run->taken.position);
        try_later(run);
    }
}

static bool on_audio(void *user, uint64_t number, const float *samples, size_t count, int rate) {
    (void)number;
    job_run *run = user;
    return tmb_output_write(run->output, samples, count, rate, &run->error) == TMB_OK;
}

static void on_result(void *user, const tmb_clone_result *result) {
    job_run *run = user;
    tmb_server *server = run->runner->server;
    (void)pthread_mutex_lock(&run->runner->lock);
    bool returning = run->returning;
    (void)pthread_mutex_unlock(&run->runner->lock);
    tmb_error error = run->error.status != TMB_OK ? run->error : result->error;
    tmb_metrics_item(server->metrics, result);
    if (error.status == TMB_OK) {
        (void)tmb_output_finish(run->output, &error);
    }
    if (error.status == TMB_ERROR_CANCELLED && returning) {
        (void)tmb_store_item_return(server->store, &run->taken);
    } else if (tmb_error_is_exhausted(&error)) {
        tmb_log(&server->logger, TMB_LOG_WARNING, "job %s item %zu waits: %s", run->taken.job, run->taken.position,
                error.message);
        try_later(run);
    } else {
        run->result = result;
        if (error.status != TMB_OK) {
            (void)tmb_item_error(server, &error, run->message);
        }
        finish(run, error.status == TMB_OK ? TMB_ITEM_DONE : TMB_ITEM_FAILED);
    }
    remove_run(run);
}

/* An item was submitted. Its result may have come already, and then it is gone. Only the runner's thread
 * makes runs, so the address cannot be another's. */
static void note_number(tmb_runner *runner, const job_run *submitted, uint64_t number) {
    bool cancel = false;
    (void)pthread_mutex_lock(&runner->lock);
    for (job_run *at = runner->runs; at; at = at->next) {
        if (at == submitted) {
            at->number = number;
            cancel = at->cancelled;
        }
    }
    (void)pthread_mutex_unlock(&runner->lock);
    if (cancel) {
        tmb_clone_cancel(runner->server->timbre, number);
    }
}

/* Starts an item that was taken, or deals with it where that cannot be. */
static void start(job_run *run) {
    tmb_runner *runner = run->runner;
    tmb_server *server = runner->server;
    tmb_item_problem problem = {.status = 0, .message = ""};
    tmb_item_inputs inputs;
    memset(&inputs, 0, sizeof(inputs));
    bool later = false;
    run->arguments = json_loads(run->taken.request, 0, NULL);
    run->references = tmb_references_create(server, NULL, NULL);
    bool good = run->arguments && run->references && tmb_store_temporary_path(server->store, run->path);
    run->format = tmb_format_find(tmb_text_at(run->arguments, "response_format", 0, "wav"));
    good = good && run->format && tmb_output_to_file(run->format, 0, 1, run->path, &run->output, &run->error) == TMB_OK;
    if (!good) {
        (void)snprintf(run->message, sizeof(run->message), "Internal Error");
    } else if (!tmb_item_fill(server, run->arguments, 0, true, run->references, &inputs, &problem)) {
        (void)snprintf(run->message, sizeof(run->message), "Invalid Input: %s: %s", problem.field, problem.message);
        good = false;
        later = problem.status == 503;
    }
    if (good) {
        inputs.request.priority = job_priority;
        /* One group for a job: its items take turns with everybody else's. Requests count up from 1. */
        inputs.request.group = (UINT64_C(1) << 63) + (uint64_t)run->taken.job_number;
        tmb_clone_callbacks callbacks = {.user = run, .audio = on_audio, .result = on_result};
        tmb_error error = {.status = TMB_OK};
        uint64_t number = 0;
        tmb_status status = tmb_clone_submit(server->timbre, &inputs.request, &callbacks, &number, &error);
        later = status == TMB_ERROR_LIMIT || tmb_error_is_exhausted(&error);
        good = status == TMB_OK;
        if (good) {
            tmb_item_inputs_free(&inputs);
            note_number(runner, run, number);
            return;
        }
        (void)tmb_item_error(server, &error, run->message);
    }
    tmb_item_inputs_free(&inputs);
    if (later) {
        try_later(run);
    } else {
        finish(run, TMB_ITEM_FAILED);
    }
    remove_run(run);
}

/* Takes and starts items while there is room. */
static void start_some(tmb_runner *runner) {
    for (;;) {
        (void)pthread_mutex_lock(&runner->lock);
        bool room = !runner->draining && !runner->stopping && runner->running < runner->capacity &&
                    tmb_now() >= runner->rest_until;
        (void)pthread_mutex_unlock(&runner->lock);
        job_run *next = room ? tmb_calloc(1, sizeof(*next)) : NULL;
        if (!next) {
            return;
        }
        next->runner = runner;
        if (tmb_store_item_take(runner->server->store, runner->last_job, &next->taken) != TMB_STORE_OK) {
            free(next);
            return;
        }
        runner->last_job = next->taken.job_number;
        (void)pthread_mutex_lock(&runner->lock);
        next->next = runner->runs;
        runner->runs = next;
        runner->running++;
        atomic_fetch_add(&runner->server->works_begun, 1);
        (void)pthread_mutex_unlock(&runner->lock);
        start(next);
    }
}

/* With the lock held: until there may be something to start. */
static void wait_for_work(tmb_runner *runner) {
    for (;;) {
        double rest = runner->rest_until - tmb_now();
        if (runner->stopping || (runner->awake && rest <= 0)) {
            return;
        }
        if (rest <= 0) {
            (void)pthread_cond_wait(&runner->changed, &runner->lock);
            continue;
        }
        struct timespec until;
        (void)clock_gettime(CLOCK_REALTIME, &until);
        double end = (double)until.tv_nsec * 1e-9 + rest;
        until.tv_sec += (time_t)end;
        until.tv_nsec = (long)((end - (double)(time_t)end) * 1e9);
        (void)pthread_cond_timedwait(&runner->changed, &runner->lock, &until);
        runner->awake = true;
    }
}

static void *main_loop(void *argument) {
    tmb_runner *runner = argument;
    (void)pthread_setname_np(pthread_self(), "tmb-jobs");
    for (;;) {
        (void)pthread_mutex_lock(&runner->lock);
        wait_for_work(runner);
        runner->awake = false;
        bool stopping = runner->stopping;
        (void)pthread_mutex_unlock(&runner->lock);
        if (stopping) {
            return NULL;
        }
        start_some(runner);
    }
}

tmb_status tmb_runner_start(tmb_server *server, tmb_runner **out, tmb_error *error) {
    *out = NULL;
    tmb_runner *runner = tmb_calloc(1, sizeof(*runner));
    if (!runner) {
        return tmb_fail_memory(error, "the job runner", sizeof(*runner));
    }
    runner->server = server;
    /* Enough to keep the batch full and its successors prepared; never so much that requests find no
     * place in the library's queue. */
    size_t batch = server->config->max_batch ? (size_t)server->config->max_batch : 8;
    size_t half = (size_t)server->config->max_waiting_items / 2;
    runner->capacity = 2 * batch < half ? 2 * batch : half ? half : 1;
    runner->awake = true;
    (void)pthread_mutex_init(&runner->lock, NULL);
    (void)pthread_cond_init(&runner->changed, NULL);
    if (pthread_create(&runner->thread, NULL, main_loop, runner)) {
        (void)pthread_mutex_destroy(&runner->lock);
        (void)pthread_cond_destroy(&runner->changed);
        free(runner);
        return tmb_fail(error, TMB_ERROR_MEMORY, "cannot start the job runner's thread");
    }
    *out = runner;
    return TMB_OK;
}

void tmb_runner_wake(tmb_runner *runner) {
    (void)pthread_mutex_lock(&runner->lock);
    runner->awake = true;
    (void)pthread_cond_broadcast(&runner->changed);
    (void)pthread_mutex_unlock(&runner->lock);
}

void tmb_runner_drain(tmb_runner *runner) {
    (void)pthread_mutex_lock(&runner->lock);
    runner->draining = true;
    (void)pthread_mutex_unlock(&runner->lock);
}

size_t tmb_runner_running(tmb_runner *runner) {
    (void)pthread_mutex_lock(&runner->lock);
    size_t running = runner->running;
    (void)pthread_mutex_unlock(&runner->lock);
    return running;
}

void tmb_runner_cancel(tmb_runner *runner, const char *job) {
    uint64_t numbers[64];
    size_t count = 0;
    (void)pthread_mutex_lock(&runner->lock);
    for (job_run *at = runner->runs; at; at = at->next) {
        if (!at->cancelled && (!job || strcmp(at->taken.job, job) == 0) && count < 64) {
            at->cancelled = true;
            at->returning = !job;
            if (at->number) {
                numbers[count++] = at->number;
            }
        }
    }
    (void)pthread_mutex_unlock(&runner->lock);
    for (size_t i = 0; i < count; i++) {
        tmb_clone_cancel(runner->server->timbre, numbers[i]);
    }
}

void tmb_runner_stop(tmb_runner **runner) {
    tmb_runner *ending = *runner;
    *runner = NULL;
    if (!ending) {
        return;
    }
    (void)pthread_mutex_lock(&ending->lock);
    ending->stopping = true;
    (void)pthread_cond_broadcast(&ending->changed);
    (void)pthread_mutex_unlock(&ending->lock);
    (void)pthread_join(ending->thread, NULL);
    (void)pthread_mutex_lock(&ending->lock);
    while (ending->running) {
        (void)pthread_mutex_unlock(&ending->lock);
        tmb_runner_cancel(ending, NULL);
        (void)pthread_mutex_lock(&ending->lock);
        if (ending->running) {
            (void)pthread_cond_wait(&ending->changed, &ending->lock);
        }
    }
    (void)pthread_mutex_unlock(&ending->lock);
    (void)pthread_mutex_destroy(&ending->lock);
    (void)pthread_cond_destroy(&ending->changed);
    free(ending);
}
