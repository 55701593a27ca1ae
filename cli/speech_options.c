/* What the commands that speak have in common: their options, and texts from files. */
#include "speech.h"

#include <stdlib.h>
#include <string.h>

enum { MAXIMUM_TEXT = 16 * 1024 * 1024 };

/* Longest piece of a long text, in letters: about half a minute of speech. */
enum { SPLIT_AUTO = 400 };
static const char *const splits[] = {"auto", "off", NULL};

static const char *const languages[] = {"auto", "en", "zh", "ja", "ko", "de", "fr", "ru", "pt", "es", "it", NULL};

const cli_option cli_voice_file_options[2] = {
    {.name = "output",
     .letter = 'o',
     .kind = CLI_FILE,
     .offset = offsetof(clone_options, path),
     .argument = "FILE",
     .writes = true,
     .also = "out outfile out-file output-file voice",
     .help = "where the voice goes: a file (this or --name is needed)"},
    {.name = "name",
     .letter = 'n',
     .kind = CLI_TEXT,
     .offset = offsetof(clone_options, voice_name),
     .argument = "NAME",
     .help = "store it under a name, in the user's folder of voices, for `timbre clone --voice NAME`"},
};

const cli_option cli_reference_options[11] = {
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
     .help = "what is said in it, word for word; makes the clone closer. Without it only the speaker embedding "
             "(timbre) is used, not the speaking style"},
    {.name = "ref-text-file",
     .kind = CLI_FILE,
     .offset = offsetof(clone_options, ref_text_file),
     .argument = "FILE",
     .also = "reference-text-file transcript-file",
     .help = "the same from a file"},
    {.name = "x-vector-only",
     .kind = CLI_FLAG,
     .offset = offsetof(clone_options, request.x_vector_only),
     .help = "use only the speaker embedding (timbre), not the speaking style, even with --ref-text"},
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
     .help = "trim the recording's leading and trailing silence"},
    {.name = "ref-silence",
     .kind = CLI_NUMBER,
     .offset = offsetof(clone_options, request.reference_silence),
     .argument = "S",
     .minimum = 0,
     .maximum = 5,
     .help = "seconds of silence behind the recording: keeps its last words out of the speech; default 0"},
    {.name = "salvage",
     .kind = CLI_FLAG,
     .offset = offsetof(clone_options, request.salvage),
     .help = "read a damaged or cut recording as far as it goes, with a warning, instead of refusing it"},
};
const cli_option cli_text_options[9] = {
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
     .help = "give the engine the whole text before it begins; the default for speakers and descriptions"},
    {.name = "streaming-text",
     .kind = CLI_FLAG,
     .offset = offsetof(clone_options, request.streaming_text),
     .help = "give the engine the text in time with the speech; the default for clones"},
    {.name = "split",
     .kind = CLI_TEXT,
     .offset = offsetof(clone_options, split),
     .argument = "auto|off|N",
     .choices = splits,
     .help =
         "speak a text of more than N letters in pieces, cut at headings and sentence ends (a character of Chinese, "
         "Japanese or Korean is three letters); auto, the default, is 400; off is never. The engine qwen3 does this; "
         "others speak a text as a whole"},
    {.name = "pauses",
     .kind = CLI_FLAG,
     .offset = offsetof(clone_options, request.pauses),
     .help = "understand [pause:1.5s] and [pause:500ms] in the text; the engine qwen3 does, others refuse such a text"},
    {.name = "max-frames",
     .kind = CLI_INTEGER,
     .offset = offsetof(clone_options, request.max_frames),
     .argument = "N",
     .also = "max-new-tokens max-tokens",
     .item_field = "max_frames",
     .help = "at most N - 1 frames of 80 ms, as the official max_new_tokens; 0, the default, is the model's"},
    {.name = "max-seconds",
     .kind = CLI_NUMBER,
     .offset = offsetof(clone_options, request.max_seconds),
     .argument = "S",
     .item_field = "max_seconds",
     .help = "at most that much speech; 0, the default, is no limit of its own"},
};
const cli_option cli_sampling_options[11] = {
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
     .item_field = "temperature",
     .help = "higher is more varied; default: the model's"},
    {.name = "top-k",
     .kind = CLI_INTEGER,
     .offset = offsetof(clone_options, request.top_k),
     .argument = "K",
     .item_field = "top_k",
     .help = "draw from the K likeliest; 0 is no limit; default: the model's"},
    {.name = "top-p",
     .kind = CLI_NUMBER,
     .offset = offsetof(clone_options, request.top_p),
     .argument = "P",
     .item_field = "top_p",
     .help = "draw from the likeliest that make up P; default: the model's"},
    {.name = "repetition-penalty",
     .kind = CLI_NUMBER,
     .offset = offsetof(clone_options, request.repetition_penalty),
     .argument = "R",
     .item_field = "repetition_penalty",
     .help = "above 1 repeats less; default: the model's"},
    {.name = "subtalker-temperature",
     .kind = CLI_NUMBER,
     .offset = offsetof(clone_options, request.subtalker_temperature),
     .argument = "T",
     .item_field = "subtalker_temperature",
     .help = "the same for the code predictor, which fills in the fine codes"},
    {.name = "subtalker-top-k",
     .kind = CLI_INTEGER,
     .offset = offsetof(clone_options, request.subtalker_top_k),
     .argument = "K",
     .item_field = "subtalker_top_k",
     .help = "the same for the code predictor"},
    {.name = "subtalker-top-p",
     .kind = CLI_NUMBER,
     .offset = offsetof(clone_options, request.subtalker_top_p),
     .argument = "P",
     .item_field = "subtalker_top_p",
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
const cli_option cli_result_options[6] = {
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
    {.name = "speed",
     .kind = CLI_NUMBER,
     .offset = offsetof(clone_options, speed),
     .argument = "X",
     .minimum = 0.25,
     .maximum = 4,
     .also = "rate tempo pace speed-factor",
     .help = "make the speech X times as fast, at the same pitch; 0.25 to 4, default 1"},
    {.name = "codes-out",
     .kind = CLI_FILE,
     .offset = offsetof(clone_options, codes),
     .argument = "NPY|DIR",
     .writes = true,
     .help = "write the generated codes, int16 [frames, codebooks], as a NumPy file; a folder with --batch"},
};
const cli_option cli_batch_options[2] = {
    {.name = "batch",
     .letter = 'b',
     .kind = CLI_FILE,
     .offset = offsetof(clone_options, batch),
     .argument = "FILE",
     .also = "jsonl items batch-file manifest",
     .help = "many items: a JSON object a line with text, ref_audio, ref_text, speaker, instruct, model, language, "
             "custom_id, voice, temperature, top_k, top_p, repetition_penalty, seed, max_seconds, x_vector_only, "
             "run_pre_processing, run_post_processing, level, salvage, response_format; files are relative to FILE; "
             "what is absent is as "
             "the options say"},
    {.name = "out-dir",
     .kind = CLI_FOLDER,
     .offset = offsetof(clone_options, folder),
     .argument = "DIR",
     .writes = true,
     .also = "output-dir outdir output-folder",
     .help = "where a batch's files go, named by custom_id or by line"},
};

void cli_clone_defaults(void *options) {
    clone_options *o = options;
    tmb_clone_request_default(&o->request);
    o->speed = 1;
    o->request.guard_runaway = true; /* the released models miss their end in some of a thousand texts */
    o->pre_attenuation = (double)o->request.pre.attenuation_limit_db;
    o->pre_beta = (double)o->request.pre.post_filter_beta;
    o->post_attenuation = (double)o->request.post.attenuation_limit_db;
    o->post_beta = (double)o->request.post.post_filter_beta;
}

bool cli_read_split(const char *text, size_t *length) {
    const cli_option option = {.kind = CLI_INTEGER, .minimum = 0, .maximum = 1000000};
    char reason[200];
    int number = 0;
    if (text == NULL || strcmp(text, "auto") == 0) {
        *length = SPLIT_AUTO;
    } else if (strcmp(text, "off") == 0) {
        *length = 0;
    } else if (cli_parse_value(&option, &number, text, reason, sizeof reason)) {
        *length = (size_t)number;
    } else {
        cli_error("--split: %s; auto and off are legal too", reason);
        return false;
    }
    return true;
}

char *cli_read_line_text(const char *path) {
    size_t size;
    char *text = cli_read_text(path, MAXIMUM_TEXT, &size);
    if (text != NULL && strlen(text) != size) {
        cli_error(cli_is_utf16(text, size) ? "%s is UTF-16: save it as UTF-8"
                                           : "%s is not a text: it contains a zero byte",
                  path);
        free(text);
        return NULL;
    }
    while (text != NULL && size > 0 && (text[size - 1] == '\n' || text[size - 1] == '\r')) {
        text[--size] = '\0';
    }
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
    if (o->ref_text_file == NULL) {
        return CLI_EXIT_OK;
    }
    if (o->request.ref_text != NULL) {
        cli_error("--ref-text and --ref-text-file exclude each other");
        return CLI_EXIT_USAGE;
    }
    *text = cli_read_line_text(o->ref_text_file);
    o->request.ref_text = *text;
    return *text != NULL ? CLI_EXIT_OK : CLI_EXIT_INPUT;
}
