/* `timbre voice design`: a voice from a description, spoken once, cleaned, and encoded to be cloned ever after. */
#include "claims.h"
#include "commands.h"
#include "speech.h"
#include "voices.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const cli_option voice_options[] = {
    {.name = "instruct",
     .letter = 'i',
     .kind = CLI_TEXT,
     .offset = offsetof(clone_options, request.instruct),
     .argument = "TEXT",
     .also = "instructions description prompt style",
     .help = "how the voice is, as \"A calm old man with a deep voice.\""},
    {.name = "text",
     .kind = CLI_TEXT,
     .offset = offsetof(clone_options, request.text),
     .argument = "TEXT",
     .also = "input say sentence",
     .help = "what it says in the clip that the voice is made of: two or three sentences; - reads it from standard "
             "input"},
    {.name = "text-file",
     .kind = CLI_FILE,
     .offset = offsetof(clone_options, text_file),
     .argument = "FILE",
     .also = "input-file textfile",
     .help = "the same from a file"},
    {.name = "language",
     .letter = 'l',
     .kind = CLI_TEXT,
     .offset = offsetof(clone_options, request.language),
     .argument = "NAME",
     .also = "lang locale",
     .help = "of the text: a code or a name, as en or English; default auto"},
    {.name = "max-frames",
     .kind = CLI_INTEGER,
     .offset = offsetof(clone_options, request.max_frames),
     .argument = "N",
     .also = "max-new-tokens max-tokens",
     .minimum = 0,
     .maximum = 1000000,
     .help = "at most N - 1 frames of 80 ms; 0, the default, is the model's limit"},
};
static const cli_option clip_options[] = {
    {.name = "clip-out",
     .kind = CLI_FILE,
     .offset = offsetof(clone_options, reference_out),
     .argument = "FILE",
     .writes = true,
     .help = "keep the clip too, as it was cleaned"},
};
static const cli_group groups[] = {
    {"Voice", voice_options, CLI_LENGTH(voice_options), 0},
    {"Voice", cli_voice_file_options, CLI_LENGTH(cli_voice_file_options), 0},
    {"Voice", clip_options, CLI_LENGTH(clip_options), 0},
    {"Engine", cli_engine_options, CLI_LENGTH(cli_engine_options), offsetof(clone_options, engine)},
    {"Sampling", cli_sampling_options, CLI_LENGTH(cli_sampling_options), 0},
    {"Running", cli_runtime_options, CLI_LENGTH(cli_runtime_options), offsetof(clone_options, runtime)},
    {"Running", cli_offer_options, CLI_LENGTH(cli_offer_options), offsetof(clone_options, offer)},
    CLI_COMMON_GROUP,
};

/* The clip: once as the voice is made of it, and once for the user, if it is to be kept. */
typedef struct clip {
    tmb_context *context;
    cli_sink sinks[2];
    size_t count;
    _Atomic uint64_t item;
    uint64_t seed;
    tmb_error error;
} clip;

static void cancel(void *user) {
    clip *c = user;
    tmb_clone_cancel(c->context, atomic_load(&c->item));
}

static void on_progress(void *user, uint64_t item, tmb_stage stage, double fraction) {
    (void)user;
    (void)item;
    cli_progress(stage >= TMB_STAGE_SPEECH && fraction > 0 && fraction <= 1 ? fraction : -1, "%s",
                 stage >= TMB_STAGE_SPEECH ? "designing the voice" : "the engine gets ready");
}

static bool on_audio(void *user, uint64_t item, const float *samples, size_t count, int rate) {
    clip *c = user;
    (void)item;
    for (size_t i = 0; i < c->count; i++) {
        if (!cli_sink_write(&c->sinks[i], samples, count, rate)) {
            return false;
        }
    }
    return !cli_interrupted();
}

static void on_result(void *user, const tmb_clone_result *result) {
    clip *c = user;
    c->error = result->error;
    c->seed = result->seed;
    for (size_t i = 0; i < c->count; i++) {
        bool good = cli_sink_end(&c->sinks[i], result->error.status == TMB_OK, result->sample_rate);
        if (!good && c->sinks[i].error.status != TMB_OK) {
            c->error = c->sinks[i].error;
        }
    }
}

/* Speaks the clip; the status of the error. */
static tmb_status speak(clip *c, const tmb_clone_request *request) {
    const tmb_clone_callbacks callbacks = {.user = c, .progress = on_progress, .audio = on_audio, .result = on_result};
    uint64_t item = 0;
    if (tmb_clone_submit(c->context, request, &callbacks, &item, &c->error) == TMB_OK) {
        atomic_store(&c->item, item);
        cli_on_interrupt(cancel, c);
        tmb_clone_wait(c->context);
        cli_on_interrupt(NULL, NULL);
    }
    cli_progress_clear();
    return c->error.status;
}

/* Encodes the clip, which is a recording like any other from here on. */
static tmb_status encode(const clip *c, const clone_options *o, const char *text, tmb_reference_info *reference,
                         tmb_error *error) {
    tmb_clone_request request;
    tmb_clone_request_default(&request);
    request.ref_audio = c->sinks[0].path;
    request.ref_text = text;
    cli_progress(-1, "encoding the voice");
    tmb_status status = tmb_voice_create(c->context, &request, o->path, reference, error);
    cli_progress_clear();
    return status;
}

static void report(const clone_options *o, const clip *c, const tmb_reference_info *reference, const tmb_error *error) {
    if (o->common.json && !cli_interrupted()) {
        json_t *object = json_object();
        if (error->status == TMB_OK) {
            (void)json_object_set_new(object, "voice", cli_json_text(o->path));
            (void)json_object_set_new(object, "clip", cli_json_text(o->reference_out));
            (void)json_object_set_new(object, "seed",
                                      c->seed <= INT64_MAX ? json_integer((json_int_t)c->seed) : json_null());
        } else {
            (void)json_object_set_new(object, "error", cli_json_error(error));
        }
        if (reference->duration > 0) {
            cli_json_reference(object, reference);
        }
        cli_print_json(object);
    } else if (error->status == TMB_OK) {
        cli_note("%s (seed %llu): use it with `timbre clone --voice %s`", o->path, (unsigned long long)c->seed,
                 o->voice_name != NULL ? o->voice_name : o->path);
    }
}

/* The steps, with the models open. */
static int design(const clone_options *o, tmb_context *context, const char *temporary) {
    clip c = {.context = context, .count = o->reference_out != NULL ? 2 : 1};
    tmb_reference_info reference = {0};
    c.sinks[0] = (cli_sink){.path = temporary, .container = TMB_CONTAINER_WAV, .encoding = TMB_ENCODING_S16};
    c.sinks[1] = (cli_sink){.path = o->reference_out, .encoding = TMB_ENCODING_S16};
    if (speak(&c, &o->request) == TMB_OK) {
        (void)encode(&c, o, o->request.text, &reference, &c.error);
    }
    int status = c.error.status == TMB_OK ? CLI_EXIT_OK : cli_interrupted() ? CLI_EXIT_INTERRUPTED : cli_fail(&c.error);
    report(o, &c, &reference, &c.error);
    if (status == CLI_EXIT_OK) {
        cli_warn_reference(o->reference_out != NULL ? o->reference_out : "the clip", &reference);
    }
    return status;
}

static bool check(const clone_options *o) {
    const tmb_clone_request *r = &o->request;
    if (r->instruct == NULL) {
        cli_error("how is the voice? --instruct TEXT describes it");
    } else if (r->text == NULL && o->text_file == NULL) {
        cli_error("what does it say in the clip that the voice is made of? --text TEXT, or --text-file FILE");
    } else if (r->text != NULL && o->text_file != NULL) {
        cli_error("--text and --text-file exclude each other");
    } else if (o->path != NULL && o->voice_name != NULL) {
        cli_error("-o and --name exclude each other");
    } else if (o->path == NULL && o->voice_name == NULL) {
        cli_error("where to? -o FILE, or --name NAME");
    } else if (cli_is_standard(o->path) || cli_is_standard(o->reference_out)) {
        cli_error("a voice and its clip are saved to files, not to standard output");
    } else if (o->path != NULL && cli_is_audio_name(o->path)) {
        cli_error("%s would not be audio: a voice's file is named NAME.tmbvoice", o->path);
    } else if (cli_can_be_audio(o->reference_out, TMB_CONTAINER_AUTO)) {
        const cli_claim claims[] = {{o->text_file, "--text-file", false},
                                    {o->runtime.denoiser, "--denoiser", false},
                                    {o->path, "-o", true},
                                    {o->reference_out, "--clip-out", true}};
        return cli_claims_agree(claims, CLI_LENGTH(claims));
    }
    return false;
}

/* A file for the clip in $TMPDIR; false: said why not. */
static bool make_temporary(char *path, size_t size) {
    const char *folder = getenv("TMPDIR");
    (void)snprintf(path, size, "%s/timbre-clip-XXXXXX.wav", folder != NULL && *folder != '\0' ? folder : "/tmp");
    int file = mkstemps(path, 4);
    if (file < 0) {
        cli_error("%s cannot be made", path);
        return false;
    }
    (void)close(file);
    return true;
}

static int run_voice_design(void *options, int count, char **arguments) {
    clone_options *o = options;
    tmb_context *context = NULL;
    char *text = NULL, *unused = NULL, *stored = NULL, temporary[600] = "";
    (void)count;
    (void)arguments;
    if (!check(o)) {
        return CLI_EXIT_USAGE;
    }
    if (o->voice_name != NULL) {
        o->path = stored = cli_voice_path(o->voice_name);
        if (stored == NULL) {
            return CLI_EXIT_USAGE;
        }
    }
    int status = cli_finish_reference(o, &unused);
    bool from_input = cli_is_standard(o->request.text);
    if (status == CLI_EXIT_OK && (from_input || o->text_file != NULL)) {
        o->request.text = text = cli_read_line_text(from_input ? "-" : o->text_file);
        status = text != NULL ? CLI_EXIT_OK : CLI_EXIT_INPUT;
    }
    if (status == CLI_EXIT_OK) {
        status = cli_use_installed(o, "1.7b-voicedesign");
    }
    if (status == CLI_EXIT_OK) {
        status = cli_offer_models(&o->offer, &o->runtime, &o->engine, true);
    }
    if (status == CLI_EXIT_OK) {
        status = cli_open(&o->runtime, &o->engine, NULL, &context);
    }
    if (status == CLI_EXIT_OK) {
        status = cli_find_both(context, o);
    }
    if (status == CLI_EXIT_OK) {
        status = make_temporary(temporary, sizeof temporary) ? design(o, context, temporary) : CLI_EXIT_FAILED;
    }
    tmb_close(&context);
    if (temporary[0] != '\0') {
        (void)unlink(temporary);
    }
    free(text);
    free(unused);
    free(stored);
    return status;
}

static void set_defaults(void *options) {
    clone_options *o = options;
    cli_clone_defaults(o);
    o->request.who = TMB_WHO_DESCRIPTION;
    o->request.want_samples = false;
}

const cli_command cli_command_voice_design = {
    .name = "voice design",
    .summary = "make a voice from a description and save it",
    .usage = "--instruct TEXT --text TEXT -o VOICE | --name NAME [OPTION...]",
    .description =
        "Has a VoiceDesign model speak a text with the voice that is described, cleans the clip, and encodes it with a "
        "Base model: the saved voice is then cloned like that of a recording, the same in every text. It is as "
        "`timbre speak --instruct`, `timbre voice create` and `timbre clone` one after the other, in one memory "
        "budget: if both models do not fit into it, one makes room for the other. The same --seed makes the same "
        "voice.\n\n"
        "Without --model the installed models are used; with it both must be named.",
    .examples =
        "timbre pull 1.7b-voicedesign 0.6b\n"
        "timbre voice design --instruct \"A calm old man with a deep voice.\" --text \"Once upon a time there was "
        "a king.\" --name grandpa --seed 7\n"
        "timbre clone --voice grandpa --text \"Good night.\" -o night.wav",
    .groups = groups,
    .group_count = CLI_LENGTH(groups),
    .options_size = sizeof(clone_options),
    .defaults = set_defaults,
    .run = run_voice_design,
};
