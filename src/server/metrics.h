/* Counters and histograms for GET /metrics, in Prometheus' text format 0.0.4. */
#ifndef TMB_SERVER_METRICS_H
#define TMB_SERVER_METRICS_H

#include "base/buffer.h"
#include "queue/store.h"
#include "timbre/timbre.h"

typedef struct tmb_metrics tmb_metrics;

/* `routes`: how many routes there are; requests are counted by their number. */
tmb_status tmb_metrics_create(size_t routes, tmb_metrics **out, tmb_error *error);
void tmb_metrics_destroy(tmb_metrics **metrics);

/* A request is over. `route` SIZE_MAX: none matched. */
void tmb_metrics_request(tmb_metrics *metrics, size_t route, unsigned status, double seconds);
/* A client left before its answer was complete. */
void tmb_metrics_aborted(tmb_metrics *metrics);
/* An item's result. */
void tmb_metrics_item(tmb_metrics *metrics, const tmb_clone_result *result);
/* A file was enhanced: seconds of audio, seconds of work. */
void tmb_metrics_enhanced(tmb_metrics *metrics, double audio, double work);

/* What the caller knows. */
typedef struct tmb_metrics_gauges {
    tmb_statistics statistics;
    const tmb_model_statistics *models; /* [model_count] */
    size_t model_count;
    size_t connections, in_flight, jobs_queued, jobs_running;
    uint64_t body_memory, stored_bytes;
    bool ready;
    bool shared; /* `queue` is set: several processes share it, and it says the same from each of them */
    tmb_store_figures queue;
} tmb_metrics_gauges;

/* `method_of` and `path_of` name a route. */
void tmb_metrics_write(tmb_metrics *metrics, const tmb_metrics_gauges *gauges, const char *(*method_of)(size_t route),
                       const char *(*path_of)(size_t route), tmb_buffer *out);

/* The speech servers of --remote-url, if there are any. */
void tmb_speech_server_metrics(tmb_context *context, tmb_buffer *out);

#endif
