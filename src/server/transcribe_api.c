/* POST /api/v1/transcribe: a recording in, what is said in it out, by the service that the operator named. */
#include "base/utf8.h"
#include "server/form.h"
#include "server/handlers.h"
#include "server/item.h"
#include "server/references.h"
#include "server/state.h"

#include <string.h>

/* What the recording or the library is to blame for is said as of any item. Otherwise the service failed: 502, or 504
 * if it took too long. What it answered is for the client to see: the page shows it. */
static void refuse(tmb_request *request, const tmb_error *error) {
    char message[512];
    if (error->field != NULL || error->status == TMB_ERROR_MEMORY || error->status == TMB_ERROR_MODEL) {
        const unsigned code = tmb_item_error(request->server, error, message);
        if (code == 503) {
            tmb_refuse_for_now(request, code, 5, "%s", message);
        } else {
            tmb_refuse(request, code, code == 400 ? "audio" : NULL, "%s", message);
        }
        return;
    }
    (void)tmb_utf8_clean(error->message, strlen(error->message), message, sizeof message);
    tmb_log(&request->server->logger, TMB_LOG_WARNING, "%s", error->message);
    if (error->status == TMB_ERROR_IO) {
        (void)snprintf(message, sizeof message, "The transcription service failed or cannot be reached");
    }
    tmb_refuse(request, error->status == TMB_ERROR_TIMEOUT ? 504 : 502, NULL, "%s", message);
}

static bool request_is_gone(void *user) { return tmb_request_gone(user); }

void tmb_handle_transcribe(tmb_request *request) {
    tmb_server *server = request->server;
    tmb_upload *upload = request->raw_upload;
    request->raw_upload = NULL;
    if (request->form != NULL) {
        upload = tmb_form_take_file(request->form, "audio", NULL, NULL);
    }
    if (!server->config->transcribe_url[0]) {
        tmb_upload_abort(&upload);
        tmb_refuse(request, 404, NULL, "This server has no transcription service (--transcribe-url)");
        return;
    }
    if (upload == NULL || tmb_upload_bytes(upload) == 0) {
        tmb_upload_abort(&upload);
        tmb_refuse(request, 400, "audio", "is empty");
        return;
    }
    tmb_audio_info audio;
    tmb_problem problem;
    char *text = NULL;
    tmb_error error = {.status = TMB_OK};
    if (!tmb_check_audio(server->config, tmb_upload_path(upload), server->config->max_reference_seconds, false, &audio,
                         &problem)) {
        tmb_refuse(request, problem.status, problem.status == 400 ? "audio" : NULL, "%s", problem.message);
    } else if (tmb_transcribe(server->timbre, tmb_upload_path(upload), request_is_gone, request, &text, &error) !=
               TMB_OK) {
        refuse(request, &error);
    } else {
        tmb_answer_json(request, MHD_HTTP_OK, json_pack("{s:s}", "text", text));
    }
    tmb_free(text);
    tmb_upload_abort(&upload);
}
