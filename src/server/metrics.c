#include "server/metrics.h"

#include "base/error.h"
#include "base/memory.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static const double latency_bounds[] = {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600};
static const double factor_bounds[] = {0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20};
enum {
    latency_count = sizeof latency_bounds / sizeof latency_bounds[0],
    factor_count = sizeof factor_bounds / sizeof factor_bounds[0]
};

typedef struct tally {
    uint64_t buckets[latency_count + 1]; /* the last: above every bound */
    double sum;
    uint64_t count;
} tally;

typedef struct route_counts {
    uint64_t by_status[600]; /* the status code is the index */
    tally seconds;
} route_counts;

struct tmb_metrics {
    pthread_mutex_t lock;
    size_t routes;
    route_counts *route; /* [routes + 1]; the last: no route */
    tally stage[TMB_STAGE_COUNT];
    tally first_audio, total, factor; /* factor: seconds of work for one second of audio */
    uint64_t items[16];               /* by tmb_status */
    uint64_t aborted;
    uint64_t enhanced;
    double enhanced_audio, enhanced_work, speech_audio;
};

tmb_status tmb_metrics_create(size_t routes, tmb_metrics **out, tmb_error *error) {
    *out = NULL;
    tmb_metrics *metrics = tmb_calloc(1, sizeof *metrics);
    if (metrics == NULL || (metrics->route = tmb_calloc(routes + 1, sizeof *metrics->route)) == NULL) {
        free(metrics);
        return tmb_fail_memory(error, "metrics", routes * sizeof *metrics->route);
    }
    metrics->routes = routes;
    (void)pthread_mutex_init(&metrics->lock, NULL);
    *out = metrics;
    return TMB_OK;
}

void tmb_metrics_destroy(tmb_metrics **metrics) {
    tmb_metrics *ending = *metrics;
    *metrics = NULL;
    if (ending != NULL) {
        (void)pthread_mutex_destroy(&ending->lock);
        free(ending->route);
        free(ending);
    }
}

static void observe(tally *histogram, const double *bounds, size_t count, double value) {
    size_t bucket = 0;
    while (bucket < count && value > bounds[bucket]) {
        bucket++;
    }
    histogram->buckets[bucket]++;
    histogram->sum += value;
    histogram->count++;
}

void tmb_metrics_request(tmb_metrics *metrics, size_t route, unsigned status, double seconds) {
    (void)pthread_mutex_lock(&metrics->lock);
    route_counts *counts = &metrics->route[route < metrics->routes ? route : metrics->routes];
    counts->by_status[status < 600 ? status : 0]++;
    observe(&counts->seconds, latency_bounds, latency_count, seconds);
    (void)pthread_mutex_unlock(&metrics->lock);
}

void tmb_metrics_aborted(tmb_metrics *metrics) {
    (void)pthread_mutex_lock(&metrics->lock);
    metrics->aborted++;
    (void)pthread_mutex_unlock(&metrics->lock);
}

void tmb_metrics_item(tmb_metrics *metrics, const tmb_clone_result *result) {
    (void)pthread_mutex_lock(&metrics->lock);
    metrics->items[(unsigned)result->error.status % 16]++;
    if (result->error.status == TMB_OK) {
        double work = 0;
        for (int stage = 0; stage < TMB_STAGE_DONE; stage++) {
            observe(&metrics->stage[stage], latency_bounds, latency_count, result->timings[stage]);
            work += stage == TMB_STAGE_QUEUED ? 0 : result->timings[stage];
        }
        observe(&metrics->first_audio, latency_bounds, latency_count, result->first_audio);
        observe(&metrics->total, latency_bounds, latency_count, result->total);
        if (result->duration > 0) {
            observe(&metrics->factor, factor_bounds, factor_count, work / result->duration);
            metrics->speech_audio += result->duration;
        }
    }
    (void)pthread_mutex_unlock(&metrics->lock);
}

void tmb_metrics_enhanced(tmb_metrics *metrics, double audio, double work) {
    (void)pthread_mutex_lock(&metrics->lock);
    metrics->enhanced++;
    metrics->enhanced_audio += audio;
    metrics->enhanced_work += work;
    (void)pthread_mutex_unlock(&metrics->lock);
}

static void head(tmb_buffer *out, const char *name, const char *type, const char *help) {
    (void)tmb_buffer_printf(out, "# HELP timbre_%s %s\n# TYPE timbre_%s %s\n", name, help, name, type);
}

/* `labels` as `stage="speech"`, or "". */
static void write_histogram(tmb_buffer *out, const char *name, const char *labels, const tally *histogram,
                            const double *bounds, size_t count) {
    uint64_t below = 0;
    const char *comma = labels[0] ? "," : "";
    for (size_t i = 0; i < count; i++) {
        below += histogram->buckets[i];
        (void)tmb_buffer_printf(out, "timbre_%s_bucket{%s%sle=\"%g\"} %llu\n", name, labels, comma, bounds[i],
                                (unsigned long long)below);
    }
    (void)tmb_buffer_printf(out, "timbre_%s_bucket{%s%sle=\"+Inf\"} %llu\n", name, labels, comma,
                            (unsigned long long)histogram->count);
    const char *open = labels[0] ? "{" : "";
    const char *close = labels[0] ? "}" : "";
    (void)tmb_buffer_printf(out, "timbre_%s_sum%s%s%s %.9g\n", name, open, labels, close, histogram->sum);
    (void)tmb_buffer_printf(out, "timbre_%s_count%s%s%s %llu\n", name, open, labels, close,
                            (unsigned long long)histogram->count);
}

static void gauge(tmb_buffer *out, const char *name, const char *type, const char *help, double value) {
    head(out, name, type, help);
    (void)tmb_buffer_printf(out, "timbre_%s %.15g\n", name, value);
}

static void write_requests(tmb_metrics *metrics, const char *(*method_of)(size_t route),
                           const char *(*path_of)(size_t route), tmb_buffer *out) {
    head(out, "requests_total", "counter", "Requests by route and status.");
    for (size_t i = 0; i <= metrics->routes; i++) {
        for (unsigned status = 0; status < 600; status++) {
            if (metrics->route[i].by_status[status]) {
                (void)tmb_buffer_printf(out, "timbre_requests_total{method=\"%s\",path=\"%s\",status=\"%u\"} %llu\n",
                                        i < metrics->routes ? method_of(i) : "other",
                                        i < metrics->routes ? path_of(i) : "other", status,
                                        (unsigned long long)metrics->route[i].by_status[status]);
            }
        }
    }
    head(out, "request_seconds", "histogram", "From a request's head to the end of its answer.");
    for (size_t i = 0; i <= metrics->routes; i++) {
        if (metrics->route[i].seconds.count) {
            char labels[192];
            (void)snprintf(labels, sizeof labels, "method=\"%s\",path=\"%s\"",
                           i < metrics->routes ? method_of(i) : "other", i < metrics->routes ? path_of(i) : "other");
            write_histogram(out, "request_seconds", labels, &metrics->route[i].seconds, latency_bounds, latency_count);
        }
    }
    gauge(out, "requests_aborted_total", "counter", "Clients that left before their answer was complete.",
          (double)metrics->aborted);
}

static void write_items(tmb_metrics *metrics, tmb_buffer *out) {
    head(out, "items_total", "counter", "Cloned items by result.");
    for (int status = 0; status <= TMB_ERROR_INTERNAL; status++) {
        (void)tmb_buffer_printf(out, "timbre_items_total{result=\"%s\"} %llu\n", tmb_status_name((tmb_status)status),
                                (unsigned long long)metrics->items[status]);
    }
    head(out, "stage_seconds", "histogram", "Time of one item in each stage.");
    for (int stage = 0; stage < TMB_STAGE_DONE; stage++) {
        char labels[64];
        (void)snprintf(labels, sizeof labels, "stage=\"%s\"", tmb_stage_name((tmb_stage)stage));
        write_histogram(out, "stage_seconds", labels, &metrics->stage[stage], latency_bounds, latency_count);
    }
    head(out, "first_audio_seconds", "histogram", "From an item's arrival to its first audio.");
    write_histogram(out, "first_audio_seconds", "", &metrics->first_audio, latency_bounds, latency_count);
    head(out, "item_seconds", "histogram", "From an item's arrival to its result.");
    write_histogram(out, "item_seconds", "", &metrics->total, latency_bounds, latency_count);
    head(out, "real_time_factor", "histogram", "Seconds of work for one second of speech, by item.");
    write_histogram(out, "real_time_factor", "", &metrics->factor, factor_bounds, factor_count);
    gauge(out, "speech_audio_seconds_total", "counter", "Speech delivered.", metrics->speech_audio);
    gauge(out, "enhanced_files_total", "counter", "Files enhanced.", (double)metrics->enhanced);
    gauge(out, "enhanced_audio_seconds_total", "counter", "Audio enhanced.", metrics->enhanced_audio);
    gauge(out, "enhanced_work_seconds_total", "counter", "Time that enhancing took.", metrics->enhanced_work);
}

/* A label's value: backslash, quote and line feed are escaped. */
static void write_label(tmb_buffer *out, const char *text) {
    for (; *text; text++) {
        if (*text == '\n') {
            (void)tmb_buffer_printf(out, "\\n");
        } else {
            (void)tmb_buffer_printf(out, *text == '"' || *text == '\\' ? "\\%c" : "%c", *text);
        }
    }
}

static double model_value(const tmb_model_statistics *model, size_t which) {
    switch (which) {
    case 0: return model->loaded;
    case 1: return (double)model->loads;
    case 2: return (double)model->memory_reserved;
    case 3: return (double)model->queued_items;
    case 4: return (double)model->live_sequences;
    default: return (double)model->finished_items;
    }
}

static void write_models(const tmb_metrics_gauges *gauges, tmb_buffer *out) {
    static const struct {
        const char *name, *type, *help;
    } values[] = {
        {"speech_model_loaded", "gauge", "1 while the model is in memory."},
        {"speech_model_loads_total", "counter", "How often the model was loaded."},
        {"speech_model_memory_bytes", "gauge", "Memory that the model has reserved."},
        {"speech_model_queue_depth", "gauge", "Items that wait for the model."},
        {"speech_model_batch_size", "gauge", "Sequences that the model speaks now."},
        {"speech_model_items_total", "counter", "Items that the model has finished."},
    };
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        head(out, values[i].name, values[i].type, values[i].help);
        for (size_t k = 0; k < gauges->model_count; k++) {
            (void)tmb_buffer_printf(out, "timbre_%s{model=\"", values[i].name);
            write_label(out, gauges->models[k].name);
            (void)tmb_buffer_printf(out, "\"} %.15g\n", model_value(&gauges->models[k], i));
        }
    }
}

static void write_queue(const tmb_store_figures *queue, tmb_buffer *out) {
    gauge(out, "queue_deliveries_total", "counter", "Items of the shared queue that a worker took.",
          (double)queue->deliveries);
    gauge(out, "queue_taken_over_total", "counter", "Items that a worker took after another had lost them.",
          (double)queue->taken_over);
    gauge(out, "queue_ended_total", "counter", "Items of the shared queue that ended.", (double)queue->ended);
    gauge(out, "queue_dead_letters_total", "counter", "Items that became dead letters.", (double)queue->dead);
    gauge(out, "queue_oldest_seconds", "gauge",
          "Since the oldest job or request of the shared queue came that has not ended.", queue->oldest);
    gauge(out, "queue_calls_queued", "gauge", "Requests that wait for a worker.", (double)queue->calls_queued);
    gauge(out, "queue_calls_running", "gauge", "Requests that workers run.", (double)queue->calls_running);
}

void tmb_metrics_write(tmb_metrics *metrics, const tmb_metrics_gauges *gauges, const char *(*method_of)(size_t route),
                       const char *(*path_of)(size_t route), tmb_buffer *out) {
    const tmb_statistics *statistics = &gauges->statistics;
    (void)pthread_mutex_lock(&metrics->lock);
    write_requests(metrics, method_of, path_of, out);
    write_items(metrics, out);
    (void)pthread_mutex_unlock(&metrics->lock);
    gauge(out, "ready", "gauge", "1 while new work is accepted.", gauges->ready);
    gauge(out, "connections", "gauge", "Open connections.", (double)gauges->connections);
    gauge(out, "requests_in_flight", "gauge", "Requests being worked on.", (double)gauges->in_flight);
    gauge(out, "queue_depth", "gauge", "Items that wait for the speech stage.", (double)statistics->queued_items);
    gauge(out, "job_items_queued", "gauge", "Items of jobs that wait.", (double)gauges->jobs_queued);
    gauge(out, "job_items_running", "gauge", "Items of jobs that run.", (double)gauges->jobs_running);
    if (gauges->shared) {
        write_queue(&gauges->queue, out);
    }
    gauge(out, "batch_size", "gauge", "Sequences in the speech batch now.", (double)statistics->live_sequences);
    gauge(out, "batch_steps_total", "counter", "Steps of the speech batch.", (double)statistics->batch_steps);
    gauge(out, "batch_sequences_total", "counter", "Live sequences summed over the steps.",
          (double)statistics->batch_sequences);
    gauge(out, "memory_budget_bytes", "gauge", "Memory that models and sequences may take.",
          (double)statistics->memory_budget);
    gauge(out, "memory_reserved_bytes", "gauge", "Memory that models and sequences have reserved.",
          (double)statistics->memory_reserved);
    if (statistics->device_memory_budget > 0) {
        gauge(out, "gpu_memory_budget_bytes", "gauge", "Memory of the GPU that models and sequences may take.",
              (double)statistics->device_memory_budget);
        gauge(out, "gpu_memory_reserved_bytes", "gauge", "Memory of the GPU that models and sequences have reserved.",
              (double)statistics->device_memory_reserved);
        gauge(out, "gpu_losses_total", "counter", "How often the GPU was lost with everything on it.",
              (double)statistics->device_losses);
    }
    gauge(out, "body_memory_bytes", "gauge", "Memory that request bodies have reserved.", (double)gauges->body_memory);
    gauge(out, "stored_bytes", "gauge", "Files and voices on disk.", (double)gauges->stored_bytes);
    head(out, "model_loaded", "gauge", "1 while the model is in memory.");
    (void)tmb_buffer_printf(out, "timbre_model_loaded{model=\"speech\",engine=\"%s\"} %d\n",
                            statistics->engine != NULL ? statistics->engine : "none", statistics->engine_loaded);
    (void)tmb_buffer_printf(out, "timbre_model_loaded{model=\"denoiser\",engine=\"dfn3\"} %d\n",
                            statistics->denoiser_loaded);
    write_models(gauges, out);
    head(out, "build_info", "gauge", "The version.");
    (void)tmb_buffer_printf(out, "timbre_build_info{version=\"%s\"} 1\n", tmb_version());
}
