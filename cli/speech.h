/* What `clone`, `speak` and `voice` share, and the two ways to clone: one item, and a file of them. */
#ifndef TIMBRE_CLI_SPEECH_H
#define TIMBRE_CLI_SPEECH_H

#include "offer.h"
#include "shared.h"

typedef struct clone_options {
    cli_common common;
    cli_runtime runtime;
    cli_engine engine;
    cli_offer offer;
    cli_output output;
    tmb_clone_request request; /* options write into it; for a batch, what its items begin with */
    cli_unsigned seed;
    double pre_attenuation, post_attenuation, pre_beta, post_beta;
    int level;    /* of stages 2 and 5 */
    double speed; /* of the speech; 1: as it is spoken */
    const char *split, *text_file, *ref_text_file, *voice_transcript, *path, *codes, *reference_out, *batch, *folder,
        *voices, *voice_name;
    char installed[8][64]; /* names of models that cli_use_installed found */
    bool has_own_voices;   /* one of them speaks without a reference */
} clone_options;

/* The reference of a voice and how it is prepared, within clone_options. */
extern const cli_option cli_reference_options[11];

/* Where `voice create` and `voice design` put the voice. */
extern const cli_option cli_voice_file_options[2];

/* The other options that all have. */
extern const cli_option cli_text_options[9], cli_sampling_options[11], cli_result_options[6], cli_batch_options[2];

void cli_clone_defaults(void *options);

/* A text without the line break that ends its file; NULL: said why. */
char *cli_read_line_text(const char *path);
/* --split in letters; 0: never. Returns false after printing the problem. */
bool cli_read_split(const char *text, size_t *length);

/* Says which combination of options makes no sense; `check_voice` does so for those that say who speaks. */
bool cli_check_speech(const clone_options *options, bool (*check_voice)(const clone_options *options));
/* Without --model: takes all models that are installed, of which one must have voices of its own. `missing` is what to
 * pull otherwise. The exit status. */
int cli_use_installed(clone_options *options, const char *missing);
/* Whether a model designs voices and another clones them; says which one is missing. The exit status. */
int cli_find_both(tmb_context *context, const clone_options *options);
/* Finds the models and speaks what the options ask for. The exit status. */
int cli_run_speech(clone_options *options);

/* Reads --ref-text-file and carries the strengths over into the request; *text is allocated and must
 * outlive the request. The exit status. */
int cli_finish_reference(clone_options *options, char **text);

/* One item's output file, opened when its first audio comes. */
typedef struct cli_sink {
    const char *path;
    tmb_container container;
    tmb_encoding encoding;
    tmb_audio_writer *writer;
    double speed; /* other than 0 and 1: the speech is made so much faster, at the same pitch */
    struct sonicStreamStruct *stretch;
    uint64_t count;   /* samples so far */
    uint64_t clipped; /* of which were beyond full scale */
    int rate;
    tmb_error error;
} cli_sink;

/* Writes a piece; false: sink->error says why. */
bool cli_sink_write(cli_sink *sink, const float *samples, size_t count, int rate);
/* Completes the file (an empty one if no audio came) or, if `keep` is false, leaves nothing. */
bool cli_sink_end(cli_sink *sink, bool keep, int rate);

/* The result as the JSON of a batch's output; `codes` is their file, or NULL; `sink` has what became of the audio, NULL
 * for none. */
json_t *cli_result_json(const tmb_clone_result *result, const char *codes, const cli_sink *sink);
/* Seconds of what was written. */
double cli_sink_seconds(const cli_sink *sink, const tmb_clone_result *result);
/* Adds `reference` and its `warnings` to a result. */
void cli_json_reference(json_t *object, const tmb_reference_info *info);
/* One line for each thing that is wrong with a reference; `path` names it. NULL: nothing was measured. */
void cli_warn_reference(const char *path, const tmb_reference_info *info);

/* What a result has to say in addition to its sound: that an instruction was not used. */
void cli_warn_result(const char *path, const tmb_clone_result *result);
/* Shows the transcript that a service wrote, and how to correct it; nothing without one. */
void cli_note_transcript(const char *path, const tmb_reference_info *info);

/* Once a process: a voice that is no clone spoke, and how to get one. */
void cli_note_preview(const char *engine);

/* The result's codes [frames, books] as a NumPy file of int16 to *path, if that is not NULL; without codes it becomes
 * NULL, after a warning. false: `error` says why. */
bool cli_write_codes(const char **path, const tmb_clone_result *result, tmb_error *error);

int cli_clone_one(clone_options *options, tmb_context *context);
int cli_clone_batch(clone_options *options, tmb_context *context);

/* ---- Items of a batch file ---- */

/* A line of a batch file. */
typedef struct cli_item {
    json_t *object; /* owns the strings of the request */
    tmb_clone_request request;
    tmb_container container; /* from response_format; AUTO: the command's */
    char *ref_audio, *voice; /* paths, completed with the batch file's folder */
} cli_item;

/* Reads a line (JSON, one object) over what `defaults` holds. Paths are relative to `folder`. Errors:
 * TMB_ERROR_FORMAT naming the field, TMB_ERROR_MEMORY. Free the item in any case. */
tmb_status cli_item_parse(cli_item *item, const char *line, size_t size, const tmb_clone_request *defaults,
                          const char *folder, tmb_error *error);
void cli_item_free(cli_item *item);

#endif
