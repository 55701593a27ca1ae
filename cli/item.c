#include "speech.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static tmb_status fail(tmb_error *error, tmb_status status, const char *format, ...) TMB_PRINTF(3, 4);
static tmb_status fail(tmb_error *error, tmb_status status, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(error->message, sizeof error->message, format, arguments);
    va_end(arguments);
    error->status = status;
    return status;
}

static tmb_status unknown_field(const char *name, tmb_error *error) {
    enum { MOST = 64 };
    size_t count = 0;
    const tmb_clone_field *fields = tmb_clone_fields(&count);
    const char *names[MOST];
    size_t used = 0;
    for (size_t i = 0; i < count && used < MOST; i++) {
        names[used++] = fields[i].name;
    }
    const char *nearest = cli_nearest(name, names, used);
    if (nearest != NULL) {
        return fail(error, TMB_ERROR_FORMAT, "unknown field \"%.60s\"; did you mean \"%s\"?", name, nearest);
    }
    return fail(error, TMB_ERROR_FORMAT, "unknown field \"%.60s\"", name);
}

static tmb_status set_format(cli_item *item, const char *name, tmb_error *error) {
    static const struct {
        const char *name;
        tmb_container container;
    } formats[] = {
        {"wav", TMB_CONTAINER_WAV},   {"flac", TMB_CONTAINER_FLAC}, {"ogg", TMB_CONTAINER_OGG},
        {"opus", TMB_CONTAINER_OPUS}, {"mp3", TMB_CONTAINER_MP3},   {"pcm", TMB_CONTAINER_RAW},
        {"aac", TMB_CONTAINER_AAC},
    };
    char list[100] = "";
    size_t used = 0;
    for (size_t i = 0; i < CLI_LENGTH(formats); i++) {
        if (strcmp(name, formats[i].name) == 0) {
            item->container = formats[i].container;
            return TMB_OK;
        }
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", i > 0 ? ", " : "", formats[i].name);
    }
    return fail(error, TMB_ERROR_FORMAT, "response_format is \"%.20s\", not one of %s", name, list);
}

static tmb_status set_number(const tmb_clone_field *f, void *place, const json_t *value, tmb_error *error) {
    double number = json_number_value(value);
    bool whole = f->type != TMB_CLONE_NUMBER;
    if (!json_is_number(value) || (whole && number != floor(number))) {
        return fail(error, TMB_ERROR_FORMAT, "%s is not a %snumber", f->name, whole ? "whole " : "");
    }
    if (number < f->minimum || number > f->maximum) {
        return fail(error, TMB_ERROR_FORMAT, "%s is %g, not within %g to %g", f->name, number, f->minimum, f->maximum);
    }
    if (f->type == TMB_CLONE_INTEGER) {
        *(int *)place = (int)number;
    } else if (f->type == TMB_CLONE_LENGTH) {
        *(size_t *)place = (size_t)number;
    } else {
        *(double *)place = number;
    }
    return TMB_OK;
}

/* A whole number, or the text of one, as results give seeds of 64 bits. */
static tmb_status set_seed(cli_item *item, const json_t *value, tmb_error *error) {
    const cli_option option = {.kind = CLI_UNSIGNED};
    cli_unsigned seed = {0};
    char reason[64];
    if (json_is_integer(value) && json_integer_value(value) >= 0) {
        seed = (cli_unsigned){true, (uint64_t)json_integer_value(value)};
    } else if (json_is_string(value)) {
        (void)cli_parse_value(&option, &seed, json_string_value(value), reason, sizeof reason);
    }
    if (!seed.given) {
        return fail(error, TMB_ERROR_FORMAT, "seed is not a whole number from 0 to 18446744073709551615");
    }
    item->request.has_seed = true;
    item->request.seed = seed.value;
    return TMB_OK;
}

static tmb_status set_level(cli_item *item, const tmb_clone_field *f, const char *name, tmb_error *error) {
    for (int i = 0; f->choices[i] != NULL; i++) {
        if (strcmp(f->choices[i], name) == 0) {
            item->request.pre.level = item->request.post.level = (tmb_level_mode)i;
            return TMB_OK;
        }
    }
    return fail(error, TMB_ERROR_FORMAT, "%s is \"%s\", which is neither auto nor off", f->name, name);
}

static tmb_status set_field(cli_item *item, const tmb_clone_field *f, const json_t *value, tmb_error *error) {
    void *place = (char *)&item->request + f->offset;
    if (json_is_null(value)) {
        return TMB_OK;
    }
    switch (f->type) {
    case TMB_CLONE_NUMBER:
    case TMB_CLONE_INTEGER:
    case TMB_CLONE_LENGTH: return set_number(f, place, value, error);
    case TMB_CLONE_SEED: return set_seed(item, value, error);
    case TMB_CLONE_BOOLEAN:
        if (!json_is_boolean(value)) {
            return fail(error, TMB_ERROR_FORMAT, "%s is neither true nor false", f->name);
        }
        *(bool *)place = json_is_true(value);
        return TMB_OK;
    case TMB_CLONE_TEXT:
    case TMB_CLONE_LANGUAGE:
    case TMB_CLONE_LEVEL:
    case TMB_CLONE_FORMAT: break;
    }
    if (!json_is_string(value)) {
        return fail(error, TMB_ERROR_FORMAT, "%s is not a text", f->name);
    }
    if (json_string_length(value) == 0 && (f->flags & TMB_CLONE_EMPTY_IS_NONE)) {
        return TMB_OK;
    }
    if (f->type == TMB_CLONE_FORMAT) {
        return set_format(item, json_string_value(value), error);
    }
    if (f->type == TMB_CLONE_LEVEL) {
        return set_level(item, f, json_string_value(value), error);
    }
    *(const char **)place = json_string_value(value);
    return TMB_OK;
}

/* The path as seen from the batch file; NULL: no memory. */
static char *complete_path(const char *folder, const char *path) {
    size_t size = strlen(folder) + strlen(path) + 2;
    char *complete = malloc(size);
    if (complete != NULL && (path[0] == '/' || folder[0] == '\0')) {
        (void)snprintf(complete, size, "%s", path);
    } else if (complete != NULL) {
        (void)snprintf(complete, size, "%s/%s", folder, path);
    }
    return complete;
}

static tmb_status complete(cli_item *item, const tmb_clone_request *defaults, const char *folder, tmb_error *error) {
    tmb_clone_request *r = &item->request;
    bool own_reference = r->ref_audio != defaults->ref_audio, own_voice = r->voice != defaults->voice;
    bool speaks = r->speaker != defaults->speaker || r->instruct != defaults->instruct;
    if (own_reference && own_voice) {
        return fail(error, TMB_ERROR_FORMAT, "ref_audio and voice exclude each other");
    }
    if ((own_reference || own_voice) && !speaks) { /* the defaults' speaker does not speak in another voice */
        r->speaker = r->instruct = NULL;
    } else if (speaks && !own_reference && !own_voice) {
        r->ref_audio = r->ref_text = r->voice = NULL;
        r->who = TMB_WHO_OWN;
    }
    if (r->streaming_text != defaults->streaming_text || r->non_streaming_text != defaults->non_streaming_text) {
        /* The item's own word goes before the command's. */
        r->non_streaming_text = r->non_streaming_text && r->non_streaming_text != defaults->non_streaming_text;
        r->streaming_text = r->streaming_text && r->streaming_text != defaults->streaming_text;
    }
    if (own_reference) {
        if (cli_is_standard(r->ref_audio)) {
            return fail(error, TMB_ERROR_FORMAT, "ref_audio of a batch cannot be standard input");
        }
        r->voice = NULL;
        /* The transcript of another recording would be wrong for this one. */
        if (r->ref_text == defaults->ref_text) {
            r->ref_text = NULL;
        }
        r->ref_audio = item->ref_audio = complete_path(folder, r->ref_audio);
    } else if (own_voice) {
        r->ref_audio = r->ref_text = NULL;
        r->voice = item->voice = complete_path(folder, r->voice);
    }
    if ((own_reference && item->ref_audio == NULL) || (own_voice && item->voice == NULL)) {
        return fail(error, TMB_ERROR_MEMORY, "no memory for the item");
    }
    if (r->text == NULL) {
        return fail(error, TMB_ERROR_FORMAT, "text is missing");
    }
    if (r->ref_audio != NULL || r->voice != NULL) {
        r->who = TMB_WHO_AUTO;
    } else if (r->who == TMB_WHO_AUTO) {
        return fail(error, TMB_ERROR_FORMAT, "there is neither ref_audio nor voice, nor a speaker or instruct");
    }
    return TMB_OK;
}

tmb_status cli_item_parse(cli_item *item, const char *line, size_t size, const tmb_clone_request *defaults,
                          const char *folder, tmb_error *error) {
    json_error_t problem;
    tmb_status status = TMB_OK;
    const char *name;
    json_t *value;
    *item = (cli_item){.request = *defaults};
    item->object = json_loadb(line, size, JSON_REJECT_DUPLICATES, &problem);
    if (item->object == NULL && cli_is_utf16(line, size)) {
        return fail(error, TMB_ERROR_FORMAT, "the file is UTF-16: save it as UTF-8");
    }
    if (item->object == NULL) {
        return fail(error, TMB_ERROR_FORMAT, "the line is not JSON: %s", problem.text);
    }
    if (!json_is_object(item->object)) {
        return fail(error, TMB_ERROR_FORMAT, "the line is JSON but no object");
    }
    /* The id first: a line that fails further on is still reported by its name. */
    value = json_object_get(item->object, "custom_id");
    if (json_is_string(value)) {
        item->request.custom_id = json_string_value(value);
    }
    json_object_foreach(item->object, name, value) {
        const tmb_clone_field *f = tmb_clone_field_find(name);
        if (f == NULL) {
            return unknown_field(name, error);
        }
        if (strcmp(f->name, name) != 0 && json_object_get(item->object, f->name) != NULL) {
            return fail(error, TMB_ERROR_FORMAT, "%s and %s are the same field: give one of them", f->name, name);
        }
        status = set_field(item, f, value, error);
        if (status != TMB_OK) {
            return status;
        }
    }
    return complete(item, defaults, folder, error);
}

void cli_item_free(cli_item *item) {
    json_decref(item->object);
    free(item->ref_audio);
    free(item->voice);
    *item = (cli_item){0};
}
