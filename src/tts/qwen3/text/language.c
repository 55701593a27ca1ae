#include "tts/qwen3/text/language.h"

#include "base/error.h"
#include "base/memory.h"
#include "tts/language.h"
#include "tts/qwen3/qwen3.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const tmb_qwen3_language *find_key(const tmb_qwen3_talker_config *config, const char *name) {
    for (size_t i = 0; i < config->language_count; i++) {
        if (strcasecmp(config->languages[i].name, name) == 0) {
            return &config->languages[i];
        }
    }
    return NULL;
}

/* "auto, zh, en, ...": the codes of what the model knows, its own names if there is no code. Whole words only. */
static void list_languages(const tmb_qwen3_talker_config *config, char *out, size_t size) {
    static const char more[] = ", ...";
    size_t used = (size_t)snprintf(out, size, "auto");
    for (size_t i = 0; i < config->language_count; i++) {
        const tmb_language *language = tmb_language_by_tag(config->languages[i].name);
        const char *word = language != NULL ? language->code : config->languages[i].name;
        if (used + strlen(word) + 2 + sizeof more > size) {
            (void)snprintf(out + used, size - used, "%s", more);
            return;
        }
        used += (size_t)snprintf(out + used, size - used, ", %s", word);
    }
}

tmb_status tmb_qwen3_language_id(const tmb_qwen3_talker_config *config, const char *name, int32_t *id,
                                 tmb_error *error) {
    *id = TMB_LANGUAGE_AUTO;
    if (name == NULL || name[0] == '\0' || strcasecmp(name, "auto") == 0) {
        return TMB_OK;
    }
    /* The model's own name for a language goes first. */
    const tmb_qwen3_language *found = find_key(config, name);
    const tmb_language *language = found == NULL ? tmb_language_by_tag(name) : NULL;
    if (language != NULL) {
        found = find_key(config, language->name);
    }
    if (found != NULL) {
        *id = found->id;
        return TMB_OK;
    }
    if (language != NULL && strcmp(language->code, "auto") == 0) {
        return TMB_OK;
    }
    char list[320];
    list_languages(config, list, sizeof list);
    return tmb_fail_field(error, TMB_ERROR_ARGUMENT, "language",
                          "the model does not know the language \"%.40s\"; it knows %s", name, list);
}

tmb_status tmb_qwen3_check_language(const char *model, const char *name, tmb_error *error) {
    tmb_qwen3_config *config = tmb_calloc(1, sizeof *config);
    if (config == NULL) {
        return tmb_fail_memory(error, "a configuration", sizeof *config);
    }
    int32_t id = 0;
    tmb_status status = tmb_qwen3_config_read(model, config, error);
    if (status == TMB_OK) {
        status = tmb_qwen3_language_id(&config->talker, name, &id, error);
    }
    free(config);
    return status;
}
