/* Health, metrics, the description, and the page with its parts. */
#include "base/memory.h"
#include "server/handlers.h"
#include "server/json_text.h"
#include "server/state.h"
#include "server/web/assets.h"
#include "worker/worker.h"

#include <stdlib.h>
#include <string.h>

/* One speech server for /health. Its address is for those who run this server: anybody may ask for /health, but
 * without keys only this machine can. */
typedef struct server_list {
    json_t *list;
    bool with_urls;
} server_list;

static void add_server(void *user, const tmb_server_statistics *statistics) {
    server_list *servers = user;
    json_t *one =
        json_pack("{s:s, s:I}", "state", statistics->state, "outstanding", (json_int_t)statistics->outstanding);
    if (servers->with_urls) {
        (void)json_object_set_new(one, "url", json_string(statistics->url));
    }
    if (statistics->limit != 0) {
        (void)json_object_set_new(one, "limit", json_integer((json_int_t)statistics->limit));
    }
    (void)json_array_append_new(servers->list, one);
}

static void add_model(void *user, const tmb_model_statistics *model) {
    (void)json_array_append_new(
        user, json_pack("{s:o, s:b, s:I, s:I, s:I, s:I, s:I}", "name", tmb_json_text(model->name), "loaded",
                        model->loaded, "loads", (json_int_t)model->loads, "memory", (json_int_t)model->memory_reserved,
                        "waiting", (json_int_t)model->queued_items, "speaking", (json_int_t)model->live_sequences,
                        "finished", (json_int_t)model->finished_items));
}

/* Each model, with what it is. */
static json_t *models(tmb_server *server) {
    json_t *list = json_array();
    tmb_each_model_statistics(server->timbre, add_model, list);
    for (size_t i = 0; i < server->models.count && i < json_array_size(list); i++) {
        (void)json_object_set_new(json_array_get(list, i), "kind", json_string(server->models.list[i]->kind));
    }
    return list;
}

/* Who speaks is part of every answer about health: with the preview voice all is well, and nothing is cloned. */
static json_t *health(tmb_server *server, const char *state) {
    tmb_statistics statistics;
    tmb_get_statistics(server->timbre, &statistics);
    /* What the workers of a queue have, a server that leaves all work to them does not know. */
    const bool leaves = server->calls != NULL;
    const char *engine = leaves ? "queue" : statistics.engine != NULL ? statistics.engine : server->config->engine;
    json_t *out =
        json_pack("{s:s, s:s, s:s, s:o, s:o, s:b, s:b, s:o, s:b, s:s}", "status", state, "version", tmb_version(),
                  "engine", engine, "is_clone", leaves ? json_null() : json_boolean(statistics.is_clone), "model",
                  tmb_json_text(server->model_name), "engine_loaded", statistics.engine_loaded, "denoiser_loaded",
                  statistics.denoiser_loaded, "models", models(server), "transcribes",
                  server->config->transcribe_url[0] != 0, "device", statistics.device != NULL ? statistics.device : "");
    server_list servers = {.list = json_array(), .with_urls = server->keys == NULL};
    tmb_each_server_statistics(server->timbre, add_server, &servers);
    if (json_array_size(servers.list) != 0) {
        (void)json_object_set(out, "speech_servers", servers.list);
    }
    json_decref(servers.list);
    return out;
}

void tmb_handle_live(tmb_request *request) { tmb_answer_json(request, MHD_HTTP_OK, health(request->server, "ok")); }

void tmb_handle_ready(tmb_request *request) {
    if (atomic_load(&request->server->draining)) {
        tmb_refuse_for_now(request, 503, 10, "The server is shutting down");
        return;
    }
    tmb_answer_json(request, MHD_HTTP_OK, health(request->server, "ready"));
}

static const char *route_method(size_t route) {
    static const char *const names[] = {"GET", "POST", "DELETE"};
    return names[tmb_routes[route].method];
}

static const char *route_path(size_t route) { return tmb_routes[route].path; }

typedef struct model_list {
    tmb_model_statistics *list; /* [most] */
    size_t count, most;
} model_list;

static void take_model(void *user, const tmb_model_statistics *model) {
    model_list *models = user;
    if (models->list != NULL && models->count < models->most) {
        models->list[models->count++] = *model;
    }
}

void tmb_handle_metrics(tmb_request *request) {
    tmb_server *server = request->server;
    tmb_metrics_gauges gauges = {
        .connections = tmb_connections_open(server->connections),
        .in_flight = atomic_load(&server->in_flight),
        .body_memory = tmb_body_budget_used(server->body_memory),
        .stored_bytes = tmb_store_bytes(server->store),
        .ready = !atomic_load(&server->draining),
    };
    tmb_get_statistics(server->timbre, &gauges.statistics);
    model_list models = {.most = server->models.count, .list = tmb_calloc(server->models.count, sizeof *models.list)};
    tmb_each_model_statistics(server->timbre, take_model, &models);
    gauges.models = models.list;
    gauges.model_count = models.count;
    gauges.shared = tmb_store_measure(server->store, &gauges.queue);
    (void)tmb_store_item_counts(server->store, &gauges.jobs_queued, &gauges.jobs_running);
    size_t running = tmb_worker_running(server->worker);
    if (running > gauges.jobs_running) {
        gauges.jobs_running = running; /* those of deleted jobs too, until they have ended */
    }
    tmb_buffer text = {.maximum = 8u << 20};
    tmb_metrics_write(server->metrics, &gauges, route_method, route_path, &text);
    tmb_speech_server_metrics(server->timbre, &text);
    free(models.list);
    if (text.failed) {
        tmb_refuse(request, 500, NULL, "Internal Error");
    } else {
        tmb_answer_text(request, MHD_HTTP_OK, "text/plain; version=0.0.4; charset=utf-8", text.data, text.size);
    }
    tmb_buffer_free(&text);
}

void tmb_handle_openapi(tmb_request *request) {
    const char *text = request->server->openapi_text;
    tmb_answer_text(request, MHD_HTTP_OK, "application/json", text, strlen(text));
}

/* Scripts, styles, sounds: ours or made by the page, nothing from anywhere else. */
static const char policy[] =
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:;"
    " media-src 'self' blob:; worker-src 'self' blob:; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'";

void tmb_handle_asset(tmb_request *request) {
    const tmb_asset *asset = tmb_assets;
    while (asset->path != NULL && strcmp(asset->path, request->path) != 0) {
        asset++;
    }
    if (asset->path == NULL) {
        tmb_refuse(request, 404, NULL, "Not Found");
        return;
    }
    char tag[80];
    (void)snprintf(tag, sizeof tag, "\"%s\"", asset->hash);
    bool fresh = request->if_none_match != NULL && strstr(request->if_none_match, tag) != NULL;
    struct MHD_Response *response = MHD_create_response_from_buffer(
        fresh ? 0 : asset->size, (void *)(uintptr_t)asset->data, MHD_RESPMEM_PERSISTENT);
    if (response != NULL) {
        tmb_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, asset->content_type);
        tmb_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-cache");
        tmb_response_header(response, MHD_HTTP_HEADER_ETAG, tag);
        tmb_response_header(response, "Content-Security-Policy", policy);
        tmb_response_header(response, "Referrer-Policy", "no-referrer");
    }
    tmb_answer(request, fresh ? MHD_HTTP_NOT_MODIFIED : MHD_HTTP_OK, response, asset->size);
}
