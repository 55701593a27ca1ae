/* Whole items over real files, resamplers, the denoiser (a small one) and the preview voice. */
#include "test.h"

#include "clone_helper.h"
#include "fake_engine.h"
#include "golden.h"

#include "enhance/enhance.h"
#include "io/io.h"
#include "resample/resample.h"

#include <dirent.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MANY 200

static clone_outcome outcomes[MANY];
static char folder[64];
static int clean_rate; /* of the denoiser */

/* Samples of so many frames of speech after stages 4 and 5. */
static size_t clean_length(size_t frames) {
    return tmb_resampler_output_length(TMB_RESAMPLER_SOXR, FAKE_RATE, clean_rate, frames * FAKE_FRAME);
}

static int set_up(void **state) {
    (void)state;
    fake_reset();
    for (int i = 0; i < MANY; i++) {
        outcome_init(&outcomes[i]);
    }
    return 0;
}

static const char *denoiser(void) { return golden_path("dfn/small.tar.gz"); }

static tmb_options with_denoiser(void) {
    tmb_options options;
    tmb_options_default(&options);
    options.denoiser = denoiser();
    return options;
}

/* What stages 1 and 2, or 4 and 5, make of a whole signal; free() it. */
static float *process(const float *samples, size_t count, int rate, float limit_db, size_t *out_count) {
    tmb_error error = {0};
    tmb_dfn_model *model = NULL;
    tmb_enhancer *enhancer = NULL;
    tmb_enhance_settings settings;
    float *resampled = NULL;
    size_t resampled_count = 0;
    assert_ok(tmb_dfn_model_load(denoiser(), &model, &error), error);
    assert_ok(
        tmb_resample(samples, count, rate, clean_rate, TMB_RESAMPLER_AUTO, NULL, &resampled, &resampled_count, &error),
        error);
    tmb_enhance_settings_default(&settings);
    settings.attenuation_limit_db = limit_db;
    assert_ok(tmb_enhancer_create(model, &settings, &enhancer, &error), error);
    assert_ok(tmb_enhancer_push(enhancer, resampled, resampled_count, &error), error);
    assert_ok(tmb_enhancer_flush(enhancer, &error), error);
    float *out = calloc(resampled_count + 48000, sizeof *out);
    assert_non_null(out);
    *out_count = tmb_enhancer_pull(enhancer, out, resampled_count + 48000);
    assert_int_equal(*out_count, resampled_count);
    tmb_enhancer_destroy(&enhancer);
    tmb_dfn_model_release(&model);
    free(resampled);
    return out;
}

/* What the audio callback of an item heard, kept. */
typedef struct recording {
    clone_outcome *outcome;
    float *heard, *result, *clean;
    size_t heard_count, result_count, clean_count;
    int told;         /* how often it was said what was measured of the reference */
    bool told_late;   /* after it sounded */
    bool told_as_end; /* the result says the same */
    tmb_reference_info reference;
} clone_recording;

static void record_reference(void *user, uint64_t item, const tmb_reference_info *reference) {
    clone_recording *recording = user;
    (void)item;
    (void)pthread_mutex_lock(&recording->outcome->lock);
    recording->told++;
    recording->told_late = recording->heard_count > 0 || recording->outcome->results > 0;
    recording->reference = *reference;
    (void)pthread_mutex_unlock(&recording->outcome->lock);
}

static bool record_audio(void *user, uint64_t item, const float *samples, size_t count, int rate) {
    clone_recording *recording = user;
    (void)item;
    (void)pthread_mutex_lock(&recording->outcome->lock);
    recording->outcome->rate = rate;
    recording->heard = realloc(recording->heard, (recording->heard_count + count) * sizeof(float));
    assert_non_null(recording->heard);
    memcpy(recording->heard + recording->heard_count, samples, count * sizeof(float));
    recording->heard_count += count;
    recording->outcome->heard += count;
    (void)pthread_cond_broadcast(&recording->outcome->changed);
    (void)pthread_mutex_unlock(&recording->outcome->lock);
    return true;
}

static float *copy_of(const float *samples, size_t count) {
    float *copy = calloc(count + 1, sizeof *copy);
    assert_non_null(copy);
    if (count != 0) {
        memcpy(copy, samples, count * sizeof *copy);
    }
    return copy;
}

static void record_result(void *user, const tmb_clone_result *result) {
    clone_recording *recording = user;
    (void)pthread_mutex_lock(&recording->outcome->lock);
    recording->outcome->results++;
    recording->outcome->error = result->error;
    recording->outcome->duration = result->duration;
    recording->result = copy_of(result->samples, result->sample_count);
    recording->result_count = result->sample_count;
    recording->told_as_end = result->reference != NULL && recording->told > 0 &&
                             result->reference->duration == recording->reference.duration &&
                             result->reference->speech == recording->reference.speech &&
                             result->reference->warning_count == recording->reference.warning_count;
    recording->clean = copy_of(result->reference_clean, result->reference_clean_count);
    recording->clean_count = result->reference_clean_count;
    (void)pthread_cond_broadcast(&recording->outcome->changed);
    (void)pthread_mutex_unlock(&recording->outcome->lock);
}

static void free_recording(clone_recording *recording) {
    free(recording->heard);
    free(recording->result);
    free(recording->clean);
}

static void assert_same(const float *a, const float *b, size_t count, double tolerance) {
    for (size_t i = 0; i < count; i++) {
        if (fabs((double)a[i] - (double)b[i]) > tolerance) {
            fail_msg("sample %zu of %zu: %g is not %g", i, count, (double)a[i], (double)b[i]);
        }
    }
}

/* The first clean audio is there while stage 3 is at half; the pieces are the whole, and the whole is what
 * resampling and denoising the complete speech gives. */
static void test_streaming(void **state) {
    (void)state;
    tmb_error error = {0};
    tmb_options options = with_denoiser();
    tmb_context *context = fake_context(&options);
    clone_recording recording = {.outcome = &outcomes[0]};
    tmb_clone_callbacks callbacks = {.user = &recording, .audio = record_audio, .result = record_result};
    tmb_clone_request request = clone_request("60", 0);
    request.run_post_processing = true;
    fake.steps_allowed = 30;
    assert_ok(tmb_clone_submit(context, &request, &callbacks, NULL, &error), error);
    outcome_wait_heard(&outcomes[0], (size_t)clean_rate); /* of 2.4 s so far */
    assert_int_equal(outcome_results(&outcomes[0]), 0);
    fake_allow(-1);
    assert_success(&outcomes[0]);
    assert_int_equal(recording.heard_count, clean_length(60));
    assert_int_equal(outcomes[0].rate, clean_rate);
    assert_int_equal(recording.result_count, recording.heard_count);
    assert_memory_equal(recording.heard, recording.result, recording.heard_count * sizeof(float));

    float *speech = calloc(60 * FAKE_FRAME, sizeof *speech);
    assert_non_null(speech);
    for (size_t i = 0; i < 60 * FAKE_FRAME; i++) {
        speech[i] = fake_value(1, i / FAKE_FRAME);
    }
    size_t count = 0;
    float *expected = process(speech, 60 * FAKE_FRAME, FAKE_RATE, 12, &count);
    assert_int_equal(count, recording.result_count);
    assert_same(recording.result, expected, count, 1e-6);
    free(expected);
    free(speech);
    free_recording(&recording);
    tmb_close(&context);
}

/* Without a listener the blocks are longer; the samples are the same. */
static void test_collected_equals_streamed(void **state) {
    (void)state;
    tmb_error error = {0};
    tmb_options options = with_denoiser();
    clone_recording recordings[2] = {{.outcome = &outcomes[0]}, {.outcome = &outcomes[1]}};
    for (int i = 0; i < 2; i++) {
        fake_reset(); /* so that both are the first sequence */
        tmb_context *context = fake_context(&options);
        tmb_clone_callbacks callbacks = {.user = &recordings[i], .result = record_result};
        callbacks.audio = i == 1 ? record_audio : NULL;
        tmb_clone_request request = clone_request("41", 0);
        request.run_post_processing = true;
        request.post.low_latency = i == 1;
        assert_ok(tmb_clone_submit(context, &request, &callbacks, NULL, &error), error);
        assert_success(&outcomes[i]);
        tmb_close(&context);
    }
    assert_int_equal(recordings[0].result_count, clean_length(41));
    assert_int_equal(recordings[1].result_count, recordings[0].result_count);
    assert_same(recordings[0].result, recordings[1].result, recordings[0].result_count, 1e-6);
    free_recording(&recordings[0]);
    free_recording(&recordings[1]);
}

/* The reference goes through stages 1 and 2; whoever waited for that gets it. What was measured is told once, before
 * the first audio, whether the voice is made or there already. */
static void test_clean_reference(void **state) {
    (void)state;
    tmb_error error = {0};
    tmb_options options = with_denoiser();
    tmb_context *context = fake_context(&options);
    clone_recording recordings[2] = {{.outcome = &outcomes[0]}, {.outcome = &outcomes[1]}};
    tmb_clone_request request = clone_request("3", 0);
    request.ref_samples = NULL;
    request.ref_audio = golden_path("qwen/references/ref_fr_44k_stereo.wav");
    request.run_pre_processing = true;
    for (int i = 0; i < 2; i++) {
        tmb_clone_callbacks callbacks = {
            .user = &recordings[i], .audio = record_audio, .result = record_result, .reference = record_reference};
        assert_ok(tmb_clone_submit(context, &request, &callbacks, NULL, &error), error);
        assert_success(&outcomes[i]);
        assert_int_equal(recordings[i].told, 1);
        assert_true(recordings[i].told_as_end && !recordings[i].told_late && recordings[i].heard_count > 0);
        assert_true(recordings[i].reference.duration > 0 && recordings[i].reference.usable);
    }
    assert_int_equal(fake.prepared, 1);
    assert_int_equal(recordings[1].clean_count, 0); /* the voice was there already */

    tmb_audio_reader *reader = NULL;
    tmb_audio_info info;
    float *mono = NULL;
    size_t count = 0;
    size_t expected_count = 0;
    assert_ok(tmb_audio_open(request.ref_audio, NULL, NULL, &reader, &info, &error), error);
    assert_ok(tmb_audio_read_mono(reader, &info, &mono, &count, &error), error);
    tmb_audio_close(&reader);
    assert_int_equal(info.channels, 2);
    float *expected = process(mono, count, info.rate, 100, &expected_count);
    assert_int_equal(recordings[0].clean_count, expected_count);
    assert_same(recordings[0].clean, expected, expected_count, 1e-6);
    free(mono);
    free(expected);
    free_recording(&recordings[0]);
    free_recording(&recordings[1]);
    tmb_close(&context);
}

/* ---- Files ---- */

static const char *write_file(const char *name, const void *data, size_t size) {
    static char path[128];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
    return path;
}

static int files_in(const char *path) {
    DIR *entries = opendir(path);
    int count = 0;
    assert_non_null(entries);
    while (readdir(entries) != NULL) {
        count++;
    }
    (void)closedir(entries);
    return count;
}

/* 31 results and one clear error; no file appears anywhere. */
static void test_one_corrupt_reference(void **state) {
    (void)state;
    static const char *const references[] = {"ref_en.wav", "ref_es.wav", "ref_fr.wav", "ref_fr_44k_stereo.wav"};
    size_t size = 0;
    char *data = golden_text(&size, "qwen/references/ref_en.wav");
    const char *corrupt = write_file("corrupt.wav", data + 20, size - 20);
    free(data);
    int before = files_in(folder);
    assert_int_equal(setenv("TMPDIR", folder, 1), 0);
    tmb_options options = with_denoiser();
    tmb_context *context = fake_context(&options);
    for (int i = 0; i < 32; i++) {
        tmb_clone_request request = clone_request("5", 0);
        request.ref_samples = NULL;
        request.ref_audio = i == 17 ? corrupt : golden_path("qwen/references/%s", references[i % 4]);
        request.run_pre_processing = true;
        request.run_post_processing = true;
        submit(context, &request, &outcomes[i]);
    }
    for (int i = 0; i < 32; i++) {
        outcome_wait(&outcomes[i]);
        assert_int_equal(outcomes[i].results, 1);
        if (i == 17) {
            assert_int_equal(outcomes[i].error.status, TMB_ERROR_FORMAT);
            assert_non_null(strstr(outcomes[i].error.message, "corrupt.wav"));
        } else {
            assert_success(&outcomes[i]);
            assert_int_equal(outcomes[i].sample_count, clean_length(5));
            assert_int_equal(outcomes[i].rate, clean_rate);
        }
    }
    assert_int_equal(fake.prepared, 4);
    tmb_close(&context);
    assert_int_equal(files_in(folder), before);
    assert_int_equal(unsetenv("TMPDIR"), 0);
    (void)unlink(corrupt);
}

static void test_references_that_are_refused(void **state) {
    (void)state;
    tmb_options options = with_denoiser();
    options.max_input_seconds = 2;
    tmb_context *context = fake_context(&options);
    size_t size = 0;
    char *data = golden_text(&size, "qwen/references/ref_en.wav");
    float silence[200] = {0};
    silence[150] = NAN;
    const struct {
        tmb_status status;
        const char *message;
    } expected[] = {
        {TMB_ERROR_LIMIT, "2"},          /* 3.2 s */
        {TMB_ERROR_IO, "nowhere"},       /* no such file */
        {TMB_ERROR_FORMAT, ""},          /* text for audio */
        {TMB_ERROR_LIMIT, ""},           /* samples that are too long */
        {TMB_ERROR_FORMAT, "sample 150"} /* NaN */
    };
    static float long_reference[48000 * 3];
    for (int i = 0; i < 5; i++) {
        tmb_clone_request request = clone_request("5", 0);
        if (i < 3) {
            request.ref_samples = NULL;
        }
        switch (i) {
        case 0:
            request.ref_data = data;
            request.ref_data_size = size;
            break;
        case 1: request.ref_audio = "/nowhere/a.wav"; break;
        case 2:
            request.ref_data = "This is a text and no audio, however you look at it. It goes on for a while.";
            request.ref_data_size = 70;
            break;
        case 3:
            request.ref_samples = long_reference;
            request.ref_sample_count = 48000 * 3;
            request.ref_rate = 48000;
            break;
        default: request.ref_samples = silence; request.ref_sample_count = 200;
        }
        submit(context, &request, &outcomes[i]);
        outcome_wait(&outcomes[i]);
        if (outcomes[i].error.status != expected[i].status ||
            strstr(outcomes[i].error.message, expected[i].message) == NULL) {
            fail_msg("case %d: %s: %s", i, tmb_status_name(outcomes[i].error.status), outcomes[i].error.message);
        }
    }
    free(data);
    tmb_close(&context);
}

static void test_denoiser_is_missing(void **state) {
    (void)state;
    tmb_options options;
    tmb_options_default(&options);
    options.denoiser = "/nowhere/dfn.tar.gz";
    tmb_context *context = fake_context(&options);
    tmb_clone_request request = clone_request("5", 0);
    submit(context, &request, &outcomes[0]); /* needs none */
    request.run_post_processing = true;
    submit(context, &request, &outcomes[1]);
    request.run_post_processing = false;
    request.run_pre_processing = true;
    submit(context, &request, &outcomes[2]);
    assert_success(&outcomes[0]);
    for (int i = 1; i <= 2; i++) {
        outcome_wait(&outcomes[i]);
        assert_true(outcomes[i].error.status == TMB_ERROR_IO || outcomes[i].error.status == TMB_ERROR_MODEL);
        assert_non_null(strstr(outcomes[i].error.message, "/nowhere/dfn.tar.gz"));
    }
    tmb_close(&context);
}

/* ---- Everything at once ---- */

/* Items of all kinds, cancelled at any moment: each has one result, and nothing is left. */
static void test_storm(void **state) {
    (void)state;
    static const char *const texts[] = {"1", "30", "7", "3 fail", "refuse", "60"};
    unsigned seed = 12345;
    for (int round = 0; round < 3; round++) {
        tmb_options options = with_denoiser();
        options.max_batch = 1 + round * 3;
        options.voice_cache_entries = 2;
        options.memory_budget = round == 1 ? (uint64_t)48 << 20 : 0;
        fake_reset();
        fake.sequence_bytes = 2u << 20;
        tmb_context *context = fake_context(&options);
        for (int i = 0; i < MANY; i++) {
            outcome_init(&outcomes[i]);
            seed = seed * 1664525u + 1013904223u;
            unsigned dice = seed >> 8;
            tmb_clone_request request = clone_request(texts[dice % 6], (int)(dice / 7 % 5));
            request.run_pre_processing = dice / 64 % 2;
            request.run_post_processing = dice / 128 % 2;
            request.group = dice / 256 % 4;
            request.priority = (int)(dice / 1024 % 3);
            request.deadline = dice / 4096 % 16 == 0 ? 0.01 : 0;
            outcomes[i].want_audio = dice / 512 % 2;
            outcomes[i].want_progress = true;
            outcomes[i].cancel_after = dice / 2048 % 8 == 0 ? 5000 : 0;
            submit(context, &request, &outcomes[i]);
            if (dice / 8192 % 4 == 0) {
                (void)usleep(dice % 500);
                tmb_clone_cancel(context, outcomes[(dice / 3) % (unsigned)(i + 1)].item);
            }
        }
        if (round != 2) {
            tmb_clone_wait(context);
            tmb_statistics statistics;
            tmb_get_statistics(context, &statistics);
            assert_int_equal(statistics.finished_items + statistics.failed_items + statistics.cancelled_items, MANY);
            assert_int_equal(statistics.live_sequences, 0);
        }
        tmb_close(&context); /* in the last round with most of them under way */
        for (int i = 0; i < MANY; i++) {
            assert_int_equal(outcomes[i].results, 1);
            assert_false(outcomes[i].after_result);
            assert_false(outcomes[i].went_back);
        }
    }
}

/* ---- The preview voice ---- */

static atomic_int warnings;

static void count_warnings(void *user, tmb_log_level level, const char *line) {
    (void)user;
    if (level == TMB_LOG_WARNING && strstr(line, "no clone") != NULL) {
        (void)atomic_fetch_add(&warnings, 1);
    }
}

static void test_preview(void **state) {
    (void)state;
    tmb_error error = {0};
    tmb_options options = with_denoiser();
    tmb_context *context = NULL;
    options.engine = "preview";
    options.log = count_warnings;
    assert_ok(tmb_open(&options, &context, &error), error);
    for (int i = 0; i < 6; i++) {
        tmb_clone_request request = clone_request("A short sentence, spoken by the preview voice.", i % 2);
        request.run_pre_processing = true;
        request.run_post_processing = i != 1;
        outcomes[i].want_audio = outcomes[i].want_progress = true;
        submit(context, &request, &outcomes[i]);
    }
    for (int i = 0; i < 6; i++) {
        outcome_wait(&outcomes[i]);
        if (outcomes[i].error.status == TMB_ERROR_MODEL) {
            print_message("%s\n", outcomes[i].error.message);
            tmb_close(&context);
            skip();
        }
        assert_success(&outcomes[i]);
        assert_string_equal(outcomes[i].engine, "preview");
        assert_false(outcomes[i].is_clone);
        assert_int_equal(outcomes[i].rate, i != 1 ? clean_rate : 22050);
        assert_true(outcomes[i].duration > 1.5 && outcomes[i].duration < 6);
        assert_int_equal(outcomes[i].heard, outcomes[i].sample_count);
    }
    assert_int_equal(atomic_load(&warnings), 1);
    tmb_clone_request request = clone_request("x", 0);
    assert_int_equal(tmb_voice_save(context, &request, "/tmp/x.tmbvoice", &error), TMB_ERROR_UNSUPPORTED);
    tmb_close(&context);
}

static int make_folder(void **state) {
    (void)state;
    tmb_error error = {0};
    tmb_dfn_model *model = NULL;
    assert_ok(tmb_dfn_model_load(denoiser(), &model, &error), error);
    clean_rate = tmb_dfn_model_rate(model);
    tmb_dfn_model_release(&model);
    (void)snprintf(folder, sizeof folder, "/tmp/timbre-clone-XXXXXX");
    return mkdtemp(folder) == NULL;
}

static int remove_folder(void **state) {
    (void)state;
    return rmdir(folder); /* fails if anything was left in it */
}

int main(void) {
#define TEST(function) cmocka_unit_test_setup(function, set_up)
    const struct CMUnitTest tests[] = {
        TEST(test_streaming),
        TEST(test_collected_equals_streamed),
        TEST(test_clean_reference),
        TEST(test_one_corrupt_reference),
        TEST(test_references_that_are_refused),
        TEST(test_denoiser_is_missing),
        TEST(test_storm),
        TEST(test_preview),
    };
    return cmocka_run_group_tests_name("clone", tests, make_folder, remove_folder);
}
