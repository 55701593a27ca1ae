/* /api/v1/files: uploads and downloads. */
#include "server/form.h"
#include "server/handlers.h"
#include "server/item.h"
#include "server/json_text.h"
#include "server/range.h"
#include "server/state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

static json_t *file_json(const tmb_file_info *info) {
    char url[64];
    tmb_file_url(info->id, url);
    return json_pack("{s:s, s:s, s:o, s:o, s:I, s:i, s:f, s:f, s:f}", "id", info->id, "url", url, "name",
                     tmb_json_text(info->name), "content_type", tmb_json_text(info->content_type), "bytes",
                     (json_int_t)info->bytes, "sample_rate", info->sample_rate, "duration", info->duration, "created",
                     info->created, "expires", info->expires);
}

/* "WAV, 16-bit PCM" → "audio/wav": what it is, not what the client said. */
static const char *type_of(const char *format) {
    static const struct {
        const char *prefix, *type;
    } types[] = {{"WAV", "audio/wav"},   {"RIF", "audio/wav"},   {"RF64", "audio/wav"},
                 {"FLAC", "audio/flac"}, {"Ogg", "audio/ogg"},   {"Opus", "audio/ogg;codecs=opus"},
                 {"MP3", "audio/mpeg"},  {"MPEG", "audio/mpeg"}, {"AIF", "audio/aiff"}};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (strncasecmp(format, types[i].prefix, strlen(types[i].prefix)) == 0) {
            return types[i].type;
        }
    }
    return "application/octet-stream";
}

void tmb_handle_file_upload(tmb_request *request) {
    tmb_file_info info = {.name = ""};
    tmb_upload *upload = request->raw_upload;
    request->raw_upload = NULL;
    if (request->form != NULL) {
        upload = tmb_form_take_file(request->form, "file", info.name, NULL);
    } else {
        (void)snprintf(info.name, sizeof info.name, "%s", tmb_text_at(request->query, "name", 0, ""));
    }
    if (upload == NULL || tmb_upload_bytes(upload) == 0) {
        tmb_upload_abort(&upload);
        tmb_refuse(request, 400, "file", "is empty");
        return;
    }
    tmb_audio_info audio;
    tmb_problem problem;
    const tmb_server_config *config = request->server->config;
    if (!tmb_check_kept_audio(config, tmb_upload_path(upload), config->max_input_seconds, &audio, &problem)) {
        tmb_upload_abort(&upload);
        tmb_refuse(request, problem.status, problem.status == 400 ? "file" : NULL, "%s", problem.message);
        return;
    }
    info.sample_rate = audio.rate;
    info.duration = (double)audio.length / audio.rate;
    (void)snprintf(info.content_type, sizeof info.content_type, "%s", type_of(audio.format));
    tmb_store_status status = tmb_upload_keep(&upload, &info);
    if (status != TMB_STORE_OK) {
        tmb_refuse_store(request, status, "file");
        return;
    }
    tmb_answer_json(request, MHD_HTTP_CREATED, file_json(&info));
}

/* Whether a list of entity tags has ours. */
static bool lists_tag(const char *list, const char *tag) {
    size_t length = strlen(tag);
    for (const char *at = list; at != NULL && *at;) {
        at += strspn(at, " \t,");
        if (*at == '*') {
            return true;
        }
        at += strncmp(at, "W/", 2) == 0 ? 2 : 0;
        if (strncmp(at, tag, length) == 0 && strchr(" \t,", at[length]) != NULL) {
            return true;
        }
        at += strcspn(at, ",");
    }
    return false;
}

/* A download's name in the two forms that browsers want (RFC 6266). */
static void add_disposition(struct MHD_Response *response, const char *name) {
    char plain[256];
    char encoded[3 * 256];
    size_t out = 0;
    size_t length = strlen(name);
    for (size_t i = 0; i <= length; i++) {
        unsigned char c = (unsigned char)name[i];
        plain[i] = (char)(c && (c < 0x20 || c > 0x7e || c == '"' || c == '\\') ? '_' : c);
        bool safe = (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') || (c && strchr("._-", c) != NULL);
        if (!c) {
            encoded[out] = 0;
        } else if (safe) {
            encoded[out++] = (char)c;
        } else {
            out += (size_t)snprintf(encoded + out, sizeof encoded - out, "%%%02X", c);
        }
    }
    char header[sizeof plain + sizeof encoded + 64];
    (void)snprintf(header, sizeof header, "inline; filename=\"%s\"; filename*=UTF-8''%s", plain, encoded);
    tmb_response_header(response, MHD_HTTP_HEADER_CONTENT_DISPOSITION, header);
}

void tmb_answer_file(tmb_request *request, int descriptor, const tmb_file_info *info) {
    char tag[TMB_STORE_ID + 2];
    (void)snprintf(tag, sizeof tag, "\"%s\"", info->id);
    bool fresh = lists_tag(request->if_none_match, tag);
    uint64_t first = 0;
    uint64_t last = info->bytes - 1;
    /* If-Range with another tag (or a date: we have none) asks for the whole. */
    bool ranged = request->if_range == NULL || strcmp(request->if_range, tag) == 0;
    int range = fresh || !ranged ? 0 : tmb_range_parse(request->range, info->bytes, &first, &last);
    uint64_t bytes = fresh || range < 0 ? 0 : range ? last - first + 1 : info->bytes;
    unsigned status = fresh ? 304 : range < 0 ? 416 : range ? 206 : 200;
    struct MHD_Response *response = NULL;
    if (bytes) {
        response = MHD_create_response_from_fd_at_offset64(bytes, descriptor, range ? first : 0);
    } else {
        response = MHD_create_response_from_buffer(0, (void *)(uintptr_t) "", MHD_RESPMEM_PERSISTENT);
        (void)close(descriptor);
        descriptor = -1;
    }
    if (response == NULL) {
        (void)(descriptor >= 0 ? close(descriptor) : 0);
        tmb_answer(request, 500, NULL, 0);
        return;
    }
    char text[96];
    tmb_response_header(response, MHD_HTTP_HEADER_ETAG, tag);
    tmb_response_header(response, MHD_HTTP_HEADER_ACCEPT_RANGES, "bytes");
    /* The id names these bytes for ever; they are not for shared caches. */
    tmb_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "private, max-age=86400, immutable");
    if (range > 0) {
        (void)snprintf(text, sizeof text, "bytes %llu-%llu/%llu", (unsigned long long)first, (unsigned long long)last,
                       (unsigned long long)info->bytes);
        tmb_response_header(response, MHD_HTTP_HEADER_CONTENT_RANGE, text);
    } else if (range < 0) {
        (void)snprintf(text, sizeof text, "bytes */%llu", (unsigned long long)info->bytes);
        tmb_response_header(response, MHD_HTTP_HEADER_CONTENT_RANGE, text);
    }
    if (status == 200 || status == 206) {
        tmb_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, info->content_type);
        add_disposition(response, info->name[0] ? info->name : "audio");
    }
    tmb_answer(request, status, response, bytes);
}

void tmb_handle_file_get(tmb_request *request) {
    int descriptor = -1;
    tmb_file_info info;
    tmb_store_status status = tmb_store_file_open(request->server->store, request->path_value, &descriptor, &info);
    if (status != TMB_STORE_OK) {
        tmb_refuse_store(request, status, "file");
        return;
    }
    tmb_answer_file(request, descriptor, &info);
}

void tmb_handle_file_delete(tmb_request *request) {
    tmb_store_status status = tmb_store_file_remove(request->server->store, request->path_value);
    if (status != TMB_STORE_OK) {
        tmb_refuse_store(request, status, "file");
        return;
    }
    tmb_answer_empty(request, MHD_HTTP_NO_CONTENT);
}
