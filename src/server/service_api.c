/* Health, metrics, the description, and the page with its parts. */
#include "server/handlers.h"
#include "server/state.h"
#include "server/web/assets.h"
#include "worker/worker.h"

#include <stdlib.h>
#include <string.h>

/* Who speaks is part of every answer about health: with the preview voice all is well, and nothing is cloned. */
static json_t *health(tmb_server *server, const char *state) {
    tmb_statistics statistics;
    tmb_get_statistics(server->timbre, &statistics);
    return json_pack("{s:s, s:s, s:s, s:b, s:s, s:b, s:b}", "status", state, "version", tmb_version(), "engine",
                     statistics.engine ? statistics.engine : server->config->engine, "is_clone", statistics.is_clone,
                     "model", server->model_name, "engine_loaded", statistics.engine_loaded, "denoiser_loaded",
                     statistics.denoiser_loaded);
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

void tmb_handle_metrics(tmb_request *request) {
    tmb_server *server = request->server;
    tmb_metrics_gauges gauges = {
        .connections = tmb_connections_open(server->connections),
        .in_flight = atomic_load(&server->in_flight),
        .body_memory = tmb_budget_used(server->body_memory),
        .stored_bytes = tmb_store_bytes(server->store),
        .ready = !atomic_load(&server->draining),
    };
    tmb_get_statistics(server->timbre, &gauges.statistics);
    (void)tmb_store_item_counts(server->store, &gauges.jobs_queued, &gauges.jobs_running);
    size_t running = tmb_worker_running(server->worker);
    if (running > gauges.jobs_running) {
        gauges.jobs_running = running; /* those of deleted jobs too, until they have ended */
    }
    tmb_buffer text = {.maximum = 8u << 20};
    tmb_metrics_write(server->metrics, &gauges, route_method, route_path, &text);
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
    while (asset->path && strcmp(asset->path, request->path) != 0) {
        asset++;
    }
    if (!asset->path) {
        tmb_refuse(request, 404, NULL, "Not Found");
        return;
    }
    char tag[80];
    (void)snprintf(tag, sizeof(tag), "\"%s\"", asset->hash);
    bool fresh = request->if_none_match && strstr(request->if_none_match, tag);
    struct MHD_Response *response = MHD_create_response_from_buffer(
        fresh ? 0 : asset->size, (void *)(uintptr_t)asset->data, MHD_RESPMEM_PERSISTENT);
    if (response) {
        tmb_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, asset->content_type);
        tmb_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-cache");
        tmb_response_header(response, MHD_HTTP_HEADER_ETAG, tag);
        tmb_response_header(response, "Content-Security-Policy", policy);
        tmb_response_header(response, "Referrer-Policy", "no-referrer");
    }
    tmb_answer(request, fresh ? MHD_HTTP_NOT_MODIFIED : MHD_HTTP_OK, response, asset->size);
}
