#include "shared.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <utf8proc.h>

const char *const cli_encodings[] = {"s16", "s24", "float", NULL};
const char *const cli_levels[] = {"auto", "off", NULL};
const char *const cli_resamplers[] = {"auto", "soxr", "polyphase", "sinc", NULL};
static const char *const containers[] = {"auto", "wav", "flac", "ogg", "opus", "mp3", "raw", "aac", NULL};
static const char *const engines[] = {"auto", "qwen3", "preview", "remote", NULL};
static const char *const models[] = {"0.6b", "1.7b", "0.6b-customvoice", "1.7b-customvoice", "1.7b-voicedesign", NULL};
static const char *const devices[] = {"auto", "cpu", "cuda", NULL};
static const char *const precisions[] = {"auto", "f32", "bf16", "int8", "int4", NULL};
static const char *const raw_encodings[] = {"as-output", "s16", "s24", "float", NULL};

const cli_option cli_common_options[] = {
    {.name = "json",
     .kind = CLI_FLAG,
     .offset = offsetof(cli_common, json),
     .help = "print results as JSON on standard output, one object a line"},
    {.name = "quiet",
     .letter = 'q',
     .kind = CLI_FLAG,
     .offset = offsetof(cli_common, quiet),
     .help = "print only errors; no progress bar"},
    {.name = "verbose",
     .letter = 'v',
     .kind = CLI_COUNT,
     .offset = offsetof(cli_common, verbose),
     .help = "say more; twice for everything"},
    {.name = "help",
     .letter = 'h',
     .kind = CLI_FLAG,
     .offset = offsetof(cli_common, help),
     .help = "print this and exit"},
};

const cli_option cli_runtime_options[] = {
    {.name = "threads",
     .letter = 't',
     .kind = CLI_INTEGER,
     .offset = offsetof(cli_runtime, threads),
     .argument = "N",
     .minimum = 0,
     .maximum = 256,
     .environment = "TIMBRE_THREADS",
     .also = "num-threads cpu-threads cores",
     .help = "processors to use; 0, the default, is all that this process may use"},
    {.name = "denoiser",
     .kind = CLI_FILE,
     .offset = offsetof(cli_runtime, denoiser),
     .argument = "FILE",
     .environment = "TIMBRE_DENOISER",
     .help = "a DeepFilterNet3 export (tar.gz) instead of the installed one; fine-tuned and low-latency exports work"},
    {.name = "memory",
     .kind = CLI_BYTES,
     .offset = offsetof(cli_runtime, memory_budget),
     .argument = "BYTES",
     .environment = "TIMBRE_MEMORY",
     .also = "memory-budget max-memory ram",
     .help = "budget for models and running sequences, as 2G; the default is three quarters of the machine's or "
             "control group's memory"},
};

const cli_option cli_engine_options[] = {
    {.name = "engine",
     .kind = CLI_TEXT,
     .offset = offsetof(cli_engine, engine),
     .argument = "NAME",
     .environment = "TIMBRE_ENGINE",
     .choices = engines,
     .help = "qwen3 (the voice clone), preview (a built-in voice that needs no download and is no clone), remote (a "
             "speech server), or auto, the default: qwen3 if its model is installed, otherwise preview"},
    {.name = "model",
     .kind = CLI_LIST,
     .offset = offsetof(cli_engine, models),
     .argument = "MODEL",
     .environment = "TIMBRE_MODEL",
     .choices = models,
     .also = "checkpoint model-path model-dir model-id",
     .help =
         "folder of a Qwen3-TTS checkpoint, or its name as installed; may be repeated, as MODEL or NAME=MODEL: what "
         "is asked decides which one speaks; default: the smallest installed that can"},
    {.name = "precision",
     .kind = CLI_TEXT,
     .offset = offsetof(cli_engine, precision),
     .argument = "KIND",
     .environment = "TIMBRE_PRECISION",
     .choices = precisions,
     .also = "dtype quantization quantize quant",
     .help = "f32, bf16, int8, int4, or by network as talker=int8,predictor=int4,codec=bf16; default auto: the fastest "
             "that is documented as safe"},
    {.name = "device",
     .kind = CLI_TEXT,
     .offset = offsetof(cli_engine, device),
     .argument = "DEVICE",
     .environment = "TIMBRE_DEVICE",
     .choices = devices,
     .also = "gpu cuda backend",
     .help =
         "what computes Qwen3-TTS: cpu, the default; cuda or cuda:N, an NVIDIA GPU; auto, the first GPU if it can do "
         "it, otherwise the CPU"},
    {.name = "gpu-memory",
     .kind = CLI_BYTES,
     .offset = offsetof(cli_engine, gpu_memory),
     .argument = "SIZE",
     .environment = "TIMBRE_GPU_MEMORY",
     .also = "vram",
     .help =
         "the GPU's memory for models and running sequences, as 6G; at most, and by default, nine tenths of what is "
         "free when a model is loaded and none is there"},
    {.name = "remote-url",
     .kind = CLI_LIST,
     .offset = offsetof(cli_engine, remote_urls),
     .argument = "URL",
     .environment = "TIMBRE_REMOTE_URL",
     .also = "url server server-url base-url api-base",
     .help = "a speech server of --engine remote; more may be given: who has least to do is asked. URL#limit=N bounds "
             "requests at once. Their key comes from TIMBRE_REMOTE_KEY"},
    {.name = "remote-hedge",
     .kind = CLI_NUMBER,
     .offset = offsetof(cli_engine, remote_hedge),
     .argument = "S",
     .minimum = 0,
     .maximum = 3600,
     .help = "ask a second speech server too after S seconds without audio, and take who speaks first; 0, the default, "
             "is never"},
    {.name = "max-batch",
     .kind = CLI_INTEGER,
     .offset = offsetof(cli_engine, max_batch),
     .argument = "N",
     .minimum = 0,
     .maximum = 4096,
     .help = "items that speak at the same time; 0, the default, leaves it to the engine"},
    {.name = "no-ffmpeg",
     .kind = CLI_FLAG,
     .offset = offsetof(cli_engine, no_ffmpeg),
     .help = "never start ffmpeg, which otherwise decodes references that timbre does not (M4A, WebM, ...)"},
    {.name = "no-preview",
     .kind = CLI_FLAG,
     .offset = offsetof(cli_engine, no_preview),
     .help = "fail if no model is installed, rather than speak with the preview voice"},
};

const cli_option cli_transcribe_options[] = {
    {.name = "transcribe-url",
     .kind = CLI_TEXT,
     .offset = offsetof(cli_engine, transcribe_url),
     .argument = "URL",
     .environment = "TIMBRE_TRANSCRIBE_URL",
     .also = "whisper whisper-url asr-url stt-url transcribe",
     .help = "speech-to-text server with OpenAI's /v1/audio/transcriptions (whisper.cpp's, speaches, ...): writes the "
             "transcript where --ref-text is missing; its key comes from TIMBRE_TRANSCRIBE_KEY"},
    {.name = "transcribe-model",
     .kind = CLI_TEXT,
     .offset = offsetof(cli_engine, transcribe_model),
     .argument = "NAME",
     .environment = "TIMBRE_TRANSCRIBE_MODEL",
     .also = "whisper-model asr-model stt-model",
     .help = "that server's name of its model; default whisper-1"},
};

const cli_option cli_output_options[] = {
    {.name = "encoding",
     .kind = CLI_CHOICE,
     .offset = offsetof(cli_output, encoding),
     .argument = "KIND",
     .choices = cli_encodings,
     .help = "samples of WAV, FLAC and raw output: s16 (default), s24, float"},
    {.name = "format",
     .kind = CLI_CHOICE,
     .offset = offsetof(cli_output, container),
     .argument = "KIND",
     .choices = containers,
     .help = "wav, flac, ogg, opus, mp3, raw, aac (by ffmpeg); default auto: by the output's ending, WAV for -"},
    {.name = "force",
     .kind = CLI_FLAG,
     .offset = offsetof(cli_output, force),
     .help = "write audio to standard output even if that is a terminal"},
};

const cli_option cli_raw_options[] = {
    {.name = "raw",
     .kind = CLI_FLAG,
     .offset = offsetof(cli_raw, raw),
     .help = "inputs are headerless little-endian PCM; so is the output on -"},
    {.name = "channels",
     .letter = 'c',
     .kind = CLI_INTEGER,
     .offset = offsetof(cli_raw, channels),
     .argument = "N",
     .minimum = 1,
     .maximum = 8,
     .help = "channels of raw input; default 1"},
    {.name = "raw-encoding",
     .kind = CLI_CHOICE,
     .offset = offsetof(cli_raw, encoding),
     .argument = "KIND",
     .choices = raw_encodings,
     .help = "samples of raw input, if they differ from --encoding: s16, s24, float"},
};

const cli_option cli_limit_options[] = {
    {.name = "max-seconds",
     .kind = CLI_NUMBER,
     .offset = offsetof(tmb_audio_limits, max_seconds),
     .argument = "S",
     .minimum = 0,
     .maximum = 1e9,
     .help = "refuse longer inputs; 0, the default, is no limit: files are streamed"},
};

const cli_option cli_reading_options[] = {
    {.name = "salvage",
     .kind = CLI_FLAG,
     .offset = offsetof(tmb_audio_limits, salvage),
     .help = "read a damaged or cut recording as far as it goes, with a warning, instead of refusing it"},
    {.name = "no-ffmpeg",
     .kind = CLI_FLAG,
     .offset = offsetof(tmb_audio_limits, no_ffmpeg),
     .help = "never start ffmpeg, which otherwise decodes what timbre does not: M4A, MP4, WebM, AAC, AMR, WMA, ..."},
};

bool cli_uses_checkpoint(const cli_engine *engine) {
    return engine->engine == NULL || strcmp(engine->engine, "auto") == 0 || strcmp(engine->engine, "qwen3") == 0;
}

void cli_fill_options(const cli_runtime *runtime, const cli_engine *engine, tmb_options *out) {
    out->denoiser = runtime->denoiser;
    out->threads = runtime->threads;
    out->memory_budget = runtime->memory_budget;
    out->log = cli_log;
    out->log_level = cli_log_level();
    if (engine == NULL) {
        return;
    }
    if (engine->engine != NULL) {
        out->engine = engine->engine;
    }
    if (engine->precision != NULL) {
        out->precision = engine->precision;
    }
    out->device = engine->device;
    out->gpu_memory = engine->gpu_memory;
    out->remote_hedge = engine->remote_hedge;
    out->remote_key = getenv("TIMBRE_REMOTE_KEY");
    out->transcribe_url = engine->transcribe_url;
    out->transcribe_key = getenv("TIMBRE_TRANSCRIBE_KEY");
    out->transcribe_model = engine->transcribe_model;
    out->max_batch = engine->max_batch;
    out->no_ffmpeg = engine->no_ffmpeg;
    out->no_preview = engine->no_preview;
}

/* All of them, with spaces between; NULL if there are none. *good: whether there was memory. */
static char *join(const cli_list *list, bool *good) {
    size_t size = 1;
    *good = true;
    for (size_t i = 0; i < list->count; i++) {
        size += strlen(list->items[i]) + 1;
    }
    if (list->count == 0) {
        return NULL;
    }
    char *out = malloc(size);
    char *end = out;
    *good = out != NULL;
    for (size_t i = 0; *good && i < list->count; i++) {
        end = stpcpy(stpcpy(end, i == 0 ? "" : " "), list->items[i]);
    }
    return out;
}

const char *cli_model_path(const char *text) {
    char *name = NULL;
    const char *model = text;
    (void)tmb_model_spec_parse(text, &name, &model, NULL);
    tmb_free(name);
    return model;
}

/* The models that --model names; `specs` are freed by free_models. The exit status. */
static int read_models(const cli_list *list, tmb_model_spec *specs) {
    for (size_t i = 0; i < list->count; i++) {
        tmb_error error = {0};
        char *name = NULL;
        if (tmb_model_spec_parse(list->items[i], &name, &specs[i].model, &error) != TMB_OK) {
            cli_error("--model: %s", error.message);
            return CLI_EXIT_USAGE;
        }
        specs[i].name = name;
    }
    return CLI_EXIT_OK;
}

static void free_models(tmb_model_spec *specs, size_t count) {
    for (size_t i = 0; i < count; i++) {
        tmb_free((char *)(uintptr_t)specs[i].name);
    }
}

int cli_open(const cli_runtime *runtime, const cli_engine *engine, const tmb_options *base, tmb_context **out) {
    tmb_model_spec specs[CLI_LENGTH(engine->models.items)] = {{NULL, NULL}};
    size_t count = engine != NULL ? engine->models.count : 0;
    tmb_options options;
    tmb_error error = {0};
    if (base != NULL) {
        options = *base;
    } else {
        tmb_options_default(&options);
    }
    cli_fill_options(runtime, engine, &options);
    bool good = true;
    char *urls = engine != NULL ? join(&engine->remote_urls, &good) : NULL;
    int status = count > 0 ? read_models(&engine->models, specs) : CLI_EXIT_OK;
    if (!good) {
        cli_error("no memory for the options");
        status = CLI_EXIT_FAILED;
    }
    if (urls != NULL) {
        options.remote_url = urls;
    }
    if (count == 1 && specs[0].name == NULL) {
        options.model = specs[0].model;
    } else {
        options.models = specs;
        options.model_count = count;
    }
    if (status == CLI_EXIT_OK && tmb_open(&options, out, &error) != TMB_OK) {
        status = cli_fail(&error);
    }
    free_models(specs, count);
    free(urls);
    return status;
}

bool cli_raw_format(const cli_raw *raw, const cli_output *output, tmb_raw_format *out) {
    if (raw->raw && raw->rate == 0) {
        cli_error("--raw needs --rate: the input does not say it itself");
        return false;
    }
    *out = (tmb_raw_format){
        .rate = raw->rate,
        .channels = raw->channels > 0 ? raw->channels : 1,
        .encoding = (tmb_encoding)(raw->encoding > 0 ? raw->encoding - 1 : output->encoding),
    };
    return true;
}

int cli_open_input(const char *path, const cli_raw *raw, const cli_output *output, const tmb_audio_limits *limits,
                   tmb_audio_reader **reader, tmb_audio_info *info, tmb_error *error) {
    tmb_raw_format format;
    if (!cli_raw_format(raw, output, &format)) {
        return CLI_EXIT_USAGE;
    }
    return cli_exit_of_input(tmb_audio_open(path, raw->raw ? &format : NULL, limits, reader, info, error));
}

bool cli_spares_terminal(const char *path, const cli_output *output) {
    bool spares = !cli_is_standard(path) || output->force || !isatty(STDOUT_FILENO);
    if (!spares) {
        cli_error("standard output is a terminal and audio is not for reading: -o FILE, a pipe (`-o - | aplay`), or "
                  "--force");
    }
    return spares;
}

int cli_create_output(const tmb_audio_reader *like, const char *path, const cli_raw *raw, const cli_output *output,
                      int rate, int channels, tmb_audio_writer **writer, tmb_error *error) {
    tmb_container container = (tmb_container)output->container;
    if (container == TMB_CONTAINER_AUTO && raw->raw && cli_is_standard(path)) {
        container = TMB_CONTAINER_RAW;
    }
    tmb_status status =
        tmb_audio_create_like(like, path, container, (tmb_encoding)output->encoding, rate, channels, writer, error);
    return status == TMB_OK ? CLI_EXIT_OK : status == TMB_ERROR_ARGUMENT ? CLI_EXIT_USAGE : CLI_EXIT_FAILED;
}

void cli_tell_warnings(const char *input, const tmb_audio_reader *reader, json_t *object) {
    const char *name = cli_is_standard(input) ? "standard input" : input;
    const size_t count = tmb_audio_warning_count(reader);
    json_t *list = object != NULL && count > 0 ? json_array() : NULL;
    for (size_t i = 0; i < count; i++) {
        cli_warning("%s %s", name, tmb_audio_warning(reader, i));
        if (list != NULL) {
            (void)json_array_append_new(list, json_string(tmb_audio_warning(reader, i)));
        }
    }
    if (list != NULL) {
        (void)json_object_set_new(object, "warnings", list);
    }
}

void cli_print_json(json_t *object) {
    char *line =
        object == NULL ? NULL : json_dumps(object, JSON_COMPACT | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(9));
    if (line != NULL) {
        cli_print_line(line);
    } else {
        cli_error("no memory for the result");
        cli_output_failed();
    }
    free(line);
    json_decref(object);
}

/* The bytes of a character at `text`, or 0 if they are not UTF-8. */
static size_t character_length(const char *text) {
    utf8proc_int32_t code;
    utf8proc_ssize_t length =
        utf8proc_iterate((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)strnlen(text, 4), &code);
    return length > 0 ? (size_t)length : 0;
}

json_t *cli_json_text(const char *text) {
    static const char replacement[] = "\xef\xbf\xbd";
    if (text == NULL) {
        return json_null();
    }
    char *valid = malloc(3 * strlen(text) + 1);
    size_t used = 0;
    if (valid == NULL) {
        return NULL;
    }
    while (*text != '\0') {
        size_t length = character_length(text);
        memcpy(valid + used, length > 0 ? text : replacement, length > 0 ? length : 3);
        used += length > 0 ? length : 3;
        text += length > 0 ? length : 1;
    }
    json_t *json = json_stringn(valid, used);
    free(valid);
    return json;
}

json_t *cli_json_number(double value, int digits) {
    double scale = 1;
    if (!(value >= -1e15 && value <= 1e15)) {
        return json_null();
    }
    for (int i = 0; i < digits; i++) {
        scale *= 10;
    }
    return json_real((double)(long long)(value * scale + (value < 0 ? -0.5 : 0.5)) / scale);
}

json_t *cli_json_error(const tmb_error *error) {
    json_t *object = json_object();
    (void)json_object_set_new(object, "type", json_string(tmb_status_name(error->status)));
    (void)json_object_set_new(object, "message", cli_json_text(error->message));
    return object;
}

bool cli_reader_left(const char *output, const tmb_error *error) {
    return cli_is_standard(output) && error->system == EPIPE;
}

void cli_report_failure(const char *input, const tmb_error *error, bool json) {
    const char *name = cli_is_standard(input) ? "standard input" : input;
    if (error->status == TMB_OK || cli_interrupted()) {
        return;
    }
    /* Most of the library's messages name the file already. */
    const bool named = error->name_bytes > 0;
    cli_error("%s%s%s", named ? "" : name, named ? "" : ": ", error->message);
    if (json) {
        cli_print_json(json_pack("{s:o, s:o}", "input", cli_json_text(input), "error", cli_json_error(error)));
    }
}

void cli_json_clipped(json_t *object, uint64_t clipped) {
    json_t *warnings = json_object_get(object, "warnings");
    if (warnings == NULL) {
        warnings = json_array();
        (void)json_object_set_new(object, "warnings", warnings);
    }
    (void)json_object_set_new(object, "clipped", json_integer((json_int_t)clipped));
    if (clipped > 0) {
        (void)json_array_append_new(
            warnings,
            json_sprintf("%llu samples were beyond full scale and were clipped; write floats or lower the input",
                         (unsigned long long)clipped));
    }
}

void cli_warn_clipped(const char *path, uint64_t clipped) {
    if (clipped > 0) {
        cli_warning(
            "%s: %llu samples were beyond full scale and were clipped; write floats (--encoding float) or lower the "
            "input",
            path, (unsigned long long)clipped);
    }
}
