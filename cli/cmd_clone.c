#include "claims.h"
#include "commands.h"
#include "speech.h"
#include "voices.h"

#include <stdlib.h>
#include <string.h>

enum { MAXIMUM_TEXT = 16 * 1024 * 1024 };

/* Longest piece of a long text, in letters: half a minute of speech, over which one generation begins to drift. */
enum { SPLIT_AUTO = 400 };
static const char *const splits[] = {"auto", "off", NULL};

static const char *const languages[] = {"auto", "en", "zh", "ja", "ko", "de", "fr", "ru", "pt", "es", "it", NULL};

const cli_option cli_reference_options[10] = {
    {.name = "ref",
     .kind = CLI_FILE,
     .offset = offsetof(clone_options, request.ref_audio),
     .argument = "FILE",
     .also = "reference ref-audio reference-audio reference-file prompt-audio audio-prompt prompt-wav speaker-wav",
     .help = "recording of the voice, a few seconds of one speaker; - is standard input"},
    {.name = "ref-text",
     .kind = CLI_TEXT,
     .offset = offsetof(clone_options, request.ref_text),
     .argument = "TEXT",
     .also = "reference-text ref-transcript transcript prompt-text",
     .help =
         "what is said in it, word for word; makes the clone closer. Without it the voice's colour alone is cloned"},
    {.name = "ref-text-file",
     .kind = CLI_FILE,
     .offset = offsetof(clone_options, ref_text_file),
     .argument = "FILE",
     .also = "reference-text-file transcript-file",
     .help = "the same from a file"},
    {.name = "x-vector-only",
     .kind = CLI_FLAG,
     .offset = offsetof(clone_options, request.x_vector_only),
     .help = "clone the voice's colour alone, even with --ref-text"},
    {.name = "no-pre",
     .kind = CLI_UNFLAG,
     .offset = offsetof(clone_options, request.run_pre_processing),
     .help = "do not clean the recording"},
    {.name = "pre-atten-lim-db",
     .kind = CLI_NUMBER,
     .offset = offsetof(clone_options, pre_attenuation),
     .argument = "DB",
     .minimum = 0,
     .maximum = 100,
     .help = "attenuation limit for cleaning the recording (see enhance); default 100, none"},
    {.name = "pre-pf-beta",
     .kind = CLI_NUMBER,
     .offset = offsetof(clone_options, pre_beta),
     .argument = "BETA",
     .minimum = 0,
     .maximum = 1,
     .help = "post-filter for cleaning the recording (see enhance); default 0, off"},
    {.name = "level",
     .kind = CLI_CHOICE,
     .offset = offsetof(clone_options, level),
     .argument = "auto|off",
     .choices = cli_levels,
     .help = "auto, the default: cleaning keeps the speech whatever its level; off: much too quiet speech is taken for "
             "noise (see enhance)"},
    {.name = "trim-ref",
     .kind = CLI_FLAG,
     .offset = offsetof(clone_options, request.trim_reference),
     .help = "cut what is still before and after the speech in the recording"},
    {.name = "ref-silence",
     .kind = CLI_NUMBER,
     .offset = offsetof(clone_options, request.reference_silence),
     .argument = "S",
     .minimum = 0,
     .maximum = 5,
     .help = "seconds of silence behind the recording: keeps its last words out of the speech; default 0"},
};
static const cli_option text_options[] = {
    {.name = "text",
     .kind = CLI_TEXT,
     .offset = offsetof(clone_options, request.text),
     .argument = "TEXT",
     .also = "input say prompt sentence",
     .help = "what to say; - reads it from standard input"},
    {.name = "text-file",
     .kind = CLI_FILE,
     .offset = offsetof(clone_options, text_file),
     .argument = "FILE",
     .also = "input-file textfile",
     .help = "the same from a file"},
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
    {.name = "language",
     .letter = 'l',
     .kind = CLI_TEXT,
     .offset = offsetof(clone_options, request.language),
     .argument = "NAME",
     .choices = languages,
     .also = "lang locale",
     .help = "of the text: a code or a name, as en or English; default auto"},
    {.name = "non-streaming-text",
     .kind = CLI_FLAG,
     .offset = offsetof(clone_options, request.non_streaming_text),
     .help = "give the engine the whole text before it begins"},
    {.name = "split",
     .kind = CLI_TEXT,
     .offset = offsetof(clone_options, split),
     .argument = "auto|off|N",
     .choices = splits,
     .help =
         "speak a text of more than N letters in pieces, cut at headings and sentence ends (a character of Chinese, "
         "Japanese or Korean is three letters); auto, the default, is 400; off is never"},
    {.name = "pauses",
     .kind = CLI_FLAG,
     .offset = offsetof(clone_options, request.pauses),
     .help = "understand [pause:1.5s] and [pause:500ms] in the text"},
    {.name = "max-frames",
     .kind = CLI_INTEGER,
     .offset = offsetof(clone_options, request.max_frames),
     .argument = "N",
     .also = "max-new-tokens max-tokens",
     .minimum = 0,
     .maximum = 1000000,
     .help = "at most N - 1 frames of 80 ms, as the official max_new_tokens; 0, the default, is the model's"},
    {.name = "max-seconds",
     .kind = CLI_NUMBER,
     .offset = offsetof(clone_options, request.max_seconds),
     .argument = "S",
     .minimum = 0,
     .maximum = 36000,
     .help = "at most that much speech; 0, the default, is no limit of its own"},
};
static const cli_option sampling_options[] = {
    {.name = "seed",
     .kind = CLI_UNSIGNED,
     .offset = offsetof(clone_options, seed),
     .argument = "N",
     .help = "the same seed gives the same speech, whatever else runs; default: a random one, which is reported"},
    {.name = "greedy",
     .kind = CLI_FLAG,
     .offset = offsetof(clone_options, request.greedy),
     .help = "take the likeliest at each step instead of drawing"},
    {.name = "temperature",
     .kind = CLI_NUMBER,
     .offset = offsetof(clone_options, request.temperature),
     .argument = "T",
     .minimum = 0,
     .maximum = 10,
     .help = "higher is more varied; default: the model's"},
    {.name = "top-k",
     .kind = CLI_INTEGER,
     .offset = offsetof(clone_options, request.top_k),
     .argument = "K",
     .minimum = 0,
     .maximum = 1000000,
     .help = "draw from the K likeliest; 0 is no limit; default: the model's"},
    {.name = "top-p",
     .kind = CLI_NUMBER,
     .offset = offsetof(clone_options, request.top_p),
     .argument = "P",
     .minimum = 0,
     .maximum = 1,
     .help = "draw from the likeliest that make up P; default: the model's"},
    {.name = "repetition-penalty",
     .kind = CLI_NUMBER,
     .offset = offsetof(clone_options, request.repetition_penalty),
     .argument = "R",
     .minimum = 0.01,
     .maximum = 100,
     .help = "above 1 repeats less; default: the model's"},
    {.name = "subtalker-temperature",
     .kind = CLI_NUMBER,
     .offset = offsetof(clone_options, request.subtalker_temperature),
     .argument = "T",
     .minimum = 0,
     .maximum = 10,
     .help = "the same for the code predictor, which fills in the fine codes"},
    {.name = "subtalker-top-k",
     .kind = CLI_INTEGER,
     .offset = offsetof(clone_options, request.subtalker_top_k),
     .argument = "K",
     .minimum = 0,
     .maximum = 1000000,
     .help = "the same for the code predictor"},
    {.name = "subtalker-top-p",
     .kind = CLI_NUMBER,
     .offset = offsetof(clone_options, request.subtalker_top_p),
     .argument = "P",
     .minimum = 0,
     .maximum = 1,
     .help = "the same for the code predictor"},
    {.name = "runaway-guard",
     .kind = CLI_FLAG,
     .offset = offsetof(clone_options, request.guard_runaway),
     .help = "bound the speech by the text's length: try once more (not with -o -), then cut (default)"},
    {.name = "no-runaway-guard",
     .kind = CLI_UNFLAG,
     .offset = offsetof(clone_options, request.guard_runaway),
     .help = "let it run to its own end"},
};
static const cli_option result_options[] = {
    {.name = "output",
     .letter = 'o',
     .kind = CLI_FILE,
     .offset = offsetof(clone_options, path),
     .argument = "FILE",
     .writes = true,
     .also = "out outfile out-file output-file",
     .help = "where the speech goes; - streams it to standard output while it is made"},
    {.name = "no-post",
     .kind = CLI_UNFLAG,
     .offset = offsetof(clone_options, request.run_post_processing),
     .help = "leave the speech as the engine makes it, at its own rate"},
    {.name = "post-atten-lim-db",
     .kind = CLI_NUMBER,
     .offset = offsetof(clone_options, post_attenuation),
     .argument = "DB",
     .minimum = 0,
     .maximum = 100,
     .help = "attenuation limit for cleaning the speech (see enhance); default 12, since it is clean already"},
    {.name = "post-pf-beta",
     .kind = CLI_NUMBER,
     .offset = offsetof(clone_options, post_beta),
     .argument = "BETA",
     .minimum = 0,
     .maximum = 1,
     .help = "post-filter for cleaning the speech (see enhance); default 0, off"},
    {.name = "reference-out",
     .kind = CLI_FILE,
     .offset = offsetof(clone_options, reference_out),
     .argument = "FILE",
     .writes = true,
     .help = "write the cleaned recording as well"},
    {.name = "codes-out",
     .kind = CLI_FILE,
     .offset = offsetof(clone_options, codes),
     .argument = "NPY|DIR",
     .writes = true,
     .help = "write the generated codes, int16 [frames, codebooks], as a NumPy file; a folder with --batch"},
};
static const cli_option batch_options[] = {
    {.name = "batch",
     .letter = 'b',
     .kind = CLI_FILE,
     .offset = offsetof(clone_options, batch),
     .argument = "FILE",
     .also = "jsonl items batch-file manifest",
     .help =
         "many items: a JSON object a line with text, ref_audio, ref_text, language, custom_id, voice, temperature, "
         "top_k, top_p, repetition_penalty, seed, max_seconds, x_vector_only, run_pre_processing, "
         "run_post_processing, response_format; files are relative to FILE; what is absent is as the options say"},
    {.name = "out-dir",
     .kind = CLI_FOLDER,
     .offset = offsetof(clone_options, folder),
     .argument = "DIR",
     .writes = true,
     .also = "output-dir outdir output-folder",
     .help = "where a batch's files go, named by custom_id or by line"},
};
static const cli_group groups[] = {
    {"Text", text_options, CLI_LENGTH(text_options), 0},
    {"Voice", cli_reference_options, CLI_LENGTH(cli_reference_options), 0},
    {"Engine", cli_engine_options, CLI_LENGTH(cli_engine_options), offsetof(clone_options, engine)},
    {"Sampling", sampling_options, CLI_LENGTH(sampling_options), 0},
    {"Output", result_options, CLI_LENGTH(result_options), 0},
    {"Output", cli_output_options, CLI_LENGTH(cli_output_options), offsetof(clone_options, output)},
    {"Batch", batch_options, CLI_LENGTH(batch_options), 0},
    {"Running", cli_runtime_options, CLI_LENGTH(cli_runtime_options), offsetof(clone_options, runtime)},
    {"Running", cli_offer_options, CLI_LENGTH(cli_offer_options), offsetof(clone_options, offer)},
    CLI_COMMON_GROUP,
};

void cli_clone_defaults(void *options) {
    clone_options *o = options;
    tmb_clone_request_default(&o->request);
    o->request.guard_runaway = true; /* the released models miss their end in some of a thousand texts */
    o->pre_attenuation = (double)o->request.pre.attenuation_limit_db;
    o->pre_beta = (double)o->request.pre.post_filter_beta;
    o->post_attenuation = (double)o->request.post.attenuation_limit_db;
    o->post_beta = (double)o->request.post.post_filter_beta;
}

/* --split in letters; 0: never. False: said what is wrong. */
static bool read_split(const char *text, size_t *length) {
    const cli_option option = {.kind = CLI_INTEGER, .minimum = 0, .maximum = 1000000};
    char reason[200];
    int number = 0;
    if (text == NULL || strcmp(text, "auto") == 0) {
        *length = SPLIT_AUTO;
    } else if (strcmp(text, "off") == 0) {
        *length = 0;
    } else if (cli_parse_value(&option, &number, text, reason, sizeof(reason))) {
        *length = (size_t)number;
    } else {
        cli_error("--split: %s; auto and off are legal too", reason);
        return false;
    }
    return true;
}

/* A text without the line break that ends its file. */
static char *read_text(const char *path) {
    size_t size;
    char *text = cli_read_text(path, MAXIMUM_TEXT, &size);
    if (text != NULL && strlen(text) != size) {
        cli_error("%s is not a text: it contains a zero byte", path);
        free(text);
        return NULL;
    }
    while (text != NULL && size > 0 && (text[size - 1] == '\n' || text[size - 1] == '\r'))
        text[--size] = '\0';
    return text;
}

int cli_finish_reference(clone_options *o, char **text) {
    o->request.pre.attenuation_limit_db = (float)o->pre_attenuation;
    o->request.pre.post_filter_beta = (float)o->pre_beta;
    o->request.post.attenuation_limit_db = (float)o->post_attenuation;
    o->request.post.post_filter_beta = (float)o->post_beta;
    o->request.pre.level = o->request.post.level = (tmb_level_mode)o->level;
    o->request.has_seed = o->seed.given;
    o->request.seed = o->seed.value;
    *text = NULL;
    if (o->ref_text_file == NULL)
        return CLI_EXIT_OK;
    if (o->request.ref_text != NULL) {
        cli_error("--ref-text and --ref-text-file exclude each other");
        return CLI_EXIT_USAGE;
    }
    *text = read_text(o->ref_text_file);
    o->request.ref_text = *text;
    return *text != NULL ? CLI_EXIT_OK : CLI_EXIT_INPUT;
}

/* No output of one text replaces what the command reads; a batch looks at its items itself. */
static bool claim_files(const clone_options *o) {
    const cli_claim claims[] = {
        {o->request.ref_audio, "--ref", false},
        {o->request.voice, "--voice", false},
        {o->ref_text_file, "--ref-text-file", false},
        {o->text_file, "--text-file", false},
        {cli_is_standard(o->request.text) ? "-" : NULL, "--text", false},
        {o->engine.model, "--model", false},
        {o->runtime.denoiser, "--denoiser", false},
        {o->path, "-o", true},
        {o->reference_out, "--reference-out", true},
        {o->codes, "--codes-out", true},
    };
    return cli_claims_agree(claims, CLI_LENGTH(claims));
}

/* Says which combination makes no sense. */
static bool check(const clone_options *o) {
    const tmb_clone_request *r = &o->request;
    bool reads_text = cli_is_standard(r->text);
    bool reads_reference = cli_is_standard(r->ref_audio);
    bool writes_audio = cli_is_standard(o->path);
    if (o->batch != NULL && (r->text != NULL || o->text_file != NULL || o->path != NULL || o->reference_out != NULL))
        cli_error(
            "--batch takes its texts from the file and writes to --out-dir; it excludes --text, --text-file, -o and "
            "--reference-out");
    else if (o->batch != NULL && o->folder == NULL)
        cli_error("where to? --out-dir DIR");
    else if (o->batch == NULL && o->folder != NULL)
        cli_error("--out-dir goes with --batch; for one text use -o FILE");
    else if (o->batch == NULL && r->text == NULL && o->text_file == NULL)
        cli_error("what to say? --text TEXT, --text-file FILE, or --batch FILE for many");
    else if (r->text != NULL && o->text_file != NULL)
        cli_error("--text and --text-file exclude each other");
    else if (r->ref_audio != NULL && r->voice != NULL)
        cli_error("--ref and --voice exclude each other");
    else if (o->batch == NULL && r->ref_audio == NULL && r->voice == NULL)
        cli_error("whose voice? --ref FILE, or --voice FILE for a saved one");
    else if (o->batch == NULL && o->path == NULL)
        cli_error("where to? -o FILE, or -o - for standard output");
    else if (reads_reference && (reads_text || cli_is_standard(o->text_file) || o->batch != NULL))
        cli_error("the reference cannot come from standard input together with something else");
    else if (writes_audio && o->common.json)
        cli_error("--json and -o - both want standard output");
    else
        return o->batch != NULL || (cli_spares_terminal(o->path, &o->output) && claim_files(o));
    return false;
}

/* What is missing is said before a recording is read, and once for a batch. */
static int find_models(const clone_options *o, tmb_context *context) {
    const tmb_clone_request *r = &o->request;
    bool cleans = r->run_post_processing || (r->run_pre_processing && r->voice == NULL);
    tmb_error error = {0};
    if (tmb_resolve(context, TMB_NEED_ENGINE | (cleans ? TMB_NEED_DENOISER : 0u), NULL, &error) == TMB_OK) {
        return CLI_EXIT_OK;
    }
    if (o->common.json) {
        cli_print_json(json_pack("{s:o}", "error", cli_json_error(&error)));
    }
    return cli_fail(&error);
}

static int run_clone(void *options, int count, char **arguments) {
    clone_options *o = options;
    tmb_context *context = NULL;
    char *text = NULL, *ref_text = NULL, *voice_text = NULL;
    cli_voice voice = {0};
    (void)count;
    (void)arguments;
    if (!read_split(o->split, &o->request.split_length))
        return CLI_EXIT_USAGE;
    if (o->request.ref_audio == NULL && !cli_voice_resolve(o->voices, &o->request, &voice, &voice_text))
        return CLI_EXIT_INPUT;
    if (!check(o)) {
        cli_voice_free(&voice);
        free(voice_text);
        return CLI_EXIT_USAGE;
    }
    o->request.stream = cli_is_standard(o->path);
    int status = cli_finish_reference(o, &ref_text);
    bool from_input = cli_is_standard(o->request.text);
    if (status == CLI_EXIT_OK && (from_input || o->text_file != NULL)) {
        text = read_text(from_input ? "-" : o->text_file);
        o->request.text = text;
        status = text != NULL ? CLI_EXIT_OK : CLI_EXIT_INPUT;
    }
    if (status == CLI_EXIT_OK)
        status = cli_offer_models(&o->offer, &o->runtime, &o->engine,
                                  o->request.run_pre_processing || o->request.run_post_processing);
    if (status == CLI_EXIT_OK)
        status = cli_open(&o->runtime, &o->engine, NULL, &context);
    if (status == CLI_EXIT_OK)
        status = find_models(o, context);
    if (status == CLI_EXIT_OK)
        status = o->batch != NULL ? cli_clone_batch(o, context) : cli_clone_one(o, context);
    tmb_close(&context);
    free(text);
    free(ref_text);
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
        "The engine qwen3 clones with Qwen3-TTS, whose model `timbre pull qwen3-tts-0.6b` downloads. Where it is not "
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
