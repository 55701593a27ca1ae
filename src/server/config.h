/* The server's settings: one table from which flags, TIMBRE_* environment names, the config file, help and
 * --print-config come. Precedence: flag, environment (TIMBRE_STATE_DIR for --state-dir), config file,
 * systemd's folders, default. */
#ifndef TMB_SERVER_CONFIG_H
#define TMB_SERVER_CONFIG_H

#include "timbre/timbre.h"

#include <stdio.h>

/* Values; texts are owned by the config and never NULL ("" = not set). */
typedef struct tmb_server_config {
    char *host;
    uint64_t port;
    char *state_dir;
    char *audio_root;
    char *keys_file;
    bool preload;

    char *engine, *precision, *device, *denoiser;
    char *model; /* one to a line */
    char *remote_url, *remote_key_file;
    bool overflow;
    double remote_hedge;
    char *transcribe_url, *transcribe_key_file, *transcribe_model;
    uint64_t threads, resample_workers, enhance_workers, max_batch, max_waiting_items, voice_cache_entries;
    double max_batch_wait;
    uint64_t memory, gpu_memory;
    double idle_unload;

    uint64_t max_json_bytes, max_upload_bytes, max_body_memory;
    uint64_t max_text, max_items, max_references;
    bool no_ffmpeg;
    double max_reference_seconds, max_input_seconds, max_speech_seconds;
    uint64_t max_connections, max_connections_per_address;
    uint64_t max_jobs, max_job_items, max_enhancing;
    uint64_t rate_limit; /* requests a minute and key; 0 = none */

    double header_timeout, idle_timeout, job_deadline, drain_grace;
    double stream_ahead; /* seconds of audio that generation may be ahead of its reader */

    double keep_files, keep_jobs;
    uint64_t max_storage;

    char *queue; /* URL of the Redis server that has the jobs; "" = the state folder has them */
    char *queue_password_file, *blobs;
    char *label, *need; /* separated by commas */
    double lease;
    uint64_t max_deliveries;
    bool work;
    bool is_worker; /* it is `timbre worker`, not `timbre serve` */

    char *voices, *default_voice; /* for requests that name none */
    char *voice_alias;            /* "alloy=anna,nova=ben" */
    bool open_listing;            /* voices and models without a key */
    bool no_preview, allow_pull;

    char *cors_origin;   /* separated by commas */
    char *allow_ref_url; /* host names, separated by commas */
    bool allow_private_ref_url;

    char *log_level, *log_format;
    uint64_t http_threads;
} tmb_server_config;

typedef enum tmb_option_kind {
    TMB_OPTION_TEXT,
    TMB_OPTION_COUNT,
    TMB_OPTION_BYTES,   /* uint64_t; K, M, G, T */
    TMB_OPTION_SECONDS, /* double; ms, s, m, h, d */
    TMB_OPTION_SWITCH   /* bool; a flag without an argument, "yes" or "no" elsewhere */
} tmb_option_kind;

typedef struct tmb_server_option {
    const char *name;     /* "state-dir" */
    const char *argument; /* "DIR"; NULL for a switch */
    const char *fallback; /* the default as text */
    const char *help;
    tmb_option_kind kind;
    size_t offset;           /* in tmb_server_config */
    bool repeats;            /* a text: given again it adds to the list, with a comma between */
    char separator;          /* that stands between instead; 0: none */
    double minimum, maximum; /* of counts, bytes and seconds */
    const char *choices;     /* "text|json"; NULL = any text */
    bool is_of_servers;      /* for what takes requests: a worker does not have it */
} tmb_server_option;

/* config_table.c: every option but --help, --config and --print-config. */
extern const tmb_server_option tmb_server_option_table[];
extern const size_t tmb_server_option_count;
/* Whether `timbre serve`, or `timbre worker`, has it. */
bool tmb_server_option_is_of(const tmb_server_option *option, bool worker);

typedef enum tmb_config_action {
    TMB_CONFIG_RUN = 0,
    TMB_CONFIG_PRINT,   /* --print-config */
    TMB_CONFIG_VERSION, /* --version */
    TMB_CONFIG_HELP     /* --help */
} tmb_config_action;

/* Where each value came from, for --print-config; indexed as the options. */
#define TMB_SERVER_OPTION_LIMIT 96
typedef struct tmb_config_sources {
    const char *source[TMB_SERVER_OPTION_LIMIT]; /* "flag", "environment", "file", "systemd", "default" */
    char *file;                                  /* the config file that was read, or NULL */
} tmb_config_sources;

/* Fills `config` from `arguments` [count] (without the program's and the command's name), environment and
 * config file; `worker`: for `timbre worker`, which has a config file of its own, worker.conf. Lines about unknown keys
 * go to `warnings`. TMB_ERROR_ARGUMENT names the option and its range. Free with tmb_server_config_free, on failure
 * too. */
tmb_status tmb_server_config_load(tmb_server_config *config, tmb_config_sources *sources, bool worker, int count,
                                  char *const *arguments, FILE *warnings, tmb_config_action *action, tmb_error *error);
void tmb_server_config_print(const tmb_server_config *config, const tmb_config_sources *sources, FILE *out);
void tmb_server_config_free(tmb_server_config *config, tmb_config_sources *sources);

#endif
