/* Every option of the server and the worker: a row each. config.c reads them from flags, variables and files. */
#include "server/config.h"

#include <stddef.h>
#include <string.h>

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
/* Values that may have commas in them: one to a line. */
#define LINES(option_name, field, option_argument, text)                                                               \
    {                                                                                                                  \
        .name = option_name, .argument = option_argument, .fallback = "", .help = text, .offset = AT(field),           \
        .kind = TMB_OPTION_TEXT, .repeats = true, .separator = '\n'                                                    \
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

const tmb_server_option tmb_server_option_table[] = {
    TEXT("host", host, "ADDRESS", "127.0.0.1", NULL,
         "address to listen on; for a server any but a loopback address needs --keys-file"),
    COUNT("port", port, 0, 65535, "8077", "TCP port; 0 = any free one"),
    TEXT("state-dir", state_dir, "DIR", "", NULL, "jobs, files and voices; default $XDG_STATE_HOME/timbre"),
    TEXT("audio-root", audio_root, "DIR", "", NULL,
         "folder whose files requests may name as ref_audio; not set = none"),
    TEXT("keys-file", keys_file, "FILE", "", NULL,
         "API keys, one a line: [NAME] KEY or [NAME] sha256:HEX; SIGHUP reads it again"),
    SWITCH("preload", preload, "load the models before listening"),

    TEXT("engine", engine, "NAME", "auto", "auto|preview|qwen3|remote", "what speaks"),
    LINES("model", model, "MODEL",
          "folder of a Qwen3-TTS checkpoint, or its name as installed; may be given more than once, as MODEL or "
          "NAME=MODEL: what a request asks decides which one speaks"),
    TEXT("precision", precision, "NAME", "auto", NULL, "auto, f32, bf16, int8, int4, or one per network"),
    TEXT("device", device, "DEVICE", "", NULL, "cpu (the default), cuda or cuda:N (an NVIDIA GPU), or auto"),
    BYTES("gpu-memory", gpu_memory, 0, 1e15, "0",
          "the GPU's memory for models and sequences; 0, and at most, nine tenths of what is free"),
    TEXT("denoiser", denoiser, "FILE", "", NULL, "DeepFilterNet3 archive"),
    LIST("remote-url", remote_url, "URL,...",
         "speech servers of --engine remote, URL or URL#limit=N (requests at once); may be given more than once"),
    TEXT("remote-key-file", remote_key_file, "FILE", "", NULL, "file with the key for --remote-url"),
    SWITCH("overflow", overflow, "send what the batch of this machine has no place for to the servers of --remote-url"),
    SECONDS("remote-hedge", remote_hedge, 0, 3600, "0",
            "without audio, after which a second speech server is asked too; 0 = never"),
    TEXT("transcribe-url", transcribe_url, "URL", "", NULL,
         "speech-to-text server with OpenAI's /v1/audio/transcriptions: writes the ref_text that requests leave out; "
         "not set = none"),
    TEXT("transcribe-model", transcribe_model, "NAME", "whisper-1", NULL, "that server's name of its model"),
    TEXT("transcribe-key-file", transcribe_key_file, "FILE", "", NULL, "file with the key for --transcribe-url"),
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

    TEXT("queue", queue, "URL", "", NULL,
         "share jobs and voices with other servers and workers: redis://[user:password@]host[:port][/db], "
         "rediss://... or unix:PATH"),
    TEXT("queue-password-file", queue_password_file, "FILE", "", NULL, "file with the password for --queue"),
    TEXT("blobs", blobs, "DIR", "", NULL,
         "with --queue: folder that all of them see, or s3://BUCKET/PREFIX, for audio; not set = in Redis, for few and "
         "small files"),
    SWITCH("work", work, "with --queue: run items too, and speak requests here"),
    LIST("need", need, "LABEL,...", "with --queue: labels that a worker must have to run this server's items"),
    LIST("label", label, "LABEL,...",
         "what this worker can do, for --need; engine=NAME and model=NAME come by themselves"),
    SECONDS("lease", lease, 1, 3600, "60",
            "with --queue: a worker that does not show up for so long has lost its items"),
    COUNT("max-deliveries", max_deliveries, 1, 1000, "3",
          "with --queue: workers that an item may take down before it becomes a dead letter"),

    TEXT("voices", voices, "DIR", TMB_SERVER_VOICES, NULL,
         "recordings with a .txt of the same name beside them are stored as voices at the start; empty = none"),
    TEXT("default-voice", default_voice, "NAME", "", NULL,
         "voice for requests that name none, or one of OpenAI's own that is not stored; not set = none"),
    LIST("voice-alias", voice_alias, "NAME=VOICE,...", "other names of stored voices; may be given more than once"),
    SWITCH("open-listing", open_listing, "list voices and models without a key"),
    SWITCH("no-preview", no_preview, "end at the start if there is no model, rather than speak with the preview voice"),

    SWITCH("allow-pull", allow_pull,
           "let the page download a model that is missing; otherwise only `timbre pull` on this machine does"),

    LIST("cors-origin", cors_origin, "ORIGIN,...",
         "web pages of these origins may use the API; * with --keys-file is any; may be given more than once"),
    TEXT("allow-ref-url", allow_ref_url, "HOSTS", "", NULL,
         "hosts (comma between) from which ref_audio may be fetched; not set = none"),
    SWITCH("allow-private-ref-url", allow_private_ref_url, "let --allow-ref-url reach private and loopback addresses"),

    TEXT("log-level", log_level, "LEVEL", "info", "error|warning|info|debug", "what is logged"),
    TEXT("log-format", log_format, "FORMAT", "text", "text|json", "lines for people or JSON"),
    COUNT("http-threads", http_threads, 1, 64, "2", "threads that serve connections"),
};

enum { option_count = sizeof(tmb_server_option_table) / sizeof tmb_server_option_table[0] };
_Static_assert(option_count <= TMB_SERVER_OPTION_LIMIT, "sources of all options");

const size_t tmb_server_option_count = option_count;

/* What only those have who take requests; the rest is a worker's, too. */
static const char *const of_servers[] = {"keys-file",
                                         "max-json-bytes",
                                         "max-body-memory",
                                         "max-items",
                                         "max-connections",
                                         "max-connections-per-address",
                                         "max-jobs",
                                         "max-job-items",
                                         "max-enhancing",
                                         "rate-limit",
                                         "header-timeout",
                                         "idle-timeout",
                                         "stream-ahead",
                                         "max-input-seconds",
                                         "work",
                                         "need",
                                         "default-voice",
                                         "voice-alias",
                                         "open-listing",
                                         "cors-origin",
                                         "allow-ref-url",
                                         "http-threads",
                                         "allow-private-ref-url",
                                         "transcribe-url",
                                         "transcribe-model",
                                         "transcribe-key-file",
                                         "voices",
                                         "allow-pull"};

bool tmb_server_option_is_of(const tmb_server_option *option, bool worker) {
    for (size_t i = 0; worker && i < sizeof of_servers / sizeof of_servers[0]; i++) {
        if (strcmp(option->name, of_servers[i]) == 0) {
            return false;
        }
    }
    return true;
}
