#include "tts/qwen3/text/language.h"

#include "base/error.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static const char *const codes[][2] = {
    {"zh", "chinese"}, {"en", "english"}, {"ja", "japanese"}, {"ko", "korean"},     {"fr", "french"},
    {"de", "german"},  {"es", "spanish"}, {"ru", "russian"},  {"pt", "portuguese"}, {"it", "italian"},
};

/* The name that a code stands for, or `name` itself. */
static const char *expand_code(const char *name) {
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        if (strncasecmp(name, codes[i][0], 2) == 0 && (name[2] == '\0' || name[2] == '-' || name[2] == '_')) {
            return codes[i][1];
        }
    }
    return name;
}

tmb_status tmb_qwen3_language_id(const tmb_qwen3_talker_config *config, const char *name, int32_t *id,
                                 tmb_error *error) {
    *id = TMB_LANGUAGE_AUTO;
    if (name == NULL || name[0] == '\0' || strcasecmp(name, "auto") == 0) {
        return TMB_OK;
    }
    const char *full = expand_code(name);
    for (size_t i = 0; i < config->language_count; i++) {
        if (strcasecmp(config->languages[i].name, full) == 0) {
            *id = config->languages[i].id;
            return TMB_OK;
        }
    }
    char list[320] = "auto";
    size_t used = strlen(list);
    for (size_t i = 0; i < config->language_count && used < sizeof list; i++) {
        int more = snprintf(list + used, sizeof list - used, ", %s", config->languages[i].name);
        used += more > 0 ? (size_t)more : 0;
    }
    return tmb_fail(error, TMB_ERROR_ARGUMENT, "the model does not know the language \"%.40s\"; it knows %s", name,
                    list);
}
