#include "commands.h"
#include "speech.h"

#include <string.h>

static const cli_option voice_options[] = {
    {.name = "speaker",
     .letter = 's',
     .kind = CLI_TEXT,
     .offset = offsetof(clone_options, request.speaker),
     .argument = "NAME",
     .also = "voice spk speaker-name",
     .help =
         "one of the model's speakers, in any case; `timbre models MODEL` lists them; not needed if there is but one"},
    {.name = "instruct",
     .letter = 'i',
     .kind = CLI_TEXT,
     .offset = offsetof(clone_options, request.instruct),
     .argument = "TEXT",
     .also = "instructions style description prompt",
     .help =
         "how the speaker speaks, as \"Very happy.\"; without a speaker the description of a voice, as \"A calm old "
         "man.\""},
};
static const cli_group groups[] = {
    {"Text", cli_text_options, CLI_LENGTH(cli_text_options), 0},
    {"Voice", voice_options, CLI_LENGTH(voice_options), 0},
    {"Engine", cli_engine_options, CLI_LENGTH(cli_engine_options), offsetof(clone_options, engine)},
    {"Sampling", cli_sampling_options, CLI_LENGTH(cli_sampling_options), 0},
    {"Output", cli_result_options, CLI_LENGTH(cli_result_options), 0},
    {"Output", cli_output_options, CLI_LENGTH(cli_output_options), offsetof(clone_options, output)},
    {"Batch", cli_batch_options, CLI_LENGTH(cli_batch_options), 0},
    {"Running", cli_runtime_options, CLI_LENGTH(cli_runtime_options), offsetof(clone_options, runtime)},
    {"Running", cli_offer_options, CLI_LENGTH(cli_offer_options), offsetof(clone_options, offer)},
    CLI_COMMON_GROUP,
};

static void set_defaults(void *options) {
    clone_options *o = options;
    cli_clone_defaults(o);
    o->request.who = TMB_WHO_OWN;
}

static bool check(const clone_options *o) {
    if (o->request.streaming_text && o->request.non_streaming_text) {
        cli_error("--streaming-text and --non-streaming-text exclude each other");
        return false;
    }
    return true;
}

static int run_speak(void *options, int count, char **arguments) {
    clone_options *o = options;
    (void)count;
    (void)arguments;
    if (!cli_check_speech(o, check)) {
        return CLI_EXIT_USAGE;
    }
    const char *missing =
        o->request.speaker == NULL && o->request.instruct != NULL ? "1.7b-voicedesign" : "0.6b-customvoice";
    int status = cli_use_installed(o, missing);
    return status == CLI_EXIT_OK ? cli_run_speech(o) : status;
}

const cli_command cli_command_speak = {
    .name = "speak",
    .summary = "speak a text with a built-in speaker or a described voice",
    .usage = "--text TEXT [--speaker NAME] [--instruct TEXT] -o OUT [OPTION...]",
    .description =
        "Speaks a text without a recording: with a speaker of a CustomVoice model, with a voice that you fine-tuned, "
        "or "
        "with a voice that a VoiceDesign model makes from a description; cleans what was spoken as `clone` does.\n\n"
        "With --model the models are those that are named (the option may be repeated, as MODEL or NAME=MODEL), "
        "otherwise all that are installed: what is asked decides which one speaks, or \"model\" in a batch's line. "
        "Models are loaded when they are needed and take turns if they do not fit into memory together.\n\n"
        "The 0.6B CustomVoice model does not follow instructions: it speaks without, and a warning says so. In a batch "
        "an item may also have ref_audio or voice, and is cloned then if one of the models can.",
    .examples = "timbre pull qwen3-tts-0.6b-customvoice\n"
                "timbre speak --speaker vivian --text \"Good morning.\" -o morning.wav\n"
                "timbre speak --instruct \"A calm old man.\" --text \"Once upon a time.\" -o story.wav\n"
                "timbre speak --model ./my-voice --text \"It is me.\" -o - | aplay",
    .groups = groups,
    .group_count = CLI_LENGTH(groups),
    .options_size = sizeof(clone_options),
    .defaults = set_defaults,
    .run = run_speak,
};
