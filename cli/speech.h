/* What `clone` and `voice` share, and the two ways to clone: one item, and a file of them. */
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
    int level; /* of stages 2 and 5 */
    const char *split, *text_file, *ref_text_file, *path, *codes, *reference_out, *batch, *folder, *voices, *voice_name;
} clone_options;

/* The reference of a voice and how it is prepared, within clone_options. */
extern const cli_option cli_reference_options[10];

void cli_clone_defaults(void *options);

/* Reads --ref-text-file and carries the strengths over into the request; *text is allocated and must
 * outlive the request. The exit status. */
int cli_finish_reference(clone_options *options, char **text);

/* One item's output file, opened when its first audio comes. */
typedef struct cli_sink {
    const char *path;
    tmb_container container;
    tmb_encoding encoding;
    tmb_audio_writer *writer;
    uint64_t count;   /* samples so far */
    uint64_t clipped; /* of which were beyond full scale */
    int rate;
    tmb_error error;
} cli_sink;

/* Writes a piece; false: sink->error says why. */
bool cli_sink_write(cli_sink *sink, const float *samples, size_t count, int rate);
/* Completes the file (an empty one where no audio came) or, where `keep` is false, leaves nothing. */
bool cli_sink_end(cli_sink *sink, bool keep, int rate);

/* The result as the JSON of a batch's output; `audio` and `codes` are the files, or NULL. */
json_t *cli_result_json(const tmb_clone_result *result, const char *audio, const char *codes, uint64_t clipped);
/* Adds `reference` and its `warnings` to a result. */
void cli_json_reference(json_t *object, const tmb_reference_info *info);
/* One line for each thing that is wrong with a reference; `path` names it. NULL: nothing was measured. */
void cli_warn_reference(const char *path, const tmb_reference_info *info);

/* Once a process: a voice that is no clone spoke, and how to get one. */
void cli_note_preview(const char *engine);

/* Codes [frames, books] as a NumPy file of int16; false: said why. */
bool cli_write_codes(const char *path, const int16_t *codes, size_t frames, size_t books);

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
