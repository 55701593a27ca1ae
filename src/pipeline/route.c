#include "pipeline/route.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/text.h"
#include "tts/registry.h"
#include "weights/models.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- Descriptions ---- */

tmb_status tmb_models_copy(tmb_context *context, const tmb_options *options, tmb_error *error) {
    const tmb_model_spec single = {NULL, options->model};
    const tmb_model_spec *specs = options->model_count > 0 ? options->models : &single;
    size_t count = options->model_count > 0 ? options->model_count : 1;
    context->models = tmb_calloc(count, sizeof *context->models);
    if (context->models == NULL) {
        return tmb_fail_memory(error, "the models", count * sizeof *context->models);
    }
    context->model_count = count;
    for (size_t i = 0; i < count; i++) {
        tmb_context_model *model = &context->models[i];
        model->given_name = tmb_text_is_given(specs[i].name) ? tmb_strdup(specs[i].name) : NULL;
        model->model = tmb_text_is_given(specs[i].model) ? tmb_strdup(specs[i].model) : NULL;
        if ((tmb_text_is_given(specs[i].name) && model->given_name == NULL) ||
            (tmb_text_is_given(specs[i].model) && model->model == NULL)) {
            return tmb_fail_memory(error, "the models", 0);
        }
        for (size_t k = 0; k < i; k++) {
            if (model->given_name != NULL && context->models[k].given_name != NULL &&
                strcasecmp(model->given_name, context->models[k].given_name) == 0) {
                return tmb_fail(error, TMB_ERROR_ARGUMENT, "two models are called \"%.60s\"", model->given_name);
            }
        }
    }
    return TMB_OK;
}

void tmb_models_free(tmb_context *context) {
    for (size_t i = 0; i < context->model_count; i++) {
        free(context->models[i].given_name);
        free(context->models[i].model);
        free(context->models[i].description);
    }
    free(context->models);
}

static tmb_status describe_choice(const tmb_engine_choice *choice, const char *given_name, tmb_model_description **out,
                                  tmb_error *error) {
    char label[256];
    (void)snprintf(label, sizeof label, "%s", choice->kind->name);
    if (choice->kind->model_label != NULL) {
        choice->kind->model_label(choice->folder, label, sizeof label);
    }
    const char *name = given_name != NULL ? given_name : label;
    if (choice->kind->describe != NULL) {
        return choice->kind->describe(choice->folder, name, out, error);
    }
    tmb_model_description *made = tmb_calloc(1, sizeof *made + strlen(name) + 1);
    if (made == NULL) {
        return tmb_fail_memory(error, "a model's description", sizeof *made);
    }
    char *copy = (char *)(made + 1);
    (void)memcpy(copy, name, strlen(name) + 1);
    *made = (tmb_model_description){
        .name = copy, .engine = choice->kind->name, .kind = choice->kind->name, .size = "", .clones = true};
    *out = made;
    return TMB_OK;
}

tmb_status tmb_model_describe(tmb_context *context, size_t index, const tmb_model_description **out, tmb_error *error) {
    tmb_context_model *model = &context->models[index];
    (void)pthread_mutex_lock(&context->lock);
    *out = model->description;
    (void)pthread_mutex_unlock(&context->lock);
    if (*out != NULL) {
        return TMB_OK;
    }
    tmb_engine_choice choice = {0};
    tmb_model_description *made = NULL;
    tmb_status status = tmb_registry_choose(&context->registry, index, &choice, error);
    if (status == TMB_OK) {
        status = describe_choice(&choice, model->given_name, &made, error);
    }
    free(choice.folder);
    if (status != TMB_OK) {
        return status;
    }
    (void)pthread_mutex_lock(&context->lock);
    if (model->description == NULL) {
        model->description = made;
        made = NULL;
    }
    *out = model->description;
    (void)pthread_mutex_unlock(&context->lock);
    free(made); /* another thread was faster */
    return TMB_OK;
}

tmb_status tmb_describe_models(tmb_context *context, void (*each)(void *user, const tmb_model_description *model),
                               void *user, tmb_error *error) {
    for (size_t i = 0; i < context->model_count; i++) {
        const tmb_model_description *description = NULL;
        tmb_status status = tmb_model_describe(context, i, &description, error);
        if (status != TMB_OK) {
            return status;
        }
        each(user, description);
    }
    return TMB_OK;
}

tmb_status tmb_describe_model(const char *model, void (*each)(void *user, const tmb_model_description *model),
                              void *user, tmb_error *error) {
    tmb_engine_choice choice = {.kind = &tmb_qwen3_kind};
    tmb_model_description *description = NULL;
    tmb_status status = tmb_models_find_checkpoint(model, NULL, &choice.folder, error);
    if (status == TMB_OK) {
        status = describe_choice(&choice, NULL, &description, error);
    }
    if (status == TMB_OK) {
        each(user, description);
    }
    free(description);
    free(choice.folder);
    return status;
}

tmb_status tmb_clone_model(tmb_context *context, const tmb_clone_request *request, const tmb_model_description **out,
                           tmb_error *error) {
    tmb_item_request copy;
    size_t index = 0;
    *out = NULL;
    tmb_status status = tmb_item_request_copy(request, true, &copy, error);
    if (status != TMB_OK) {
        return status;
    }
    status = tmb_route(context, &copy, &index, error);
    if (status == TMB_OK) {
        status = tmb_model_describe(context, index, out, error);
    }
    tmb_item_request_free(&copy);
    return status;
}

tmb_status tmb_model_bytes(const char *model, const char *precision, uint64_t *bytes, tmb_error *error) {
    char *folder = NULL;
    const tmb_engine_settings settings = {.name = "qwen3", .model = model, .precision = precision};
    tmb_status status = tmb_qwen3_kind.check(&settings, error);
    if (status == TMB_OK) {
        status = tmb_models_find_checkpoint(model, NULL, &folder, error);
    }
    if (status == TMB_OK) {
        status = tmb_qwen3_kind.estimate(&settings, folder, bytes, error);
    }
    free(folder);
    return status;
}

/* ---- Which one ---- */

/* Whether `name` means this model: by its name, or by what the options called it. */
static bool is_called(const tmb_context_model *model, const tmb_model_description *description, const char *name) {
    if (strcasecmp(description->name, name) == 0 || (model->model != NULL && strcasecmp(model->model, name) == 0)) {
        return true;
    }
    /* By another name of the same known model: "0.6b", "Qwen/Qwen3-TTS-12Hz-0.6B-Base". */
    const tmb_known_model *known = tmb_models_by_name(name);
    return known != NULL && known == tmb_models_by_name(description->name);
}

/* How well a model can do what a request asks; 0: it cannot. */
enum { BAD = 0, FAIR, GOOD };

static int suits(const tmb_model_description *description, const tmb_item_request *request) {
    const tmb_clone_request *public = &request->public;
    const tmb_engine_kind *kind = tmb_engine_kind_find(description->engine);
    bool instructed = tmb_text_is_given(public->instruct);
    bool speaks = description->speaker_count > 0 && public->who != TMB_WHO_DESCRIPTION;
    if (request->source != TMB_SOURCE_NONE) {
        return description->clones && !tmb_text_is_given(public->speaker) && !instructed ? GOOD : BAD;
    }
    if (tmb_text_is_given(public->speaker)) {
        bool has =
            speaks && kind != NULL && kind->has_speaker != NULL && kind->has_speaker(description, public->speaker);
        return !has ? BAD : instructed && !description->follows_instruct ? FAIR : GOOD;
    }
    if (public->who == TMB_WHO_SPEAKER) {
        return !speaks ? BAD : instructed && !description->follows_instruct ? FAIR : GOOD;
    }
    if (public->who == TMB_WHO_DESCRIPTION || instructed) {
        return description->designs ? GOOD : BAD;
    }
    return speaks || description->designs ? GOOD : BAD;
}

/* Every model's name, as many as fit. */
static void list_names(tmb_context *context, char *out, size_t size) {
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < context->model_count; i++) {
        const tmb_model_description *description = NULL;
        if (tmb_model_describe(context, i, &description, NULL) != TMB_OK) {
            continue;
        }
        int more =
            snprintf(out + used, size - used, "%s%s (%s)", used == 0 ? "" : ", ", description->name, description->kind);
        if (more < 0 || (size_t)more >= size - used) {
            out[used] = '\0';
            return;
        }
        used += (size_t)more;
    }
}

/* Every speaker, as many as fit. */
static void list_speakers(tmb_context *context, char *out, size_t size) {
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < context->model_count; i++) {
        const tmb_model_description *description = NULL;
        if (tmb_model_describe(context, i, &description, NULL) != TMB_OK) {
            continue;
        }
        for (size_t k = 0; k < description->speaker_count; k++) {
            const char *name = description->speakers[k];
            if (used + strlen(name) + 3 > size) {
                return;
            }
            used += (size_t)snprintf(out + used, size - used, "%s%s", used == 0 ? "" : ", ", name);
        }
    }
}

static tmb_status refuse(tmb_context *context, const tmb_item_request *request, tmb_error *error) {
    const tmb_clone_request *public = &request->public;
    char names[300];
    list_names(context, names, sizeof names);
    if (tmb_text_is_given(public->model)) {
        return tmb_fail_field(error, TMB_ERROR_ARGUMENT, "model", "there is no model \"%.60s\" here; there are %s",
                              public->model, names);
    }
    if (request->source != TMB_SOURCE_NONE) {
        return tmb_fail_field(error, TMB_ERROR_ARGUMENT, request->source == TMB_SOURCE_VOICE ? "voice" : "ref_audio",
                              "none of the models clones a recording%s: there are %s",
                              tmb_text_is_given(public->speaker) || tmb_text_is_given(public->instruct)
                                  ? " and takes a speaker or an instruction with it"
                                  : "",
                              names);
    }
    if (tmb_text_is_given(public->speaker)) {
        char speakers[300];
        list_speakers(context, speakers, sizeof speakers);
        return tmb_fail_field(error, TMB_ERROR_ARGUMENT, "speaker",
                              "none of the models has a speaker \"%.60s\"; there are %s", public->speaker,
                              speakers[0] != '\0' ? speakers : names);
    }
    if (public->who == TMB_WHO_SPEAKER) {
        return tmb_fail_field(error, TMB_ERROR_ARGUMENT, "speaker", "none of the models has speakers: there are %s",
                              names);
    }
    return tmb_fail_field(error, TMB_ERROR_ARGUMENT, "instruct",
                          "none of the models makes a voice from a description: there are %s", names);
}

tmb_status tmb_route(tmb_context *context, const tmb_item_request *request, size_t *index, tmb_error *error) {
    bool named = tmb_text_is_given(request->public.model);
    *index = 0;
    if (context->model_count == 1 && !named) {
        return TMB_OK; /* the engine itself says what it cannot do */
    }
    tmb_status status = TMB_OK;
    tmb_error first = {0};
    int best = BAD;
    for (size_t i = 0; i < context->model_count && best < GOOD; i++) {
        const tmb_model_description *description = NULL;
        tmb_error failure = {0};
        tmb_status now = tmb_model_describe(context, i, &description, &failure);
        if (now != TMB_OK) {
            status = status == TMB_OK ? now : status;
            first = first.status == TMB_OK ? failure : first;
            continue;
        }
        int now_suits = !named ? suits(description, request)
                        : is_called(&context->models[i], description, request->public.model) ? GOOD
                                                                                             : BAD;
        if (now_suits > best) {
            best = now_suits;
            *index = i;
        }
    }
    if (best != BAD) {
        return TMB_OK;
    }
    /* One that could not be looked at may have been meant. */
    if (status != TMB_OK) {
        if (error != NULL) {
            *error = first;
        }
        return status;
    }
    return refuse(context, request, error);
}
