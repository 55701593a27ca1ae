#include "server/config.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/text.h"
#include "base/url.h"
#include "base/utf8.h"
#include "queue/store.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool is_choice(const char *choices, const char *value) {
    size_t length = strlen(value);
    for (const char *at = choices; at != NULL; at = strchr(at, '|') != NULL ? strchr(at, '|') + 1 : NULL) {
        if (length && strncmp(at, value, length) == 0 && (at[length] == 0 || at[length] == '|')) {
            return true;
        }
    }
    return false;
}

/* How a message names what was set: a flag as it is written, a variable by its name alone, a line of a file with the
 * key behind it. */
static const char *name_of(const tmb_server_option *option, const char *from, char out[PATH_MAX + 100]) {
    if (strcmp(from, "--") == 0) {
        (void)snprintf(out, PATH_MAX + 100, "--%s", option->name);
    } else if (strncmp(from, "TIMBRE_", 7) == 0) {
        (void)snprintf(out, PATH_MAX + 100, "%s", from);
    } else {
        (void)snprintf(out, PATH_MAX + 100, "%s %s", from, option->name);
    }
    return out;
}

static tmb_status set_number(tmb_server_config *config, const tmb_server_option *option, const char *value,
                             const char *from, tmb_error *error) {
    void *field = (char *)config + option->offset;
    double number = 0;
    uint64_t integer = 0;
    bool good = false;
    if (option->kind == TMB_OPTION_SECONDS) {
        good = tmb_parse_seconds(value, &number);
    } else {
        bool digits = value[0] && strspn(value, "0123456789") == strlen(value);
        good = (option->kind == TMB_OPTION_BYTES || digits) && tmb_parse_bytes(value, &integer);
        number = (double)integer;
    }
    if (!good || number < option->minimum || number > option->maximum) {
        char name[PATH_MAX + 100];
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "%s: \"%s\" is not a %s from %g to %g", name_of(option, from, name),
                        value,
                        option->kind == TMB_OPTION_SECONDS ? "time"
                        : option->kind == TMB_OPTION_BYTES ? "size"
                                                           : "number",
                        option->minimum, option->maximum);
    }
    if (option->kind == TMB_OPTION_SECONDS) {
        *(double *)field = number;
    } else {
        *(uint64_t *)field = integer;
    }
    return TMB_OK;
}

static tmb_status set(tmb_server_config *config, const tmb_server_option *option, const char *value, const char *from,
                      tmb_error *error) {
    void *field = (char *)config + option->offset;
    char name[PATH_MAX + 100];
    if (option->kind == TMB_OPTION_SWITCH) {
        static const char *const yes[] = {"yes", "true", "1", "on"};
        static const char *const no[] = {"no", "false", "0", "off", ""};
        for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++) {
            if (strcasecmp(value, yes[i]) == 0) {
                *(bool *)field = true;
                return TMB_OK;
            }
        }
        for (size_t i = 0; i < sizeof no / sizeof no[0]; i++) {
            if (strcasecmp(value, no[i]) == 0) {
                *(bool *)field = false;
                return TMB_OK;
            }
        }
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "%s: \"%s\" is neither yes nor no", name_of(option, from, name),
                        value);
    }
    if (option->kind != TMB_OPTION_TEXT) {
        return set_number(config, option, value, from, error);
    }
    if (option->choices != NULL && !is_choice(option->choices, value)) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "%s: \"%s\" is not one of %s", name_of(option, from, name), value,
                        option->choices);
    }
    char *copy = tmb_strdup(value);
    if (copy == NULL) {
        return tmb_fail_memory(error, option->name, strlen(value));
    }
    free(*(char **)field);
    *(char **)field = copy;
    return TMB_OK;
}

/* Adds to a list. */
static tmb_status add(tmb_server_config *config, const tmb_server_option *option, const char *value, tmb_error *error) {
    char **field = (char **)((char *)config + option->offset);
    size_t size = strlen(*field) + strlen(value) + 2;
    char *longer = tmb_calloc(size, 1);
    if (longer == NULL) {
        return tmb_fail_memory(error, option->name, size);
    }
    (void)snprintf(longer, size, "%s%c%s", *field, option->separator ? option->separator : ',', value);
    free(*field);
    *field = longer;
    return TMB_OK;
}

/* The option that a name of `length` bytes means; '_' and '-' are the same. */
static const tmb_server_option *find(const char *name, size_t length) {
    for (size_t i = 0; i < tmb_server_option_count; i++) {
        const char *candidate = tmb_server_option_table[i].name;
        size_t at = 0;
        while (at < length && candidate[at] &&
               (name[at] == candidate[at] || (name[at] == '_' && candidate[at] == '-'))) {
            at++;
        }
        if (at == length && !candidate[at]) {
            return &tmb_server_option_table[i];
        }
    }
    return NULL;
}

static char *trim(char *text) {
    while (isspace((unsigned char)*text)) {
        text++;
    }
    char *end = text + strlen(text);
    while (end > text && isspace((unsigned char)end[-1])) {
        *--end = 0;
    }
    return text;
}

/* The value without its quotes, or without a comment after it. */
static char *unquote(char *value) {
    if (*value == '"' || *value == '\'') {
        char *end = strchr(value + 1, *value);
        if (end != NULL) {
            *end = 0;
            return value + 1;
        }
        return value;
    }
    char *comment = strstr(value, " #");
    if (comment != NULL) {
        *comment = 0;
    }
    return trim(value);
}

/* "key = value" lines; '#' and ';' begin comments, [sections] are ignored, values may be in quotes. */
static tmb_status read_file(tmb_server_config *config, tmb_config_sources *sources, const char *path, FILE *warnings,
                            tmb_error *error) {
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return tmb_fail_errno(error, TMB_ERROR_IO, errno, "config file %s", path);
    }
    char line[4096];
    tmb_status status = TMB_OK;
    for (int number = 1; status == TMB_OK && fgets(line, sizeof line, file) != NULL; number++) {
        char *key = trim(line);
        if (!*key || *key == '#' || *key == ';' || *key == '[') {
            continue;
        }
        char *equals = strchr(key, '=');
        char from[PATH_MAX + 32];
        (void)snprintf(from, sizeof from, "%s:%d:", path, number);
        if (equals == NULL) {
            status = tmb_fail(error, TMB_ERROR_ARGUMENT, "%s \"%s\" is not \"key = value\"", from, key);
            break;
        }
        *equals = 0;
        char *value = unquote(trim(equals + 1));
        key = trim(key);
        const tmb_server_option *option = find(key, strlen(key));
        if (option == NULL || !tmb_server_option_is_of(option, config->is_worker)) {
            tmb_utf8_one_line(key);
            (void)fprintf(warnings, "warning: %s unknown key \"%s\" is ignored\n", from, key);
            continue;
        }
        bool again = option->repeats && strcmp(sources->source[option - tmb_server_option_table], "file") == 0;
        status = again ? add(config, option, value, error) : set(config, option, value, from, error);
        sources->source[option - tmb_server_option_table] = "file";
    }
    (void)fclose(file);
    return status;
}

/* TIMBRE_STATE_DIR and so on. */
static tmb_status read_environment(tmb_server_config *config, tmb_config_sources *sources, tmb_error *error) {
    for (size_t i = 0; i < tmb_server_option_count; i++) {
        char name[64];
        (void)snprintf(name, sizeof name, "TIMBRE_%s", tmb_server_option_table[i].name);
        for (char *at = name; *at; at++) {
            *at = *at == '-' ? '_' : (char)toupper((unsigned char)*at);
        }
        const char *value = getenv(name);
        if (value != NULL) {
            tmb_status status = set(config, &tmb_server_option_table[i], value, name, error);
            if (status != TMB_OK) {
                return status;
            }
            sources->source[i] = "environment";
        }
    }
    return TMB_OK;
}

/* What systemd and the XDG folders offer if nothing else was said. */
static tmb_status read_folders(tmb_server_config *config, tmb_config_sources *sources, tmb_error *error) {
    const tmb_server_option *state = find("state-dir", 9);
    const tmb_server_option *keys = find("keys-file", 9);
    char path[PATH_MAX];
    const char *credentials = getenv("CREDENTIALS_DIRECTORY");
    if (credentials != NULL && strcmp(sources->source[keys - tmb_server_option_table], "default") == 0) {
        (void)snprintf(path, sizeof path, "%s/api-keys", credentials);
        if (access(path, R_OK) == 0) {
            tmb_status status = set(config, keys, path, "systemd", error);
            if (status != TMB_OK) {
                return status;
            }
            sources->source[keys - tmb_server_option_table] = "systemd";
        }
    }
    if (config->state_dir[0]) {
        return TMB_OK;
    }
    const char *folder = getenv("STATE_DIRECTORY");
    if (folder != NULL && folder[0]) {
        /* Several are separated by ':'; the first is ours. */
        (void)snprintf(path, sizeof path, "%.*s", (int)strcspn(folder, ":"), folder);
        sources->source[state - tmb_server_option_table] = "systemd";
    } else if ((folder = getenv("XDG_STATE_HOME")) != NULL && folder[0] == '/') {
        (void)snprintf(path, sizeof path, "%s/timbre", folder);
    } else if ((folder = getenv("HOME")) != NULL && folder[0] == '/') {
        (void)snprintf(path, sizeof path, "%s/.local/state/timbre", folder);
    } else {
        return tmb_fail(error, TMB_ERROR_ARGUMENT,
                        "neither --state-dir nor HOME is set: say where to keep jobs, files and voices");
    }
    return set(config, state, path, "default", error);
}

/* The config file to read: `named`, otherwise the user's, otherwise the machine's; false if there is none. */
static bool find_config_file(const char *named, const char *name, char path[PATH_MAX]) {
    if (named != NULL) {
        (void)snprintf(path, PATH_MAX, "%s", named);
        return true;
    }
    const char *folder = getenv("XDG_CONFIG_HOME");
    if (folder != NULL && folder[0] == '/') {
        (void)snprintf(path, PATH_MAX, "%s/timbre/%s", folder, name);
    } else {
        const char *home = getenv("HOME");
        (void)snprintf(path, PATH_MAX, "%s/.config/timbre/%s", home != NULL ? home : "", name);
    }
    if (access(path, R_OK) == 0) {
        return true;
    }
    (void)snprintf(path, PATH_MAX, "/etc/timbre/%s", name);
    return access(path, R_OK) == 0;
}

/* A flag that there is not, and which one was likely meant. */
static tmb_status fail_unknown(bool worker, const char *name, size_t length, tmb_error *error) {
    const char *names[TMB_SERVER_OPTION_LIMIT];
    char wrong[80];
    size_t count = 0;
    for (size_t i = 0; i < tmb_server_option_count; i++) {
        if (tmb_server_option_is_of(&tmb_server_option_table[i], worker)) {
            names[count++] = tmb_server_option_table[i].name;
        }
    }
    (void)snprintf(wrong, sizeof wrong, "%.*s", (int)(length < sizeof wrong ? length : sizeof wrong - 1), name);
    const char *nearest = tmb_text_nearest(wrong, names, count);
    if (nearest != NULL) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "unknown option --%s; did you mean --%s?", wrong, nearest);
    }
    return tmb_fail(error, TMB_ERROR_ARGUMENT, "unknown option --%s; `timbre %s --help` lists what there is", wrong,
                    worker ? "worker" : "serve");
}

/* Goes over the flags: with `config` sets them, without only looks for --config, --help, --print-config. */
static tmb_status read_flags(tmb_server_config *config, tmb_config_sources *sources, bool worker, int count,
                             char *const *arguments, const char **config_file, tmb_config_action *action,
                             tmb_error *error) {
    const char *command = worker ? "worker" : "serve";
    for (int i = 0; i < count; i++) {
        const char *flag = arguments[i];
        if (strcmp(flag, "--help") == 0 || strcmp(flag, "-h") == 0) {
            *action = TMB_CONFIG_HELP;
            continue;
        }
        if (strcmp(flag, "--version") == 0) {
            *action = TMB_CONFIG_VERSION;
            return TMB_OK;
        }
        if (strcmp(flag, "--print-config") == 0) {
            *action = *action == TMB_CONFIG_HELP ? *action : TMB_CONFIG_PRINT;
            continue;
        }
        if (strncmp(flag, "--", 2) != 0) {
            return tmb_fail(error, TMB_ERROR_ARGUMENT, "\"%s\" is not an option: see timbre %s --help", flag, command);
        }
        const char *equals = strchr(flag, '=');
        size_t length = equals != NULL ? (size_t)(equals - flag - 2) : strlen(flag + 2);
        bool is_config = length == 6 && strncmp(flag + 2, "config", 6) == 0;
        const tmb_server_option *option = is_config ? NULL : find(flag + 2, length);
        if (!is_config && (option == NULL || !tmb_server_option_is_of(option, worker))) {
            return fail_unknown(worker, flag + 2, length, error);
        }
        const char *value = equals != NULL ? equals + 1 : NULL;
        if (value == NULL && option != NULL && option->kind == TMB_OPTION_SWITCH) {
            value = "yes";
        } else if (value == NULL) {
            if (i + 1 >= count) {
                return tmb_fail(error, TMB_ERROR_ARGUMENT, "%s needs a value", flag);
            }
            value = arguments[++i];
        }
        if (is_config) {
            *config_file = value;
        } else if (config != NULL) {
            bool again = option->repeats && strcmp(sources->source[option - tmb_server_option_table], "flag") == 0;
            tmb_status status = again ? add(config, option, value, error) : set(config, option, value, "--", error);
            if (status != TMB_OK) {
                return status;
            }
            sources->source[option - tmb_server_option_table] = "flag";
        }
    }
    return TMB_OK;
}

/* What goes only with something else. */
static tmb_status check(const tmb_server_config *config, tmb_error *error) {
    if (config->queue[0] && !tmb_store_can_share()) {
        return tmb_fail(error, TMB_ERROR_UNSUPPORTED, "option queue: this timbre was built without Redis (hiredis)");
    }
    if (config->queue[0]) {
        return TMB_OK;
    }
    const char *lonely = config->is_worker                ? "queue"
                         : config->blobs[0]               ? "blobs"
                         : config->need[0]                ? "need"
                         : config->label[0]               ? "label"
                         : config->queue_password_file[0] ? "queue-password-file"
                         : config->work                   ? "work"
                                                          : NULL;
    return lonely == NULL ? TMB_OK
           : config->is_worker
               ? tmb_fail(error, TMB_ERROR_ARGUMENT, "a worker takes items from a queue: give it --queue URL")
               : tmb_fail(error, TMB_ERROR_ARGUMENT, "option %s goes with --queue", lonely);
}

tmb_status tmb_server_config_load(tmb_server_config *config, tmb_config_sources *sources, bool worker, int count,
                                  char *const *arguments, FILE *warnings, tmb_config_action *action, tmb_error *error) {
    memset(config, 0, sizeof *config);
    config->is_worker = worker;
    memset(sources, 0, sizeof *sources);
    *action = TMB_CONFIG_RUN;
    tmb_status status = TMB_OK;
    for (size_t i = 0; status == TMB_OK && i < tmb_server_option_count; i++) {
        bool no_port =
            worker && strcmp(tmb_server_option_table[i].name, "port") == 0; /* nobody listens unless it is asked for */
        status = set(config, &tmb_server_option_table[i], no_port ? "0" : tmb_server_option_table[i].fallback,
                     "default", error);
        sources->source[i] = "default";
    }
    const char *named = NULL;
    if (status == TMB_OK) {
        status = read_flags(NULL, sources, worker, count, arguments, &named, action, error);
    }
    if (status != TMB_OK || *action == TMB_CONFIG_HELP || *action == TMB_CONFIG_VERSION) {
        return status;
    }
    char path[PATH_MAX];
    if (find_config_file(named != NULL ? named : getenv("TIMBRE_CONFIG"), worker ? "worker.conf" : "serve.conf",
                         path)) {
        sources->file = tmb_strdup(path);
        status = read_file(config, sources, path, warnings, error);
    }
    if (status == TMB_OK) {
        status = read_environment(config, sources, error);
    }
    if (status == TMB_OK) {
        status = read_flags(config, sources, worker, count, arguments, &named, action, error);
    }
    status = status == TMB_OK ? check(config, error) : status;
    return status == TMB_OK ? read_folders(config, sources, error) : status;
}

/* A text between quotes; URLs without their password. */
static void print_text(const tmb_server_option *option, const char *text, size_t length, char *out, size_t size) {
    /* --blobs is a folder or a URL. */
    const bool is_url = (option->argument != NULL && strncmp(option->argument, "URL", 3) == 0) ||
                        (strcmp(option->name, "blobs") == 0 && strstr(text, "://") != NULL);
    const bool is_list = is_url && strchr(option->argument, ',') != NULL;
    const char *const end = text + length;
    size_t used = (size_t)snprintf(out, size, "\"");
    while (text < end && used < size) {
        size_t part = is_list ? strcspn(text, ",") : (size_t)(end - text);
        part = part < (size_t)(end - text) ? part : (size_t)(end - text);
        char shown[PATH_MAX];
        (void)snprintf(shown, sizeof shown, "%.*s", (int)part, text);
        used += (size_t)snprintf(out + used, size - used, "%s",
                                 is_url ? tmb_url_show(text, part, shown, sizeof shown) : shown);
        text += part;
        if (text < end && used + 1 < size) {
            out[used++] = *text;
            out[used] = '\0';
        }
        text += text < end;
    }
    if (used + 1 < size) {
        (void)snprintf(out + used, size - used, "\"");
    }
}

/* A list whose values stand one to a line. */
static void print_lines(const tmb_server_option *option, const char *text, const char *source, FILE *out) {
    while (*text) {
        size_t length = strcspn(text, (char[]){option->separator, 0});
        char value[PATH_MAX + 2];
        print_text(option, text, length, value, sizeof value);
        (void)fprintf(out, "%s = %s # %s\n", option->name, value, source);
        text += length + (text[length] != 0);
    }
}

void tmb_server_config_print(const tmb_server_config *config, const tmb_config_sources *sources, FILE *out) {
    (void)fprintf(out, "# %s\n", sources->file != NULL ? sources->file : "no config file");
    for (size_t i = 0; i < tmb_server_option_count; i++) {
        const void *field = (const char *)config + tmb_server_option_table[i].offset;
        char value[PATH_MAX + 2];
        if (!tmb_server_option_is_of(&tmb_server_option_table[i], config->is_worker)) {
            continue;
        }
        switch (tmb_server_option_table[i].kind) {
        case TMB_OPTION_TEXT:
            if (tmb_server_option_table[i].separator &&
                strchr(*(char *const *)field, tmb_server_option_table[i].separator) != NULL) {
                print_lines(&tmb_server_option_table[i], *(char *const *)field, sources->source[i], out);
                continue;
            }
            print_text(&tmb_server_option_table[i], *(char *const *)field, strlen(*(char *const *)field), value,
                       sizeof value);
            break;
        case TMB_OPTION_SECONDS: (void)snprintf(value, sizeof value, "%g", *(const double *)field); break;
        case TMB_OPTION_SWITCH: (void)snprintf(value, sizeof value, "%s", *(const bool *)field ? "yes" : "no"); break;
        case TMB_OPTION_COUNT:
        case TMB_OPTION_BYTES:
        default: (void)snprintf(value, sizeof value, "%llu", (unsigned long long)*(const uint64_t *)field); break;
        }
        (void)fprintf(out, "%s = %s # %s\n", tmb_server_option_table[i].name, value, sources->source[i]);
    }
}

void tmb_server_config_free(tmb_server_config *config, tmb_config_sources *sources) {
    for (size_t i = 0; i < tmb_server_option_count; i++) {
        if (tmb_server_option_table[i].kind == TMB_OPTION_TEXT) {
            char **field = (char **)((char *)config + tmb_server_option_table[i].offset);
            free(*field);
            *field = NULL;
        }
    }
    free(sources->file);
    sources->file = NULL;
}
