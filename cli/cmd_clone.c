#include "claims.h"
#include "commands.h"
#include "speech.h"
#include "voices.h"

#include <stdlib.h>
#include <string.h>

static const cli_option voice_options[] = {
    {.name = "voice",
     .kind = CLI_FILE,
     .offset = offsetof(clone_options, request.voice),
     .argument = "VOICE",
     .also = "speaker voice-file",
     .help = "a voice instead of --ref: a file from `timbre voice create`, or a name that `timbre voice list` has"},
    {.name = "voices",
     .kind = CLI_FOLDER,
     .offset = offsetof(clone_options, voices),
     .argument = "DIR",
     .environment = "TIMBRE_VOICES",
     .help = "look here first for a name: voice files, and recordings with a .txt of the same name beside them"},
};
static const cli_option output_options[] = {
    {.name = "reference-out",
     .kind = CLI_FILE,
     .offset = offsetof(clone_options, reference_out),
     .argument = "FILE",
     .writes = true,
     .help = "write the cleaned recording as well"},
};
static const cli_group groups[] = {
    {"Text", cli_text_options, CLI_LENGTH(cli_text_options), 0},
    {"Voice", voice_options, CLI_LENGTH(voice_options), 0},
    {"Voice", cli_reference_options, CLI_LENGTH(cli_reference_options), 0},
    {"Voice", cli_transcribe_options, CLI_LENGTH(cli_transcribe_options), offsetof(clone_options, engine)},
    {"Engine", cli_engine_options, CLI_LENGTH(cli_engine_options), offsetof(clone_options, engine)},
    {"Sampling", cli_sampling_options, CLI_LENGTH(cli_sampling_options), 0},
    {"Output", cli_result_options, CLI_LENGTH(cli_result_options), 0},
    {"Output", output_options, CLI_LENGTH(output_options), 0},
    {"Output", cli_output_options, CLI_LENGTH(cli_output_options), offsetof(clone_options, output)},
    {"Batch", cli_batch_options, CLI_LENGTH(cli_batch_options), 0},
    {"Running", cli_runtime_options, CLI_LENGTH(cli_runtime_options), offsetof(clone_options, runtime)},
    {"Running", cli_offer_options, CLI_LENGTH(cli_offer_options), offsetof(clone_options, offer)},
    CLI_COMMON_GROUP,
};

/* Says which combination makes no sense. */
static bool check(const clone_options *o) {
    const tmb_clone_request *r = &o->request;
    bool reads_text = cli_is_standard(r->text) || cli_is_standard(o->text_file);
    if (r->ref_audio != NULL && r->voice != NULL) {
        cli_error("--ref and --voice exclude each other");
    } else if (o->batch == NULL && r->ref_audio == NULL && r->voice == NULL) {
        cli_error("whose voice? --ref FILE, or --voice FILE for a saved one");
    } else if (cli_is_standard(r->ref_audio) && (reads_text || o->batch != NULL)) {
        cli_error("the reference cannot come from standard input together with something else");
    } else if (r->streaming_text && r->non_streaming_text) {
        cli_error("--streaming-text and --non-streaming-text exclude each other");
    } else {
        return true;
    }
    return false;
}

static int run_clone(void *options, int count, char **arguments) {
    clone_options *o = options;
    char *voice_text = NULL;
    cli_voice voice = {0};
    (void)count;
    (void)arguments;
    if (o->request.ref_audio == NULL && !cli_voice_resolve(o->voices, &o->request, &voice, &voice_text)) {
        return CLI_EXIT_INPUT;
    }
    o->voice_transcript = voice.transcript;
    int status = cli_check_speech(o, check) ? cli_run_speech(o) : CLI_EXIT_USAGE;
    free(voice_text);
    cli_voice_free(&voice);
    return status;
}

const cli_command cli_command_clone = {
    .name = "clone",
    .summary = "speak a text with the voice of a recording",
    .usage = "--ref FILE [--ref-text TEXT] --text TEXT -o OUT [OPTION...]",
    .description =
        "Cleans a recording, clones its voice, speaks a text with it and cleans what was spoken: five stages, of which "
        "the last two run while the third still speaks.\n\n"
        "The engine qwen3 clones with Qwen3-TTS, whose model `timbre pull qwen3-tts-0.6b` downloads. If it is not "
        "installed, a preview voice (espeak-ng, at the pitch of the recording) speaks instead: it shows the whole way "
        "and "
        "is no clone; the message and the JSON (\"is_clone\": false) say so.\n\n"
        "With --batch, results come as JSON lines on standard output in the order in which they are done; an item that "
        "fails fails alone.",
    .examples =
        "timbre clone --ref me.wav --ref-text \"What I say in it.\" --text \"Hello from my clone.\" -o hello.wav\n"
        "timbre clone --ref me.wav --text \"Listen while I speak.\" -o - | aplay\n"
        "timbre clone --batch items.jsonl --out-dir speech/ > results.jsonl",
    .groups = groups,
    .group_count = CLI_LENGTH(groups),
    .options_size = sizeof(clone_options),
    .defaults = cli_clone_defaults,
    .run = run_clone,
};
