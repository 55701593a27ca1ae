#include "speech.h"

#include <stdatomic.h>
#include <string.h>

typedef struct single {
    const clone_options *options;
    tmb_context *context;
    cli_sink sink;
    _Atomic uint64_t item;
    int status;
} single;

static void cancel(void *user) {
    single *s = user;
    tmb_clone_cancel(s->context, atomic_load(&s->item));
}

static void on_progress(void *user, uint64_t item, tmb_stage stage, double fraction) {
    const single *s = user;
    (void)item;
    static const char *const words[TMB_STAGE_COUNT] = {
        [TMB_STAGE_QUEUED] = "the engine gets ready",
        [TMB_STAGE_RESAMPLE_REFERENCE] = "reading the recording",
        [TMB_STAGE_ENHANCE_REFERENCE] = "cleaning the recording",
        [TMB_STAGE_SPEECH] = "speaking",
        [TMB_STAGE_RESAMPLE_SPEECH] = "cleaning the speech",
        [TMB_STAGE_ENHANCE_SPEECH] = "cleaning the speech",
        [TMB_STAGE_DONE] = "done",
    };
    if (stage >= TMB_STAGE_SPEECH && s->sink.rate > 0) {
        cli_progress(fraction > 0 ? fraction : -1, "%s, %.1f s of speech", words[TMB_STAGE_SPEECH],
                     (double)s->sink.count / s->sink.rate);
    } else if (stage == TMB_STAGE_ENHANCE_REFERENCE && fraction >= 1) {
        cli_progress(-1, "the engine gets ready"); /* it may be loading its model */
    } else {
        cli_progress(fraction > 0 && fraction <= 1 ? fraction : -1, "%s", words[stage]);
    }
}

static bool on_audio(void *user, uint64_t item, const float *samples, size_t count, int rate) {
    single *s = user;
    (void)item;
    return !cli_interrupted() && cli_sink_write(&s->sink, samples, count, rate);
}

static bool write_reference(const char *path, const clone_options *o, const tmb_clone_result *result,
                            tmb_error *error) {
    cli_sink sink = {.path = path, .container = TMB_CONTAINER_AUTO, .encoding = (tmb_encoding)o->output.encoding};
    if (result->reference_clean == NULL) {
        cli_warning("there is no cleaned recording to write to %s: it was not cleaned for this item", path);
        return true;
    }
    bool written = cli_sink_write(&sink, result->reference_clean, result->reference_clean_count, 48000);
    written = cli_sink_end(&sink, written, 48000);
    if (written) {
        cli_warn_clipped(path, sink.clipped);
    }
    if (!written) {
        *error = sink.error;
    }
    return written;
}

static void print_text(const cli_sink *sink, const tmb_clone_result *result) {
    static const char *const labels[TMB_STAGE_COUNT] = {[TMB_STAGE_RESAMPLE_REFERENCE] = "recording resampled",
                                                        [TMB_STAGE_ENHANCE_REFERENCE] = "recording cleaned",
                                                        [TMB_STAGE_SPEECH] = "spoken",
                                                        [TMB_STAGE_RESAMPLE_SPEECH] = "speech resampled",
                                                        [TMB_STAGE_ENHANCE_SPEECH] = "speech cleaned"};
    char times[300] = "";
    size_t used = 0;
    cli_note("%s: %.2f s at %d Hz in %.2f s, first audio after %.2f s (engine %s, seed %llu, %s)", sink->path,
             cli_sink_seconds(sink, result), result->sample_rate, result->total, result->first_audio, result->engine,
             (unsigned long long)result->seed, result->finish_reason);
    for (int stage = 0; stage < TMB_STAGE_COUNT; stage++) {
        if (labels[stage] != NULL && used < sizeof times) {
            used += (size_t)snprintf(times + used, sizeof times - used, "%s%s %.2f s", used > 0 ? ", " : "",
                                     labels[stage], result->timings[stage]);
        }
    }
    cli_note("%s", times);
}

static void on_result(void *user, const tmb_clone_result *result) {
    single *s = user;
    const clone_options *o = s->options;
    tmb_error error = result->error;
    const char *codes = o->codes;
    bool good = cli_sink_end(&s->sink, error.status == TMB_OK, result->sample_rate);
    s->status = error.status != TMB_OK ? cli_exit_of(error.status) : CLI_EXIT_OK;
    if (!good && s->sink.error.status != TMB_OK) { /* what the sink met comes before the cancelling that it caused */
        error = s->sink.error;
        s->status = CLI_EXIT_FAILED;
    }
    cli_progress_clear();
    if (good && !cli_write_codes(&codes, result, &error)) {
        s->status = CLI_EXIT_FAILED;
    } else if (good && o->reference_out != NULL && !write_reference(o->reference_out, o, result, &error)) {
        s->status = CLI_EXIT_FAILED;
    }
    if (error.status != TMB_OK && !cli_interrupted() && !cli_reader_left(o->path, &error)) {
        /* The engine reads a voice's bytes and does not know where they lay. */
        bool nameless = o->request.voice != NULL && error.name_bytes == 0 &&
                        (error.status == TMB_ERROR_FORMAT || error.status == TMB_ERROR_UNSUPPORTED);
        cli_error("%s%s%s", nameless ? o->request.voice : "", nameless ? ": " : "", error.message);
    }
    if (o->common.json && !cli_interrupted()) {
        tmb_clone_result shown = *result;
        shown.error = error;
        cli_print_json(cli_result_json(&shown, codes, &s->sink));
    } else if (good) {
        print_text(&s->sink, result);
    }
    cli_note_transcript(o->request.ref_audio, result->reference);
    cli_warn_reference(o->request.ref_audio, result->reference);
    if (good) {
        cli_warn_clipped(o->path, s->sink.clipped);
    }
    if (good) {
        cli_warn_result(o->path, result);
    }
    if (good && !result->is_clone && (o->request.ref_audio != NULL || o->request.voice != NULL)) {
        cli_note_preview(result->engine);
    }
}

int cli_clone_one(clone_options *o, tmb_context *context) {
    single s = {.options = o,
                .context = context,
                .status = CLI_EXIT_FAILED,
                .sink = {.path = o->path,
                         .speed = o->speed,
                         .container = (tmb_container)o->output.container,
                         .encoding = (tmb_encoding)o->output.encoding}};
    const tmb_clone_callbacks callbacks = {.user = &s, .progress = on_progress, .audio = on_audio, .result = on_result};
    tmb_error error = {0};
    uint64_t item = 0;
    o->request.want_samples = false;
    o->request.want_codes = o->codes != NULL;
    if (tmb_clone_submit(context, &o->request, &callbacks, &item, &error) != TMB_OK) {
        if (o->common.json) {
            cli_print_json(json_pack("{s:o}", "error", cli_json_error(&error)));
        }
        return cli_fail(&error);
    }
    atomic_store(&s.item, item);
    cli_on_interrupt(cancel, &s);
    cli_progress(-1, o->request.ref_audio != NULL ? "reading the recording" : "the engine gets ready");
    tmb_clone_wait(context);
    cli_on_interrupt(NULL, NULL);
    return s.status;
}
