/* What several commands share: option groups and the structs that they fill, opening the library, names
 * of files. */
#ifndef TIMBRE_CLI_SHARED_H
#define TIMBRE_CLI_SHARED_H

#include "options.h"
#include "ui.h"

#include <jansson.h>

/* Every command's options struct begins with this one, and its groups end with CLI_COMMON_GROUP. */
typedef struct cli_common {
    bool json, quiet, help;
    int verbose;
} cli_common;
extern const cli_option cli_common_options[4];
#define CLI_COMMON_GROUP                                                                                               \
    { "Common options", cli_common_options, CLI_LENGTH(cli_common_options), 0 }

/* How the library runs. */
typedef struct cli_runtime {
    const char *denoiser;
    int threads;
    uint64_t memory_budget;
} cli_runtime;
extern const cli_option cli_runtime_options[3];

/* Which engine speaks. */
typedef struct cli_engine {
    const char *engine, *precision, *device;
    cli_list models; /* each a folder or a name, or "NAME=" before one */
    cli_list remote_urls;
    double remote_hedge;
    uint64_t gpu_memory;
    int max_batch;
    bool no_ffmpeg, no_preview;
    const char *transcribe_url, *transcribe_model;
} cli_engine;
extern const cli_option cli_engine_options[10];
/* Whether that engine speaks with checkpoints of its own. */
bool cli_uses_checkpoint(const cli_engine *engine);
/* Who writes transcripts that are missing; they fill a cli_engine too. */
extern const cli_option cli_transcribe_options[2];

/* What --model's value names, without its "NAME=". */
const char *cli_model_path(const char *text);

/* How audio is written. */
typedef struct cli_output {
    int encoding;  /* tmb_encoding */
    int container; /* tmb_container */
    bool force;    /* write to a terminal too */
} cli_output;
extern const cli_option cli_output_options[3];

/* Headerless input. */
typedef struct cli_raw {
    bool raw;
    int rate, channels;
    int encoding; /* one more than a tmb_encoding; 0: as --encoding */
} cli_raw;
extern const cli_option cli_raw_options[3];

/* How much input is taken; they fill a tmb_audio_limits. */
extern const cli_option cli_limit_options[1];
/* How a recording is read; they fill a tmb_audio_limits too. */
extern const cli_option cli_reading_options[2];

extern const char *const cli_encodings[], *const cli_resamplers[], *const cli_levels[];

/* Opens the library; `engine` may be NULL. If something is wrong, says so and returns the exit status, otherwise 0. */
int cli_open(const cli_runtime *runtime, const cli_engine *engine, const tmb_options *base, tmb_context **out);
/* Options from flags, on top of the defaults; for commands that change more of them. */
void cli_fill_options(const cli_runtime *runtime, const cli_engine *engine, tmb_options *out);

/* Fills `out` from --raw and its companions; false: said what is missing. */
bool cli_raw_format(const cli_raw *raw, const cli_output *output, tmb_raw_format *out);

/* The recording that a command reads, and the one that it writes. The exit status; `error` says why, or the command
 * has. */
int cli_open_input(const char *path, const cli_raw *raw, const cli_output *output, const tmb_audio_limits *limits,
                   tmb_audio_reader **reader, tmb_audio_info *info, tmb_error *error);
int cli_create_output(const tmb_audio_reader *like, const char *path, const cli_raw *raw, const cli_output *output,
                      int rate, int channels, tmb_audio_writer **writer, tmb_error *error);

/* What the reader has to say of a recording that was read: a line each on standard error, and with `object` (may be
 * NULL) the list "warnings" of its JSON. */
void cli_tell_warnings(const char *input, const tmb_audio_reader *reader, json_t *object);

/* Where the output of `input` goes: `output` itself, or in the folder `output` a file named after the
 * input, `suffix` between its name and its ending. The ending is the input's if that can be written,
 * otherwise "wav"; `container`, if not AUTO, decides. Allocated; NULL: no memory. */
char *cli_output_path(const char *folder, const char *input, const char *suffix, tmb_container container);
/* The ending that a container's files have. */
const char *cli_container_ending(tmb_container container);

/* Is this path a folder (or written like one, "out/")? */
bool cli_is_folder(const char *path);
/* Creates the folder and its parents; false: said why. */
bool cli_make_folder(const char *path);
/* Adds `clipped` to a result, and to its `warnings` (a list, made here) a sentence about it. */
void cli_json_clipped(json_t *object, uint64_t clipped);
/* Says once for a file that samples were clipped; nothing for 0. */
void cli_warn_clipped(const char *path, uint64_t clipped);

/* Whether `path` names an ordinary file, which can be read twice. */
bool cli_is_regular(const char *path);
/* Does a path end like an audio file that can be written ("x.wav")? */
bool cli_is_audio_name(const char *path);
/* Whether an output's name says what is to be written, or `container` does; says so if not. NULL: no such output. */
bool cli_can_be_audio(const char *path, tmb_container container);
/* Does it end in `ending` (".png"), in any case? */
bool cli_has_ending(const char *path, const char *ending);
/* Can this input be opened for reading? Otherwise `error` says why (TMB_ERROR_IO). "-" can. */
bool cli_is_readable(const char *path, tmb_error *error);
/* Says no to audio on a terminal, unless --force; `path` is the output, or NULL. */
bool cli_spares_terminal(const char *path, const cli_output *output);

/* A whole file or "-", at most `limit` bytes; ends with a 0 byte that is not counted. Allocated; NULL:
 * said why. */
char *cli_read_text(const char *path, size_t limit, size_t *size);

/* Writes bytes to `path`: a file through a temporary one, with the permissions that it had, a pipe or device in place.
 * false: `error` says why. */
bool cli_write_file(const char *path, const void *data, size_t size, tmb_error *error);

/* Whether writing to `output` failed because its reader went away, as `| head` does: that is worth a status, but no
 * line. */
bool cli_reader_left(const char *output, const tmb_error *error);

/* Says why `input` failed, as a JSON line too if `json`; nothing if the user interrupted. */
void cli_report_failure(const char *input, const tmb_error *error, bool json);

/* One object as a line on standard output; frees it. */
void cli_print_json(json_t *object);
/* {"type": "format", "message": "..."}: what every failed result has as "error". */
json_t *cli_json_error(const tmb_error *error);
/* A text that may be a path: what is not UTF-8 in it becomes U+FFFD, so that the line is JSON. NULL becomes null. */
json_t *cli_json_text(const char *text);
/* A number that JSON can hold, rounded to `digits` behind the point. */
json_t *cli_json_number(double value, int digits);

#endif
