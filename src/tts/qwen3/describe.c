#include "tts/qwen3/describe.h"

#include "base/error.h"
#include "base/memory.h"
#include "tts/qwen3/config.h"
#include "tts/qwen3/text/speaker.h"
#include "weights/models.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const kind_names[] = {"base", "custom_voice", "voice_design"}; /* as tmb_qwen3_kind */

/* Strings and lists of a description, one after the other in its block. */
typedef struct block {
    char *next;
} block;

static const char *put(block *b, const char *text) {
    char *copy = b->next;
    size_t bytes = strlen(text) + 1;
    memcpy(copy, text, bytes);
    b->next += bytes;
    return copy;
}

static size_t strings_size(const tmb_qwen3_config *config, const char *folder, const char *name) {
    size_t bytes = strlen(folder) + strlen(name) + sizeof config->size_name + 2;
    for (size_t i = 0; i < config->speaker_count; i++) {
        bytes += strlen(config->speakers[i].name) + sizeof config->talker.dialects[0].name + 2;
    }
    for (size_t i = 0; i < config->talker.language_count; i++) {
        bytes += strlen(config->talker.languages[i].name) + 1;
    }
    for (size_t i = 0; i < config->talker.dialect_count; i++) {
        bytes += strlen(config->talker.dialects[i].name) + 1;
    }
    return bytes;
}

static const char *dialect_name(const tmb_qwen3_config *config, const tmb_qwen3_speaker *speaker) {
    return speaker->dialect >= 0 ? config->talker.dialects[speaker->dialect].name : "";
}

static tmb_status describe(const tmb_qwen3_config *config, const char *folder, const char *name,
                           tmb_model_description **out, tmb_error *error) {
    size_t lists = 2 * config->speaker_count + config->talker.language_count + config->talker.dialect_count;
    size_t bytes = sizeof **out + lists * sizeof(char *) + strings_size(config, folder, name);
    tmb_model_description *made = tmb_calloc(1, bytes);
    if (made == NULL) {
        return tmb_fail_memory(error, "a model's description", bytes);
    }
    const char **speakers = (const char **)(made + 1);
    const char **dialects = speakers + config->speaker_count;
    const char **languages = dialects + config->speaker_count;
    const char **all_dialects = languages + config->talker.language_count;
    block b = {(char *)(all_dialects + config->talker.dialect_count)};
    *made =
        (tmb_model_description){.name = put(&b, name),
                                .engine = "qwen3",
                                .kind = kind_names[config->kind],
                                .folder = put(&b, folder),
                                .size = put(&b, config->size_name),
                                .clones = tmb_qwen3_clones(config),
                                .designs = config->kind == TMB_QWEN3_VOICE_DESIGN,
                                .follows_instruct = config->kind == TMB_QWEN3_VOICE_DESIGN ||
                                                    (config->kind == TMB_QWEN3_CUSTOM_VOICE && !config->drops_instruct),
                                .speakers = speakers,
                                .speaker_dialects = dialects,
                                .speaker_count = config->speaker_count,
                                .languages = languages,
                                .language_count = config->talker.language_count,
                                .dialects = all_dialects,
                                .dialect_count = config->talker.dialect_count};
    for (size_t i = 0; i < config->speaker_count; i++) {
        speakers[i] = put(&b, config->speakers[i].name);
        dialects[i] = put(&b, dialect_name(config, &config->speakers[i]));
    }
    for (size_t i = 0; i < config->talker.language_count; i++) {
        languages[i] = put(&b, config->talker.languages[i].name);
    }
    for (size_t i = 0; i < config->talker.dialect_count; i++) {
        all_dialects[i] = put(&b, config->talker.dialects[i].name);
    }
    *out = made;
    return TMB_OK;
}

tmb_status tmb_qwen3_describe(const char *folder, const char *name, tmb_model_description **out, tmb_error *error) {
    *out = NULL;
    tmb_qwen3_config *config = tmb_calloc(1, sizeof *config);
    if (config == NULL) {
        return tmb_fail_memory(error, "a configuration", sizeof *config);
    }
    tmb_status status = tmb_qwen3_config_read(folder, config, error);
    if (status == TMB_OK) {
        status = describe(config, folder, name, out, error);
    }
    free(config);
    return status;
}

bool tmb_qwen3_has_speaker(const tmb_model_description *description, const char *speaker) {
    for (size_t i = 0; i < description->speaker_count; i++) {
        if (tmb_qwen3_same_speaker(description->speakers[i], speaker)) {
            return true;
        }
    }
    return false;
}

/* "…/models--OWNER--NAME/snapshots/…" is a repository of the hub. */
static const tmb_known_model *known_by_folder(const char *folder) {
    const char *at = strstr(folder, "models--");
    char repository[160];
    if (at == NULL) {
        return NULL;
    }
    (void)snprintf(repository, sizeof repository, "%.*s", (int)strcspn(at + 8, "/"), at + 8);
    char *dashes = strstr(repository, "--");
    if (dashes == NULL) {
        return NULL;
    }
    *dashes = '/';
    memmove(dashes + 1, dashes + 2, strlen(dashes + 2) + 1);
    return tmb_models_by_name(repository);
}

void tmb_qwen3_model_label(const char *folder, char *out, size_t size) {
    const tmb_known_model *known = folder == NULL ? NULL : known_by_folder(folder);
    tmb_qwen3_config *config = folder == NULL || known != NULL ? NULL : tmb_calloc(1, sizeof *config);
    bool read = config != NULL && tmb_qwen3_config_read(folder, config, NULL) == TMB_OK;
    if (known != NULL) {
        (void)snprintf(out, size, "%s", known->name);
    } else if (read && !tmb_qwen3_clones(config)) {
        size_t length = strlen(folder);
        while (length > 1 && folder[length - 1] == '/') {
            length--;
        }
        size_t begin = length;
        while (begin > 0 && folder[begin - 1] != '/') {
            begin--;
        }
        (void)snprintf(out, size, "%.*s", (int)(length - begin), folder + begin);
    } else {
        bool is_large = (read && strcmp(config->size_name, "1b7") == 0) ||
                        (!read && folder != NULL && strcasestr(folder, "1.7b") != NULL);
        (void)snprintf(out, size, "qwen3-tts-%s", is_large ? "1.7b" : "0.6b");
    }
    free(config);
}
