#include "server/config.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/text.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define AT(field) offsetof(tmb_server_config, field)
#define TEXT(option_name, field, option_argument, default_, option_choices, text)                                      \
    {                                                                                                                  \
        .name = option_name, .argument = option_argument, .fallback = default_, .help = text, .offset = AT(field),     \
        .kind = TMB_OPTION_TEXT, .choices = option_choices                                                             \
    }
#define LIST(option_name, field, option_argument, text)                                                                \
    {                                                                                                                  \
        .name = option_name, .argument = option_argument, .fallback = "", .help = text, .offset = AT(field),           \
        .kind = TMB_OPTION_TEXT, .repeats = true                                                                       \
    }
#define NUMBER(option_kind, option_name, option_argument, field, least, most, default_, text)                          \
    {                                                                                                                  \
        .name = option_name, .argument = option_argument, .fallback = default_, .help = text, .offset = AT(field),     \
        .kind = option_kind, .minimum = least, .maximum = most                                                         \
    }
#define COUNT(name, field, least, most, default_, text)                                                                \
    NUMBER(TMB_OPTION_COUNT, name, "N", field, least, most, default_, text)
#define BYTES(name, field, least, most, default_, text)                                                                \
    NUMBER(TMB_OPTION_BYTES, name, "BYTES", field, least, most, default_, text)
#define SECONDS(name, field, least, most, default_, text)                                                              \
    NUMBER(TMB_OPTION_SECONDS, name, "SECONDS", field, least, most, default_, text)
#define SWITCH(option_name, field, text)                                                                               \
    { .name = option_name, .fallback = "no", .help = text, .offset = AT(field), .kind = TMB_OPTION_SWITCH }

#define GIB (1024.0 * 1024 * 1024)

static const tmb_server_option options[] = {
    TEXT("host", host, "ADDRESS", "127.0.0.1", NULL,
         "address to listen on; any but a loopback address needs --keys-file"),
    COUNT("port", port, 0, 65535, "8077", "TCP port; 0 = any free one"),
    TEXT("state-dir", state_dir, "DIR", "", NULL, "jobs, files and voices; default $XDG_STATE_HOME/timbre"),
    TEXT("audio-root", audio_root, "DIR", "", NULL,
         "folder whose files requests may name as ref_audio; not set = none"),
    TEXT("keys-file", keys_file, "FILE", "", NULL,
         "API keys, one a line: [NAME] KEY or [NAME] sha256:HEX; SIGHUP reads it again"),
    SWITCH("preload", preload, "load the models before listening"),

    TEXT("engine", engine, "NAME", "auto", "auto|preview|qwen3|remote", "what speaks"),
    TEXT("model", model, "DIR", "", NULL, "folder of a Qwen3-TTS Base checkpoint, or 0.6b or 1.7b"),
    TEXT("precision", precision, "NAME", "auto", NULL, "auto, f32, bf16, int8, int4, or one per network"),
    TEXT("denoiser", denoiser, "FILE", "", NULL, "DeepFilterNet3 archive"),
    TEXT("remote-url", remote_url, "URL", "", NULL, "speech server of --engine remote"),
    TEXT("remote-key-file", remote_key_file, "FILE", "", NULL, "file with the key for --remote-url"),
    COUNT("threads", threads, 0, 1024, "0", "threads of one model step; 0 = all CPUs"),
    COUNT("resample-workers", resample_workers, 1, 64, "3", "files resampled at once"),
    COUNT("enhance-workers", enhance_workers, 1, 64, "3", "files denoised at once"),
    COUNT("max-batch", max_batch, 0, 1024, "0", "sequences spoken at once; 0 = the engine's choice"),
    SECONDS("max-batch-wait", max_batch_wait, 0, 10, "0", "how long an empty batch waits for company"),
    COUNT("max-waiting-items", max_waiting_items, 1, 1e6, "1024", "items that may wait; more are refused with 503"),
    COUNT("voice-cache", voice_cache_entries, 0, 1e6, "64", "prepared voices kept in memory"),
    BYTES("memory", memory, 0, 1e15, "0",
          "budget for models and sequences; 0 = three quarters of the machine's or cgroup's"),
    SECONDS("idle-unload", idle_unload, 0, 1e9, "0", "drop a model after so long without work; 0 = never"),

    BYTES("max-json-bytes", max_json_bytes, 1024, 1 * GIB, "32M", "largest JSON body"),
    BYTES("max-upload-bytes", max_upload_bytes, 1024, 64 * GIB, "25M", "largest uploaded or embedded file"),
    BYTES("max-body-memory", max_body_memory, 1024 * 1024, 1024 * GIB, "512M",
          "memory for all bodies under way; one client has three quarters of it at most"),
    COUNT("max-text", max_text, 1, 1e6, "4096", "characters in one text"),
    COUNT("max-items", max_items, 1, 1e5, "128", "items in one request"),
    COUNT("max-references", max_references, 1, 1e5, "64", "different ref_audio in one request"),
    SECONDS("max-reference-seconds", max_reference_seconds, 1, 1e6, "600", "longest reference"),
    SWITCH("no-ffmpeg", no_ffmpeg, "never start ffmpeg, which decodes what timbre does not and encodes AAC"),
    SECONDS("max-input-seconds", max_input_seconds, 1, 1e6, "1800", "longest file to enhance"),
    SECONDS("max-speech-seconds", max_speech_seconds, 1, 1e6, "600", "longest speech of one item"),
    COUNT("max-connections", max_connections, 4, 1e5, "512", "open connections"),
    COUNT("max-connections-per-address", max_connections_per_address, 0, 1e5, "0",
          "open connections of one address; 0 = a quarter of --max-connections, and no limit for loopback addresses"),
    COUNT("max-jobs", max_jobs, 1, 1e6, "64", "unfinished jobs in the queue; more are refused with 503"),
    COUNT("max-job-items", max_job_items, 1, 1e6, "1000", "items in one job"),
    COUNT("max-enhancing", max_enhancing, 1, 1e5, "64", "enhance requests that may wait; more are refused with 503"),
    COUNT("rate-limit", rate_limit, 0, 1e6, "600", "requests a minute for each key; 0 = no limit"),

    SECONDS("header-timeout", header_timeout, 0.1, 3600, "10", "for a request's head to arrive, from its first byte"),
    SECONDS("idle-timeout", idle_timeout, 1, 3600, "30", "without a byte in a body, an answer, or between requests"),
    SECONDS("job-deadline", job_deadline, 1, 1e6, "600", "for one item of a request, from its arrival"),
    SECONDS("drain-grace", drain_grace, 0, 1e6, "30", "for running items after SIGTERM"),
    SECONDS("stream-ahead", stream_ahead, 0.1, 3600, "5", "audio that generation may be ahead of a slow reader"),

    SECONDS("keep-files", keep_files, 1, 3650 * 86400.0, "24h", "a file's life"),
    SECONDS("keep-jobs", keep_jobs, 1, 3650 * 86400.0, "7d", "a finished job's life"),
    BYTES("max-storage", max_storage, 0, 1e15, "10G", "files and voices together; 0 = as the disk allows"),

    TEXT("default-voice", default_voice, "NAME", "", NULL,
         "voice for requests that name none, or one of OpenAI's own that is not stored; not set = none"),
    LIST("voice-alias", voice_alias, "NAME=VOICE,...", "other names of stored voices; may be given more than once"),
    SWITCH("open-listing", open_listing, "list voices and models without a key"),
    SWITCH("no-preview", no_preview, "end at the start if there is no model, rather than speak with the preview voice"),

    LIST("cors-origin", cors_origin, "ORIGIN,...",
         "web pages of these origins may use the API; * with --keys-file is any; may be given more than once"),
    TEXT("allow-ref-url", allow_ref_url, "HOSTS", "", NULL,
         "hosts (comma between) from which ref_audio may be fetched; not set = none"),
    SWITCH("allow-private-ref-url", allow_private_ref_url, "let --allow-ref-url reach private and loopback addresses"),

    TEXT("log-level", log_level, "LEVEL", "info", "error|warning|info|debug", "what is logged"),
    TEXT("log-format", log_format, "FORMAT", "text", "text|json", "lines for people or JSON"),
    COUNT("http-threads", http_threads, 1, 64, "2", "threads that serve connections"),
};

enum { option_count = sizeof(options) / sizeof(options[0]) };
_Static_assert(option_count <= TMB_SERVER_OPTION_LIMIT, "sources of all options");

const tmb_server_option *tmb_server_options(size_t *count) {
    *count = option_count;
    return options;
}

static bool is_choice(const char *choices, const char *value) {
    size_t length = strlen(value);
    for (const char *at = choices; at; at = strchr(at, '|') ? strchr(at, '|') + 1 : NULL) {
        if (length && strncmp(at, value, length) == 0 && (at[length] == 0 || at[length] == '|')) {
            return true;
        }
    }
    return false;
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
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "%s %s: \"%s\" is not a %s from %g to %g", from, option->name, value,
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
    if (option->kind == TMB_OPTION_SWITCH) {
        static const char *const yes[] = {"yes", "true", "1", "on"};
        static const char *const no[] = {"no", "false", "0", "off", ""};
        for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++) {
            if (strcasecmp(value, yes[i]) == 0) {
                *(bool *)field = true;
                return TMB_OK;
            }
        }
        for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++) {
            if (strcasecmp(value, no[i]) == 0) {
                *(bool *)field = false;
                return TMB_OK;
            }
        }
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "%s %s: \"%s\" is neither yes nor no", from, option->name, value);
    }
    if (option->kind != TMB_OPTION_TEXT) {
        return set_number(config, option, value, from, error);
    }
    if (option->choices && !is_choice(option->choices, value)) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "%s %s: \"%s\" is not one of %s", from, option->name, value,
                        option->choices);
    }
    char *copy = tmb_strdup(value);
    if (!copy) {
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
    if (!longer) {
        return tmb_fail_memory(error, option->name, size);
    }
    (void)snprintf(longer, size, "%s,%s", *field, value);
    free(*field);
    *field = longer;
    return TMB_OK;
}

/* The option that a name of `length` bytes means; '_' and '-' are the same. */
static const tmb_server_option *find(const char *name, size_t length) {
    for (size_t i = 0; i < option_count; i++) {
        const char *candidate = options[i].name;
        size_t at = 0;
        while (at < length && candidate[at] &&
               (name[at] == candidate[at] || (name[at] == '_' && candidate[at] == '-'))) {
            at++;
        }
        if (at == length && !candidate[at]) {
            return &options[i];
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
        if (end) {
            *end = 0;
            return value + 1;
        }
        return value;
    }
    char *comment = strstr(value, " #");
    if (comment) {
        *comment = 0;
    }
    return trim(value);
}

/* "key = value" lines; '#' and ';' begin comments, [sections] are ignored, values may be in quotes. */
static tmb_status read_file(tmb_server_config *config, tmb_config_sources *sources, const char *path, FILE *warnings,
                            tmb_error *error) {
    FILE *file = fopen(path, "re");
    if (!file) {
        return tmb_fail_errno(error, TMB_ERROR_IO, errno, "config file %s", path);
    }
    char line[4096];
    tmb_status status = TMB_OK;
    for (int number = 1; status == TMB_OK && fgets(line, sizeof(line), file); number++) {
        char *key = trim(line);
        if (!*key || *key == '#' || *key == ';' || *key == '[') {
            continue;
        }
        char *equals = strchr(key, '=');
        char from[PATH_MAX + 32];
        (void)snprintf(from, sizeof(from), "%s:%d:", path, number);
        if (!equals) {
            status = tmb_fail(error, TMB_ERROR_ARGUMENT, "%s \"%s\" is not \"key = value\"", from, key);
            break;
        }
        *equals = 0;
        char *value = unquote(trim(equals + 1));
        key = trim(key);
        const tmb_server_option *option = find(key, strlen(key));
        if (!option) {
            (void)fprintf(warnings, "warning: %s unknown key \"%s\" is ignored\n", from, key);
            continue;
        }
        bool again = option->repeats && strcmp(sources->source[option - options], "file") == 0;
        status = again ? add(config, option, value, error) : set(config, option, value, from, error);
        sources->source[option - options] = "file";
    }
    (void)fclose(file);
    return status;
}

/* TIMBRE_STATE_DIR and so on. */
static tmb_status read_environment(tmb_server_config *config, tmb_config_sources *sources, tmb_error *error) {
    for (size_t i = 0; i < option_count; i++) {
        char name[64];
        (void)snprintf(name, sizeof(name), "TIMBRE_%s", options[i].name);
        for (char *at = name; *at; at++) {
            *at = *at == '-' ? '_' : (char)toupper((unsigned char)*at);
        }
        const char *value = getenv(name);
        if (value) {
            tmb_status status = set(config, &options[i], value, name, error);
            if (status != TMB_OK) {
                return status;
            }
            sources->source[i] = "environment";
        }
    }
    return TMB_OK;
}

/* What systemd and the XDG folders offer where nothing else was said. */
static tmb_status read_folders(tmb_server_config *config, tmb_config_sources *sources, tmb_error *error) {
    const tmb_server_option *state = find("state-dir", 9);
    const tmb_server_option *keys = find("keys-file", 9);
    char path[PATH_MAX];
    const char *credentials = getenv("CREDENTIALS_DIRECTORY");
    if (credentials && strcmp(sources->source[keys - options], "default") == 0) {
        (void)snprintf(path, sizeof(path), "%s/api-keys", credentials);
        if (access(path, R_OK) == 0) {
            tmb_status status = set(config, keys, path, "systemd", error);
            if (status != TMB_OK) {
                return status;
            }
            sources->source[keys - options] = "systemd";
        }
    }
    if (config->state_dir[0]) {
        return TMB_OK;
    }
    const char *folder = getenv("STATE_DIRECTORY");
    if (folder && folder[0]) {
        /* Several are separated by ':'; the first is ours. */
        (void)snprintf(path, sizeof(path), "%.*s", (int)strcspn(folder, ":"), folder);
        sources->source[state - options] = "systemd";
    } else if ((folder = getenv("XDG_STATE_HOME")) && folder[0] == '/') {
        (void)snprintf(path, sizeof(path), "%s/timbre", folder);
    } else if ((folder = getenv("HOME")) && folder[0] == '/') {
        (void)snprintf(path, sizeof(path), "%s/.local/state/timbre", folder);
    } else {
        return tmb_fail(error, TMB_ERROR_ARGUMENT,
                        "neither --state-dir nor HOME is set: say where to keep jobs, files and voices");
    }
    return set(config, state, path, "default", error);
}

/* The config file to read: `named`, else the user's, else the machine's; false where there is none. */
static bool find_config_file(const char *named, char path[PATH_MAX]) {
    if (named) {
        (void)snprintf(path, PATH_MAX, "%s", named);
        return true;
    }
    const char *folder = getenv("XDG_CONFIG_HOME");
    if (folder && folder[0] == '/') {
        (void)snprintf(path, PATH_MAX, "%s/timbre/serve.conf", folder);
    } else {
        const char *home = getenv("HOME");
        (void)snprintf(path, PATH_MAX, "%s/.config/timbre/serve.conf", home ? home : "");
    }
    if (access(path, R_OK) == 0) {
        return true;
    }
    (void)snprintf(path, PATH_MAX, "/etc/timbre/serve.conf");
    return access(path, R_OK) == 0;
}

/* Goes over the flags: with `config` sets them, without only looks for --config, --help, --print-config. */
static tmb_status read_flags(tmb_server_config *config, tmb_config_sources *sources, int count, char *const *arguments,
                             const char **config_file, tmb_config_action *action, tmb_error *error) {
    for (int i = 0; i < count; i++) {
        const char *flag = arguments[i];
        if (strcmp(flag, "--help") == 0 || strcmp(flag, "-h") == 0) {
            *action = TMB_CONFIG_HELP;
            continue;
        }
        if (strcmp(flag, "--print-config") == 0) {
            *action = *action == TMB_CONFIG_HELP ? *action : TMB_CONFIG_PRINT;
            continue;
        }
        if (strncmp(flag, "--", 2) != 0) {
            return tmb_fail(error, TMB_ERROR_ARGUMENT, "\"%s\" is not an option: see timbre serve --help", flag);
        }
        const char *equals = strchr(flag, '=');
        size_t length = equals ? (size_t)(equals - flag - 2) : strlen(flag + 2);
        bool is_config = length == 6 && strncmp(flag + 2, "config", 6) == 0;
        const tmb_server_option *option = is_config ? NULL : find(flag + 2, length);
        if (!is_config && !option) {
            return tmb_fail(error, TMB_ERROR_ARGUMENT, "unknown option \"%.*s\": see timbre serve --help",
                            (int)length + 2, flag);
        }
        const char *value = equals ? equals + 1 : NULL;
        if (!value && option && option->kind == TMB_OPTION_SWITCH) {
            value = "yes";
        } else if (!value) {
            if (i + 1 >= count) {
                return tmb_fail(error, TMB_ERROR_ARGUMENT, "option %s needs a value", flag);
            }
            value = arguments[++i];
        }
        if (is_config) {
            *config_file = value;
        } else if (config) {
            bool again = option->repeats && strcmp(sources->source[option - options], "flag") == 0;
            tmb_status status = again ? add(config, option, value, error) : set(config, option, value, "option", error);
            if (status != TMB_OK) {
                return status;
            }
            sources->source[option - options] = "flag";
        }
    }
    return TMB_OK;
}

tmb_status tmb_server_config_load(tmb_server_config *config, tmb_config_sources *sources, int count,
                                  char *const *arguments, FILE *warnings, tmb_config_action *action, tmb_error *error) {
    memset(config, 0, sizeof(*config));
    memset(sources, 0, sizeof(*sources));
    *action = TMB_CONFIG_RUN;
    tmb_status status = TMB_OK;
    for (size_t i = 0; status == TMB_OK && i < option_count; i++) {
        status = set(config, &options[i], options[i].fallback, "default", error);
        sources->source[i] = "default";
    }
    const char *named = NULL;
    if (status == TMB_OK) {
        status = read_flags(NULL, sources, count, arguments, &named, action, error);
    }
    if (status != TMB_OK || *action == TMB_CONFIG_HELP) {
        return status;
    }
    char path[PATH_MAX];
    if (find_config_file(named ? named : getenv("TIMBRE_CONFIG"), path)) {
        sources->file = tmb_strdup(path);
        status = read_file(config, sources, path, warnings, error);
    }
    if (status == TMB_OK) {
        status = read_environment(config, sources, error);
    }
    if (status == TMB_OK) {
        status = read_flags(config, sources, count, arguments, &named, action, error);
    }
    return status == TMB_OK ? read_folders(config, sources, error) : status;
}

void tmb_server_config_print(const tmb_server_config *config, const tmb_config_sources *sources, FILE *out) {
    (void)fprintf(out, "# %s\n", sources->file ? sources->file : "no config file");
    for (size_t i = 0; i < option_count; i++) {
        const void *field = (const char *)config + options[i].offset;
        char value[PATH_MAX];
        switch (options[i].kind) {
        case TMB_OPTION_TEXT: (void)snprintf(value, sizeof(value), "\"%s\"", *(char *const *)field); break;
        case TMB_OPTION_SECONDS: (void)snprintf(value, sizeof(value), "%g", *(const double *)field); break;
        case TMB_OPTION_SWITCH: (void)snprintf(value, sizeof(value), "%s", *(const bool *)field ? "yes" : "no"); break;
        case TMB_OPTION_COUNT:
        case TMB_OPTION_BYTES:
        default: (void)snprintf(value, sizeof(value), "%llu", (unsigned long long)*(const uint64_t *)field); break;
        }
        (void)fprintf(out, "%s = %s # %s\n", options[i].name, value, sources->source[i]);
    }
}

void tmb_server_config_free(tmb_server_config *config, tmb_config_sources *sources) {
    for (size_t i = 0; i < option_count; i++) {
        if (options[i].kind == TMB_OPTION_TEXT) {
            char **field = (char **)((char *)config + options[i].offset);
            free(*field);
            *field = NULL;
        }
    }
    free(sources->file);
    sources->file = NULL;
}
