#include "claims.h"
#include "commands.h"
#include "loudness.h"
#include "offer.h"
#include "shared.h"
#include "spectrogram.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

typedef struct enhance_options {
    cli_common common;
    cli_runtime runtime;
    cli_offer offer;
    cli_output output;
    cli_raw raw;
    const char *path, *folder, *plot;
    bool no_suffix, post_filter, low_latency, compensate_delay;
    double attenuation_limit, post_filter_beta;
    int output_rate, resampler, level, jobs;
    tmb_audio_limits limits;
} enhance_options;

static const cli_option own_options[] = {
    {.name = "output",
     .letter = 'o',
     .kind = CLI_FILE,
     .offset = offsetof(enhance_options, path),
     .argument = "FILE|DIR",
     .writes = true,
     .also = "out outfile out-file output-file",
     .help = "where the clean audio goes: a file, - for standard output, or a folder (needed for "
             "several inputs), where the files are named NAME_enhanced"},
    {.name = "output-dir",
     .kind = CLI_FOLDER,
     .offset = offsetof(enhance_options, folder),
     .argument = "DIR",
     .writes = true,
     .also = "out-dir outdir output-folder",
     .help = "the same, always a folder; it is made if it is missing"},
    {.name = "no-suffix",
     .kind = CLI_FLAG,
     .offset = offsetof(enhance_options, no_suffix),
     .help = "in a folder, keep the input's name without _enhanced"},
    {.name = "atten-lim-db",
     .letter = 'a',
     .kind = CLI_NUMBER,
     .offset = offsetof(enhance_options, attenuation_limit),
     .argument = "DB",
     .minimum = 0,
     .maximum = 100,
     .help = "lower no part of the sound by more than this, so that some of the room stays; 100, the default, is no "
             "limit, 0 changes nothing"},
    {.name = "pf",
     .kind = CLI_FLAG,
     .offset = offsetof(enhance_options, post_filter),
     .help = "post-filter: press down what is very noisy a little more"},
    {.name = "pf-beta",
     .kind = CLI_NUMBER,
     .offset = offsetof(enhance_options, post_filter_beta),
     .argument = "BETA",
     .minimum = 0,
     .maximum = 1,
     .help = "strength of the post-filter, and turns it on; --pf alone is 0.02"},
    {.name = "level",
     .kind = CLI_CHOICE,
     .offset = offsetof(enhance_options, level),
     .argument = "auto|off",
     .choices = cli_levels,
     .help =
         "auto, the default: speech that is much too quiet or too loud is kept like any other (a file is measured "
         "first, a pipe as it comes); off: the model hears the recording as it is, and takes quiet speech for noise"},
    {.name = "compensate-delay",
     .letter = 'D',
     .kind = CLI_FLAG,
     .offset = offsetof(enhance_options, compensate_delay),
     .help = "the output is aligned with the input and as long; this is the default"},
    {.name = "no-compensate-delay",
     .kind = CLI_UNFLAG,
     .offset = offsetof(enhance_options, compensate_delay),
     .help = "leave the model's delay of 30 ms in"},
    {.name = "low-latency",
     .kind = CLI_FLAG,
     .offset = offsetof(enhance_options, low_latency),
     .help = "work in pieces of 10 ms and write each at once, for live pipes; same samples, more time"},
    {.name = "output-rate",
     .kind = CLI_RATE,
     .offset = offsetof(enhance_options, output_rate),
     .argument = "HZ",
     .minimum = 4000,
     .maximum = 192000,
     .help = "rate of the output; default 48000, the model's own"},
    {.name = "resampler",
     .kind = CLI_CHOICE,
     .offset = offsetof(enhance_options, resampler),
     .argument = "KIND",
     .choices = cli_resamplers,
     .help = "auto (default), soxr, polyphase or sinc, for other rates than 48000"},
    {.name = "plot",
     .kind = CLI_FILE,
     .offset = offsetof(enhance_options, plot),
     .argument = "PNG|DIR",
     .writes = true,
     .also = "spectrogram image picture",
     .help = "draw spectrograms of before and after into a .png; a folder for several inputs"},
    {.name = "jobs",
     .letter = 'j',
     .kind = CLI_INTEGER,
     .offset = offsetof(enhance_options, jobs),
     .argument = "N",
     .minimum = 0,
     .maximum = 256,
     .help = "files at the same time; 0, the default, is as many as --threads"},
};
static const cli_option raw_rate_option[] = {
    {.name = "rate",
     .letter = 'r',
     .kind = CLI_RATE,
     .also = "sample-rate samplerate sr input-rate",
     .offset = offsetof(cli_raw, rate),
     .argument = "HZ",
     .minimum = 4000,
     .maximum = 192000,
     .help = "rate of raw input; needed with --raw"},
};
static const cli_group groups[] = {
    {"Enhancement", own_options, CLI_LENGTH(own_options), 0},
    {"Enhancement", cli_limit_options, CLI_LENGTH(cli_limit_options), offsetof(enhance_options, limits)},
    {"Enhancement", cli_reading_options, CLI_LENGTH(cli_reading_options), offsetof(enhance_options, limits)},
    {"Output", cli_output_options, CLI_LENGTH(cli_output_options), offsetof(enhance_options, output)},
    {"Raw input", cli_raw_options, CLI_LENGTH(cli_raw_options), offsetof(enhance_options, raw)},
    {"Raw input", raw_rate_option, CLI_LENGTH(raw_rate_option), offsetof(enhance_options, raw)},
    {"Running", cli_runtime_options, CLI_LENGTH(cli_runtime_options), offsetof(enhance_options, runtime)},
    {"Running", cli_offer_options, CLI_LENGTH(cli_offer_options), offsetof(enhance_options, offer)},
    CLI_COMMON_GROUP,
};

typedef struct job {
    const char *input;
    char *output, *plot; /* owned; plot may be NULL */
    uint64_t length;     /* the header's hint */
    int rate;
    double progress; /* 0 to 1 */
    int status;
    tmb_error error;
} job;

typedef struct work {
    const enhance_options *options;
    tmb_context *context;
    job *jobs;
    size_t count;
    atomic_size_t next, done;
    pthread_mutex_t lock;
} work;

static void show_progress(work *w, job *j, double fraction, double seconds) {
    char time[32];
    double sum = 0;
    (void)pthread_mutex_lock(&w->lock);
    j->progress = fraction;
    for (size_t i = 0; i < w->count; i++) {
        sum += w->jobs[i].progress;
    }
    (void)pthread_mutex_unlock(&w->lock);
    (void)cli_format_time(seconds, time, sizeof time);
    if (w->count > 1) {
        cli_progress(sum / (double)w->count, "%zu of %zu files, %s", atomic_load(&w->done), w->count, j->input);
    } else {
        cli_progress(j->length > 0 ? sum : -1, "%s %s", time, j->input);
    }
}

/* One file's way, from open to close. */
typedef struct stream {
    tmb_audio_reader *reader;
    tmb_audio_writer *writer;
    tmb_enhance_stream *enhancer;
    tmb_level *level; /* of a file; NULL: of a pipe, or off */
    tmb_audio_info info;
    bool measures; /* loudness and level, for those who ask for JSON */
    cli_loudness *before, *after;
    uint64_t heard, written; /* samples per channel */
    cli_spectrogram *plot_before, *plot_after;
    uint64_t clipped;
    float *samples; /* [capacity, channels] */
    size_t capacity;
} stream;

/* How loud the speech is, from a reading of its own: the file is decoded twice, and its memory stays small. */
static int measure_level(const enhance_options *o, job *j, stream *s) {
    enum { CHUNK = 8192 };
    tmb_audio_reader *reader = NULL;
    tmb_audio_info info;
    int status = cli_open_input(j->input, &o->raw, &o->output, &o->limits, &reader, &info, &j->error);
    if (status != CLI_EXIT_OK) {
        return status;
    }
    float *samples = calloc((size_t)CHUNK * (size_t)info.channels, sizeof(float));
    tmb_status measured = tmb_level_create(info.rate, info.channels, &s->level, &j->error);
    if (samples == NULL) {
        cli_set_error(&j->error, measured = TMB_ERROR_MEMORY, "no memory for the recording's level");
    }
    status = cli_exit_of(measured);
    for (size_t count = 1; status == CLI_EXIT_OK && count > 0;) {
        if (cli_interrupted()) {
            status = CLI_EXIT_INTERRUPTED;
        } else if ((measured = tmb_audio_read(reader, samples, CHUNK, &count, &j->error)) != TMB_OK) {
            status = cli_exit_of_input(measured);
        } else {
            status = cli_exit_of(tmb_level_push(s->level, samples, count, &j->error));
        }
    }
    free(samples);
    tmb_audio_close(&reader);
    return status;
}

static int open_stream(work *w, job *j, stream *s) {
    const enhance_options *o = w->options;
    tmb_enhance_options enhance;
    int status = cli_open_input(j->input, &o->raw, &o->output, &o->limits, &s->reader, &s->info, &j->error);
    if (status != CLI_EXIT_OK) {
        return status;
    }
    j->length = s->info.length;
    tmb_enhance_options_default(&enhance);
    enhance.attenuation_limit_db = (float)o->attenuation_limit;
    enhance.post_filter_beta = (float)(o->post_filter_beta > 0 ? o->post_filter_beta : o->post_filter ? 0.02 : 0);
    enhance.input_rate = s->info.rate;
    enhance.output_rate = o->output_rate;
    enhance.channels = s->info.channels;
    enhance.low_latency = o->low_latency;
    enhance.compensate_delay = o->compensate_delay;
    enhance.resampler = (tmb_resampler_kind)o->resampler;
    enhance.level = (tmb_level_mode)o->level;
    if (enhance.level == TMB_LEVEL_AUTO && cli_is_regular(j->input)) {
        status = measure_level(o, j, s);
        if (status != CLI_EXIT_OK) {
            return status;
        }
    }
    enhance.measured = s->level;
    if (tmb_enhance_open(w->context, &enhance, &s->enhancer, &j->error) != TMB_OK) {
        return cli_exit_of_model(j->error.status);
    }
    s->capacity = (size_t)s->info.rate / (o->low_latency ? 100 : 5);
    s->samples = calloc(s->capacity * (size_t)s->info.channels, sizeof(float));
    s->measures = o->common.json;
    s->before = cli_loudness_create(s->info.rate, s->info.channels);
    s->after = cli_loudness_create(o->output_rate, s->info.channels);
    if (j->plot != NULL) {
        double top = s->info.rate < 48000 ? 24000 : s->info.rate / 2.0;
        s->plot_before = cli_spectrogram_create(s->info.rate, top);
        s->plot_after = cli_spectrogram_create(o->output_rate, top);
    }
    if (s->samples == NULL || s->before == NULL || s->after == NULL ||
        (j->plot != NULL && (s->plot_before == NULL || s->plot_after == NULL))) {
        cli_set_error(&j->error, TMB_ERROR_MEMORY, "no memory for the stream");
        return CLI_EXIT_FAILED;
    }
    return cli_create_output(s->reader, j->output, &o->raw, &o->output, o->output_rate, s->info.channels, &s->writer,
                             &j->error);
}

static void close_stream(stream *s) {
    tmb_audio_close(&s->reader);
    tmb_enhance_close(&s->enhancer);
    tmb_level_destroy(&s->level);
    if (s->writer != NULL) {
        tmb_audio_abort(&s->writer);
    }
    cli_loudness_destroy(&s->before);
    cli_loudness_destroy(&s->after);
    cli_spectrogram_destroy(&s->plot_before);
    cli_spectrogram_destroy(&s->plot_after);
    free(s->samples);
}

static int write_ready(job *j, stream *s) {
    size_t count;
    while ((count = tmb_enhance_pull(s->enhancer, s->samples, s->capacity)) > 0) {
        if (tmb_audio_write(s->writer, s->samples, count, &j->error) != TMB_OK) {
            return CLI_EXIT_FAILED;
        }
        s->written += count;
        /* What is told and drawn is what was written. */
        if (s->measures || s->plot_after != NULL) {
            tmb_audio_clip(s->writer, s->samples, count);
        }
        if (s->measures) {
            cli_loudness_push(s->after, s->samples, count);
        }
        if (s->plot_after != NULL) {
            cli_spectrogram_push(s->plot_after, s->samples, count, s->info.channels);
        }
    }
    return CLI_EXIT_OK;
}

static int copy_stream(work *w, job *j, stream *s) {
    int status = CLI_EXIT_OK;
    for (size_t count = 1; count > 0 && status == CLI_EXIT_OK;) {
        if (cli_interrupted()) {
            return CLI_EXIT_INTERRUPTED;
        }
        if (tmb_audio_read(s->reader, s->samples, s->capacity, &count, &j->error) != TMB_OK) {
            return cli_exit_of_input(j->error.status);
        }
        s->heard += count;
        if (s->measures) {
            cli_loudness_push(s->before, s->samples, count);
        }
        if (s->plot_before != NULL) {
            cli_spectrogram_push(s->plot_before, s->samples, count, s->info.channels);
        }
        tmb_status pushed = count > 0 ? tmb_enhance_push(s->enhancer, s->samples, count, &j->error)
                                      : tmb_enhance_flush(s->enhancer, &j->error);
        if (pushed != TMB_OK) {
            return cli_exit_of(pushed);
        }
        status = write_ready(j, s);
        double seconds = (double)s->heard / s->info.rate;
        double fraction = s->info.length > 0 ? (double)s->heard / (double)s->info.length : 0;
        show_progress(w, j, count > 0 && fraction < 1 ? fraction : 1, seconds);
    }
    if (status == CLI_EXIT_OK && s->written == 0) {
        cli_set_error(&j->error, TMB_ERROR_FORMAT,
                      s->heard == 0 ? "it holds no audio" : "it is so short that nothing is left of it at this rate");
        return CLI_EXIT_INPUT;
    }
    return status;
}

static void print_result(const work *w, const job *j, const stream *s, double seconds) {
    double duration = (double)s->written / w->options->output_rate;
    if (w->options->common.json) {
        json_t *object = json_object();
        (void)json_object_set_new(object, "input", cli_json_text(j->input));
        (void)json_object_set_new(object, "audio", cli_json_text(j->output));
        (void)json_object_set_new(object, "plot", cli_json_text(j->plot));
        (void)json_object_set_new(object, "sample_rate", json_integer(w->options->output_rate));
        (void)json_object_set_new(object, "channels", json_integer(s->info.channels));
        (void)json_object_set_new(object, "samples", json_integer((json_int_t)s->written));
        (void)json_object_set_new(object, "duration", cli_json_number(duration, 6));
        (void)json_object_set_new(object, "seconds", cli_json_number(seconds, 4));
        (void)json_object_set_new(object, "real_time_factor", cli_json_number(seconds / duration, 5));
        (void)json_object_set_new(object, "loudness_before", cli_json_number(cli_loudness_integrated(s->before), 2));
        (void)json_object_set_new(object, "loudness", cli_json_number(cli_loudness_integrated(s->after), 2));
        (void)json_object_set_new(object, "level_before", cli_json_number(cli_loudness_rms(s->before), 2));
        (void)json_object_set_new(object, "level", cli_json_number(cli_loudness_rms(s->after), 2));
        cli_tell_warnings(j->input, s->reader, object);
        cli_json_clipped(object, s->clipped);
        cli_print_json(object);
        return;
    }
    cli_tell_warnings(j->input, s->reader, NULL);
    cli_note("%s -> %s: %.2f s in %.2f s (%.0f times real time)", j->input, j->output, duration, seconds,
             seconds > 0 ? duration / seconds : 0);
}

static int enhance_one(work *w, job *j) {
    stream s = {0};
    double start = cli_now();
    int status = open_stream(w, j, &s);
    if (status == CLI_EXIT_OK) {
        status = copy_stream(w, j, &s);
    }
    s.clipped = tmb_audio_clipped(s.writer);
    if (status == CLI_EXIT_OK && tmb_audio_finish(&s.writer, &j->error) != TMB_OK) {
        status = CLI_EXIT_FAILED;
    }
    if (status == CLI_EXIT_OK && j->plot != NULL && !cli_plot_write(j->plot, s.plot_before, s.plot_after, &j->error)) {
        status = CLI_EXIT_FAILED;
    }
    if (status == CLI_EXIT_OK) {
        print_result(w, j, &s, cli_now() - start);
    }
    if (status == CLI_EXIT_OK) {
        cli_warn_clipped(j->output, s.clipped);
    } else if (!cli_reader_left(j->output, &j->error)) {
        cli_report_failure(j->input, &j->error, w->options->common.json);
    }
    close_stream(&s);
    return status;
}

static void *run_worker(void *user) {
    work *w = user;
    for (size_t i; !cli_interrupted() && (i = atomic_fetch_add(&w->next, 1)) < w->count;) {
        if (w->jobs[i].status == CLI_EXIT_OK) {
            w->jobs[i].status = enhance_one(w, &w->jobs[i]);
        }
        w->jobs[i].progress = 1;
        (void)atomic_fetch_add(&w->done, 1);
    }
    return NULL;
}

static int run_jobs(work *w) {
    enum { MAXIMUM_THREADS = 256 };
    pthread_t threads[MAXIMUM_THREADS];
    size_t started = 0;
    int status = CLI_EXIT_OK, threads_wanted = w->options->jobs;
    if (threads_wanted == 0) {
        threads_wanted = w->options->runtime.threads > 0 ? w->options->runtime.threads : tmb_cpu_threads();
    }
    while (started + 1 < (size_t)threads_wanted && started + 1 < w->count && started < MAXIMUM_THREADS &&
           pthread_create(&threads[started], NULL, run_worker, w) == 0) {
        started++;
    }
    (void)run_worker(w);
    for (size_t i = 0; i < started; i++) {
        (void)pthread_join(threads[i], NULL);
    }
    for (size_t i = 0; i < w->count; i++) {
        if (w->jobs[i].status > status) {
            status = w->jobs[i].status;
        }
    }
    return status;
}

/* The file of one input; `folder` is NULL for a file of its own. */
static bool name_one(const enhance_options *o, job *j, const char *folder, bool plot_folder) {
    tmb_container container = (tmb_container)o->output.container;
    if (container == TMB_CONTAINER_AUTO && o->raw.raw) {
        container = TMB_CONTAINER_RAW;
    }
    j->output = folder != NULL ? cli_output_path(folder, j->input, o->no_suffix ? "" : "_enhanced", container)
                               : strdup(o->path);
    if (o->plot != NULL) {
        j->plot = plot_folder ? cli_output_path(o->plot, j->input, "", TMB_CONTAINER_WAV) : strdup(o->plot);
        if (plot_folder && j->plot != NULL) {
            (void)strcpy(j->plot + strlen(j->plot) - strlen("wav"), "png");
        }
    }
    return j->output != NULL && (o->plot == NULL || j->plot != NULL);
}

/* Refuses outputs that would destroy an input or one another, whatever their paths look like. */
static bool claim_files(const enhance_options *o, const job *jobs, size_t count) {
    cli_claims *claims = cli_claims_create();
    const cli_claim denoiser = {o->runtime.denoiser, "--denoiser", false};
    bool good = cli_claim_all(claims, &denoiser, 1);
    for (size_t i = 0; i < count && good; i++) {
        good = cli_claim_all(claims, &(cli_claim){jobs[i].input, "this command", false}, 1);
    }
    for (size_t i = 0; i < count && good; i++) {
        const cli_claim written[] = {{jobs[i].output, jobs[i].input, true}, {jobs[i].plot, "--plot", true}};
        good = cli_claim_all(claims, written, CLI_LENGTH(written));
    }
    cli_claims_destroy(&claims);
    return good;
}

static int name_outputs(const enhance_options *o, job *jobs, size_t count) {
    const char *folder = o->folder != NULL ? o->folder : cli_is_folder(o->path) || count > 1 ? o->path : NULL;
    bool plot_folder = o->plot != NULL && (count > 1 || cli_is_folder(o->plot));
    if (folder != NULL && !cli_make_folder(folder)) {
        return CLI_EXIT_FAILED;
    }
    if (plot_folder && !cli_make_folder(o->plot)) {
        return CLI_EXIT_FAILED;
    }
    for (size_t i = 0; i < count; i++) {
        if (!name_one(o, &jobs[i], folder, plot_folder)) {
            cli_error("no memory");
            return CLI_EXIT_FAILED;
        }
    }
    return claim_files(o, jobs, count) ? CLI_EXIT_OK : CLI_EXIT_USAGE;
}

/* What cannot be opened is said before any work begins; the other files are enhanced all the same. */
static void check_inputs(const work *w) {
    for (size_t i = 0; i < w->count; i++) {
        job *j = &w->jobs[i];
        if (!cli_is_readable(j->input, &j->error)) {
            cli_report_failure(j->input, &j->error, w->options->common.json);
            j->status = CLI_EXIT_INPUT;
        }
    }
}

/* Says which name of an output cannot be meant. */
static bool check_names(const enhance_options *o, int count) {
    bool plot_folder = o->plot != NULL && cli_is_folder(o->plot);
    if (count > 1 && o->path != NULL && cli_is_audio_name(o->path) && !cli_is_folder(o->path)) {
        cli_error("%d inputs cannot become one file, %s; for several -o is a folder", count, o->path);
    } else if (count > 1 && o->plot != NULL && cli_has_ending(o->plot, ".png") && !plot_folder) {
        cli_error("%d inputs cannot be drawn into one picture, %s; for several --plot is a folder", count, o->plot);
    } else if (count == 1 && o->plot != NULL && !plot_folder && !cli_has_ending(o->plot, ".png")) {
        cli_error("--plot draws a PNG, and %s does not end in .png", o->plot);
    } else {
        return true;
    }
    return false;
}

static int check(const enhance_options *o, int count, char **arguments) {
    int standard_inputs = 0;
    tmb_raw_format unused;
    for (int i = 0; i < count; i++) {
        standard_inputs += cli_is_standard(arguments[i]);
    }
    if (o->path == NULL && o->folder == NULL) {
        cli_error("where to? -o FILE, -o DIR, or -o - for standard output");
    } else if (o->path != NULL && o->folder != NULL) {
        cli_error("-o and --output-dir exclude each other");
    } else if (count > 1 && cli_is_standard(o->path)) {
        cli_error("several inputs cannot share standard output; -o must be a folder");
    } else if (standard_inputs > 1) {
        cli_error("\"-\" was given more than once");
    } else if (o->common.json && cli_is_standard(o->path)) {
        cli_error("--json and -o - both want standard output");
    } else if (!o->raw.raw && (o->raw.rate > 0 || o->raw.channels > 0 || o->raw.encoding > 0)) {
        cli_error("%s describes raw input and needs --raw; the output's rate is --output-rate",
                  o->raw.rate > 0       ? "--rate"
                  : o->raw.channels > 0 ? "--channels"
                                        : "--raw-encoding");
    } else if (check_names(o, count) && cli_spares_terminal(o->path, &o->output) &&
               cli_raw_format(&o->raw, &o->output, &unused)) {
        return CLI_EXIT_OK;
    }
    return CLI_EXIT_USAGE;
}

static int run_enhance(void *options, int count, char **arguments) {
    const enhance_options *o = options;
    int status = check(o, count, arguments);
    if (status != CLI_EXIT_OK) {
        return status;
    }
    work w = {.options = o, .count = (size_t)count, .lock = PTHREAD_MUTEX_INITIALIZER};
    w.jobs = calloc((size_t)count, sizeof *w.jobs);
    if (w.jobs == NULL) {
        cli_error("no memory");
        return CLI_EXIT_FAILED;
    }
    for (int i = 0; i < count; i++) {
        w.jobs[i].input = arguments[i];
    }
    status = name_outputs(o, w.jobs, w.count);
    if (status == CLI_EXIT_OK) {
        check_inputs(&w);
    }
    if (status == CLI_EXIT_OK) {
        status = cli_offer_models(&o->offer, &o->runtime, NULL, true);
    }
    if (status == CLI_EXIT_OK) {
        status = cli_open(&o->runtime, NULL, NULL, &w.context);
    }
    if (status == CLI_EXIT_OK) {
        status = run_jobs(&w);
    }
    cli_progress_clear();
    tmb_close(&w.context);
    for (size_t i = 0; i < w.count; i++) {
        free(w.jobs[i].output);
        free(w.jobs[i].plot);
    }
    free(w.jobs);
    return status;
}

static void set_defaults(void *options) {
    enhance_options *o = options;
    o->compensate_delay = true;
    o->attenuation_limit = 100;
    o->output_rate = 48000;
}

const cli_command cli_command_enhance = {
    .name = "enhance",
    .summary = "take noise and reverberation out of recordings",
    .usage = "IN... -o OUT|DIR [OPTION...]",
    .description =
        "Cleans speech with DeepFilterNet3, natively. Files are streamed: an hour takes no more memory than a minute. "
        "Channels are kept, each enhanced by itself; several inputs are worked on at the same time. Any rate from 4 to "
        "192 kHz is resampled to the model's 48 kHz.",
    .examples =
        "timbre enhance noisy.wav -o clean.wav --plot spectrogram.png\n"
        "timbre enhance *.flac -o clean/ --encoding s24\n"
        "ffmpeg -i video.mkv -f wav - | timbre enhance - -o voice.flac\n"
        "arecord -t raw -f S16_LE -r 48000 | timbre enhance - --raw --rate 48000 --low-latency -o - | aplay -t raw "
        "-f S16_LE -r 48000",
    .groups = groups,
    .group_count = CLI_LENGTH(groups),
    .options_size = sizeof(enhance_options),
    .defaults = set_defaults,
    .minimum_arguments = 1,
    .maximum_arguments = -1,
    .needs = "which recordings? name them, or - for standard input",
    .run = run_enhance,
};
