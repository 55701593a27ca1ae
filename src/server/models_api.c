/* /api/v1/models: the models that timbre knows, what is installed, and downloading one if the operator lets the page.
 */
#include "server/fields.h"
#include "server/handlers.h"
#include "server/json_text.h"
#include "server/pull.h"
#include "server/state.h"

#include <string.h>

static const char *state_name(tmb_model_state state) {
    return state == TMB_MODEL_COMPLETE ? "complete" : state == TMB_MODEL_INCOMPLETE ? "incomplete" : "absent";
}

static void add_model(void *user, const tmb_model_info *model) {
    (void)json_array_append_new(user, json_pack("{s:s, s:s, s:s, s:I, s:s}", "name", model->name, "title", model->title,
                                                "license", model->license, "bytes", (json_int_t)model->bytes, "state",
                                                state_name(model->state)));
}

static json_t *describe(tmb_server *server) {
    json_t *models = json_array();
    (void)tmb_models(add_model, models, NULL);
    return json_pack("{s:o, s:b, s:o}", "models", models, "may_pull", server->puller != NULL, "pull",
                     server->puller != NULL ? tmb_puller_json(server->puller) : json_null());
}

void tmb_handle_models_known(tmb_request *request) { tmb_answer_json(request, MHD_HTTP_OK, describe(request->server)); }

/* Whether the request may download; false: answered. */
static bool may_pull(tmb_request *request) {
    if (request->server->puller == NULL) {
        tmb_refuse(request, 403, NULL,
                   "This server downloads nothing: it was started without --allow-pull, so run `timbre pull` there");
        return false;
    }
    return true;
}

typedef struct search {
    const char *name;
    char known[200];
    bool found;
} search;

static void look_for(void *user, const tmb_model_info *model) {
    search *s = user;
    const size_t used = strlen(s->known);
    s->found = s->found || strcmp(model->name, s->name) == 0;
    (void)snprintf(s->known + used, sizeof s->known - used, "%s%s", used ? ", " : "", model->name);
}

void tmb_handle_models_pull(tmb_request *request) {
    search s = {.name = tmb_text_at(request->arguments, "name", 0, "")};
    tmb_error error = {.status = TMB_OK};
    if (!may_pull(request)) {
        return;
    }
    (void)tmb_models(look_for, &s, NULL);
    if (!s.found) {
        tmb_refuse(request, 400, "name", "is none of %s", s.known);
        return;
    }
    tmb_status status = tmb_puller_start(request->server->puller, s.name, &error);
    if (status == TMB_ERROR_LIMIT) {
        tmb_refuse(request, MHD_HTTP_CONFLICT, NULL, "%s", error.message);
    } else if (status != TMB_OK) {
        tmb_refuse(request, 500, NULL, "Internal Error");
    } else {
        tmb_answer_json(request, MHD_HTTP_ACCEPTED, describe(request->server));
    }
}

void tmb_handle_models_stop(tmb_request *request) {
    if (may_pull(request)) {
        tmb_puller_stop(request->server->puller);
        tmb_answer_json(request, MHD_HTTP_ACCEPTED, describe(request->server));
    }
}
