#include "tts/registry.h"

#include "base/error.h"
#include "tts/language.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* In the order in which "auto" tries them. */
static const tmb_engine_kind *const kinds[] = {&tmb_qwen3_kind, &tmb_preview_kind, &tmb_remote_kind, NULL};

const tmb_engine_kind *tmb_engine_kind_at(size_t index) {
    return index < sizeof kinds / sizeof kinds[0] ? kinds[index] : NULL;
}

const tmb_engine_kind *tmb_engine_kind_find(const char *name) {
    for (size_t i = 0; kinds[i] != NULL; i++) {
        if (strcmp(kinds[i]->name, name) == 0) {
            return kinds[i];
        }
    }
    return NULL;
}

const char *tmb_engine_option_get(const tmb_engine_settings *settings, const char *engine, const char *name) {
    for (size_t i = 0; i < settings->option_count; i++) {
        if (strcmp(settings->options[i].engine, engine) == 0 && strcmp(settings->options[i].name, name) == 0) {
            return settings->options[i].value;
        }
    }
    return NULL;
}

static bool is_auto(const tmb_engine_settings *settings) { return strcmp(settings->name, "auto") == 0; }

static tmb_status refuse_name(const char *name, tmb_error *error) {
    char list[160] = "auto";
    size_t used = strlen(list);
    for (size_t i = 0; kinds[i] != NULL; i++) {
        int more = snprintf(list + used, sizeof list - used, ", %s", kinds[i]->name);
        used += more > 0 && (size_t)more < sizeof list - used ? (size_t)more : 0;
    }
    return tmb_fail(error, TMB_ERROR_ARGUMENT, "there is no engine \"%.40s\": %s", name, list);
}

tmb_status tmb_engine_check(const tmb_engine_settings *settings, tmb_error *error) {
    const tmb_engine_kind *kind = tmb_engine_kind_find(settings->name);
    if (kind == NULL && !is_auto(settings)) {
        return refuse_name(settings->name, error);
    }
    if (kind != NULL && settings->no_preview && !kind->clones_voice) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "the engine is the %s voice, and the %s voice is refused",
                        kind->name, kind->name);
    }
    tmb_status status = TMB_OK;
    for (size_t i = 0; kinds[i] != NULL && status == TMB_OK; i++) {
        bool concerned = kind == NULL ? kinds[i]->automatic : kinds[i] == kind;
        if (concerned && kinds[i]->check != NULL) {
            status = kinds[i]->check(settings, error);
        }
    }
    return status;
}

static tmb_status find(const tmb_engine_settings *settings, tmb_engine_choice *out, bool *absent, tmb_error *error) {
    *absent = false;
    return out->kind->find == NULL ? TMB_OK : out->kind->find(settings, &out->folder, absent, error);
}

tmb_status tmb_engine_choose(const tmb_engine_settings *settings, tmb_engine_choice *out, tmb_error *error) {
    bool named = settings->model != NULL && settings->model[0] != '\0';
    bool absent = false;
    *out = (tmb_engine_choice){.kind = tmb_engine_kind_find(settings->name)};
    if (out->kind != NULL) {
        return find(settings, out, &absent, error);
    }
    tmb_error first = {0};
    tmb_status status = TMB_OK;
    for (size_t i = 0; kinds[i] != NULL; i++) {
        if (!kinds[i]->automatic || (i > 0 && settings->no_preview && !kinds[i]->clones_voice)) {
            continue;
        }
        tmb_error failure = {0};
        out->kind = kinds[i];
        tmb_status now = find(settings, out, &absent, &failure);
        if (now == TMB_OK) {
            return TMB_OK;
        }
        if (status == TMB_OK) {
            status = now;
            first = failure;
        }
        if (named || !absent) {
            break;
        }
    }
    if (error != NULL) {
        *error = first;
    }
    out->kind = kinds[0];
    return status;
}

tmb_status tmb_engine_check_language(const tmb_engine_choice *choice, const char *language, tmb_error *error) {
    if (tmb_language_find(language) != NULL) {
        return TMB_OK;
    }
    if (choice->kind != NULL && choice->kind->check_language != NULL) {
        return choice->kind->check_language(choice->folder, language, error);
    }
    return tmb_fail_field(error, TMB_ERROR_ARGUMENT, "language",
                          "language \"%.40s\" is not known; known are " TMB_LANGUAGES, language);
}
