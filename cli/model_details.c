#include "model_details.h"

#include <string.h>

static const char *const precisions[] = {"f32", "bf16", "int8", "int4"};

/* Memory at each precision; 0: not known. */
static void find_sizes(const char *model, uint64_t sizes[4]) {
    for (size_t i = 0; i < CLI_LENGTH(precisions); i++) {
        if (tmb_model_bytes(model, precisions[i], &sizes[i], NULL) != TMB_OK) {
            sizes[i] = 0;
        }
    }
}

static const char *what_it_does(const tmb_model_description *m) {
    return m->clones             ? "clones voices"
           : m->designs          ? "makes voices from descriptions"
           : m->follows_instruct ? "speaks with its own speakers, and follows instructions"
                                 : "speaks with its own speakers, and follows no instructions";
}

/* "0b6" is 0.6B to people. */
static const char *size_name(const char *size) {
    return strcmp(size, "0b6") == 0   ? "0.6B"
           : strcmp(size, "1b7") == 0 ? "1.7B"
           : size[0] != '\0'          ? size
                                      : "size unknown";
}

static void append(char *out, size_t size, const char *separator, const char *text) {
    size_t used = strlen(out);
    if (used + strlen(separator) + strlen(text) + 1 <= size) {
        (void)snprintf(out + used, size - used, "%s%s", used > 0 ? separator : "", text);
    }
}

static void list_speakers(const tmb_model_description *m, char *out, size_t size) {
    out[0] = '\0';
    for (size_t i = 0; i < m->speaker_count; i++) {
        char text[400];
        bool plain = m->speaker_dialects[i][0] == '\0';
        (void)snprintf(text, sizeof text, plain ? "%s" : "%s (%s)", m->speakers[i], m->speaker_dialects[i]);
        append(out, size, ", ", text);
    }
}

static void list_names(const char *const *names, size_t count, char *out, size_t size) {
    out[0] = '\0';
    for (size_t i = 0; i < count; i++) {
        append(out, size, ", ", names[i]);
    }
}

static void list_sizes(const char *model, char *out, size_t size) {
    uint64_t sizes[4];
    find_sizes(model, sizes);
    out[0] = '\0';
    for (size_t i = 0; i < CLI_LENGTH(precisions); i++) {
        char bytes[32], text[64];
        if (sizes[i] != 0) {
            (void)snprintf(text, sizeof text, "%s %s", precisions[i], cli_format_bytes(sizes[i], bytes, sizeof bytes));
            append(out, size, ", ", text);
        }
    }
}

static void print_field(const char *name, const char *text) {
    char line[9000];
    if (text[0] != '\0') {
        (void)snprintf(line, sizeof line, "%-12s %s", name, text);
        cli_print_line(line);
    }
}

static void print_description(void *user, const tmb_model_description *m) {
    char text[8192];
    (void)snprintf(text, sizeof text, "%s (%s, %s)", m->name, m->kind, size_name(m->size));
    print_field("model", text);
    print_field("folder", m->folder != NULL ? m->folder : "");
    print_field("what", what_it_does(m));
    list_speakers(m, text, sizeof text);
    print_field("speakers", text);
    list_names(m->languages, m->language_count, text, sizeof text);
    print_field("languages", text);
    list_names(m->dialects, m->dialect_count, text, sizeof text);
    print_field("dialects", text);
    list_sizes(user, text, sizeof text);
    print_field("in memory", text);
}

static json_t *json_list(const char *const *names, size_t count) {
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        (void)json_array_append_new(list, cli_json_text(names[i]));
    }
    return list;
}

typedef struct described {
    const char *model;
    json_t *object;
} described;

static void make_json(void *user, const tmb_model_description *m) {
    described *d = user;
    uint64_t sizes[4];
    json_t *speakers = json_array(), *memory = json_object();
    for (size_t i = 0; i < m->speaker_count; i++) {
        bool plain = m->speaker_dialects[i][0] == '\0';
        json_t *speaker = json_pack("{s:o}", "name", cli_json_text(m->speakers[i]));
        (void)json_object_set_new(speaker, "dialect", plain ? json_null() : cli_json_text(m->speaker_dialects[i]));
        (void)json_array_append_new(speakers, speaker);
    }
    find_sizes(d->model, sizes);
    for (size_t i = 0; i < CLI_LENGTH(precisions); i++) {
        (void)json_object_set_new(memory, precisions[i], json_integer((json_int_t)sizes[i]));
    }
    d->object = json_pack("{s:o, s:s, s:s, s:s, s:o, s:b, s:b, s:b}", "name", cli_json_text(m->name), "engine",
                          m->engine, "kind", m->kind, "size", m->size, "folder", cli_json_text(m->folder), "clones",
                          m->clones, "designs", m->designs, "follows_instruct", m->follows_instruct);
    (void)json_object_set_new(d->object, "speakers", speakers);
    (void)json_object_set_new(d->object, "languages", json_list(m->languages, m->language_count));
    (void)json_object_set_new(d->object, "dialects", json_list(m->dialects, m->dialect_count));
    (void)json_object_set_new(d->object, "memory", memory);
}

json_t *cli_model_json(const char *model, tmb_error *error) {
    described d = {.model = model};
    return tmb_describe_model(model, make_json, &d, error) == TMB_OK ? d.object : NULL;
}

typedef struct summary {
    const char *model;
    char *out;
    size_t size;
} summary;

static void summarize(void *user, const tmb_model_description *m) {
    const summary *s = user;
    char speakers[700], sizes[200], languages[400], dialects[300];
    list_speakers(m, speakers, sizeof speakers);
    list_sizes(s->model, sizes, sizeof sizes);
    list_names(m->languages, m->language_count, languages, sizeof languages);
    list_names(m->dialects, m->dialect_count, dialects, sizeof dialects);
    (void)snprintf(s->out, s->size, "%s (%s, %s): %s%s%s; languages %s%s%s; in memory %s", m->name, m->kind,
                   size_name(m->size), what_it_does(m), speakers[0] != '\0' ? ": " : "", speakers, languages,
                   dialects[0] != '\0' ? "; dialects " : "", dialects, sizes);
}

bool cli_describe_model(const char *model, char *out, size_t size, tmb_error *error) {
    summary s = {model, out, size};
    return tmb_describe_model(model, summarize, &s, error) == TMB_OK;
}

static int fail(const tmb_error *error) {
    cli_error("%s", error->message);
    return cli_exit_of_model(error->status);
}

int cli_print_model_details(const char *model, bool json) {
    tmb_error error = {0};
    const char *path = cli_model_path(model);
    if (!json) {
        return tmb_describe_model(path, print_description, (void *)(uintptr_t)path, &error) == TMB_OK ? CLI_EXIT_OK
                                                                                                      : fail(&error);
    }
    json_t *object = cli_model_json(path, &error);
    if (object == NULL) {
        cli_print_json(json_pack("{s:o, s:o}", "model", cli_json_text(path), "error", cli_json_error(&error)));
        return fail(&error);
    }
    cli_print_json(object);
    return CLI_EXIT_OK;
}
