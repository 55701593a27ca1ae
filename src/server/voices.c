#include "server/voices.h"

#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* The voices that OpenAI's own service has: clients have them built in. */
static const char *const standard[] = {"alloy", "ash",  "ballad", "cedar", "coral",   "echo", "fable",
                                       "marin", "nova", "onyx",   "sage",  "shimmer", "verse"};

static bool is_standard(const char *name) {
    for (size_t i = 0; i < sizeof standard / sizeof standard[0]; i++) {
        if (strcasecmp(standard[i], name) == 0) {
            return true;
        }
    }
    return false;
}

static const tmb_voice_alias *find(const tmb_voices *voices, const char *name) {
    for (size_t i = 0; i < voices->count; i++) {
        if (strcmp(voices->aliases[i].alias, name) == 0) {
            return &voices->aliases[i];
        }
    }
    return NULL;
}

/* The text without blanks around it; it is cut. */
static char *trim(char *text) {
    text += strspn(text, " \t");
    for (size_t length = strlen(text); length && strchr(" \t", text[length - 1]) != NULL; length--) {
        text[length - 1] = 0;
    }
    return text;
}

static tmb_status read_name(const char *text, const char *option, char out[TMB_NAME_SIZE], tmb_error *error) {
    const char *what = NULL;
    if (tmb_name_normalise(text, out, &what)) {
        return TMB_OK;
    }
    return tmb_fail(error, TMB_ERROR_ARGUMENT, "--%s: the name \"%.80s\" %s", option, text, what);
}

/* "alias=voice"; the text is cut. */
static tmb_status read_alias(tmb_voices *voices, char *pair, tmb_error *error) {
    char *equals = strchr(pair, '=');
    if (equals == NULL) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "--voice-alias: \"%.80s\" is not NAME=VOICE", pair);
    }
    *equals = 0;
    tmb_voice_alias *next = &voices->aliases[voices->count];
    tmb_status status = read_name(trim(pair), "voice-alias", next->alias, error);
    if (status == TMB_OK) {
        status = read_name(trim(equals + 1), "voice-alias", next->voice, error);
    }
    if (status == TMB_OK && find(voices, next->alias) != NULL) {
        status = tmb_fail(error, TMB_ERROR_ARGUMENT, "--voice-alias: \"%.80s\" comes twice", next->alias);
    }
    voices->count += status == TMB_OK;
    return status;
}

static tmb_status read_aliases(tmb_voices *voices, const char *text, tmb_error *error) {
    size_t most = 1;
    for (const char *at = text; *at; at++) {
        most += *at == ',';
    }
    char *copy = tmb_strdup(text);
    voices->aliases = tmb_calloc(most, sizeof *voices->aliases);
    if (copy == NULL || voices->aliases == NULL) {
        free(copy);
        return tmb_fail_memory(error, "the aliases of voices", most * sizeof *voices->aliases);
    }
    tmb_status status = TMB_OK;
    char *save = NULL;
    for (char *pair = strtok_r(copy, ",", &save); pair != NULL && status == TMB_OK; pair = strtok_r(NULL, ",", &save)) {
        pair = trim(pair);
        status = *pair ? read_alias(voices, pair, error) : TMB_OK;
    }
    free(copy);
    /* One step: who follows an alias finds a voice. */
    for (size_t i = 0; status == TMB_OK && i < voices->count; i++) {
        if (find(voices, voices->aliases[i].voice) != NULL) {
            status = tmb_fail(error, TMB_ERROR_ARGUMENT,
                              "--voice-alias: \"%.80s\" leads to \"%.80s\", which is an alias itself",
                              voices->aliases[i].alias, voices->aliases[i].voice);
        }
    }
    return status;
}

tmb_status tmb_voices_init(tmb_voices *voices, const tmb_server_config *config, tmb_error *error) {
    memset(voices, 0, sizeof *voices);
    tmb_status status = TMB_OK;
    if (config->default_voice[0]) {
        status = read_name(config->default_voice, "default-voice", voices->fallback, error);
    }
    if (status == TMB_OK && config->voice_alias[0]) {
        status = read_aliases(voices, config->voice_alias, error);
    }
    return status;
}

void tmb_voices_deinit(tmb_voices *voices) {
    free(voices->aliases);
    voices->aliases = NULL;
    voices->count = 0;
}

static bool is_stored(tmb_store *store, const char *name) {
    tmb_voice_info info;
    if (tmb_store_voice_get(store, name, NULL, &info) != TMB_STORE_OK) {
        return false;
    }
    tmb_voice_info_free(&info);
    return true;
}

void tmb_voices_warn(const tmb_voices *voices, tmb_store *store, tmb_logger *logger) {
    for (size_t i = 0; i < voices->count; i++) {
        if (!is_stored(store, voices->aliases[i].voice)) {
            tmb_log(logger, TMB_LOG_WARNING, "voice alias \"%s\": no voice \"%s\" is stored", voices->aliases[i].alias,
                    voices->aliases[i].voice);
        }
    }
    char name[TMB_NAME_SIZE];
    if (voices->fallback[0] && tmb_voices_resolve(voices, store, NULL, name) && !is_stored(store, name)) {
        tmb_log(logger, TMB_LOG_WARNING, "default voice: no voice \"%s\" is stored", name);
    }
}

bool tmb_voices_resolve(const tmb_voices *voices, tmb_store *store, const char *asked, char name[TMB_NAME_SIZE]) {
    const tmb_voice_alias *alias = asked != NULL ? find(voices, asked) : NULL;
    if (asked != NULL && (alias != NULL || !voices->fallback[0] || !is_standard(asked) || is_stored(store, asked))) {
        (void)memmove(name, alias != NULL ? alias->voice : asked, strlen(alias != NULL ? alias->voice : asked) + 1);
        return true;
    }
    alias = find(voices, voices->fallback);
    (void)memcpy(name, alias != NULL ? alias->voice : voices->fallback, TMB_NAME_SIZE);
    return name[0] != 0;
}
