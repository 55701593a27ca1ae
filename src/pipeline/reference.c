#include "pipeline/reference.h"

#include "base/error.h"
#include "base/memory.h"
#include "enhance/frames.h"
#include "enhance/level.h"
#include "tts/engine.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A frame is speech if it is no further below the loud ones than this after cleaning ... */
#define SPEECH_RANGE 20.0
/* ... and cleaning lowered it by less than this. */
#define SPEECH_KEPT 12.0
/* Less speech than this makes no voice. Even a short word has more. */
#define LEAST_SPEECH 0.25
/* Over a second, the loud frames of anything that is spoken differ from the soft ones by more. */
#define STEADY_RANGE 3.0
/* A recording that is nowhere louder is silence; a frame below is digital silence. */
#define SILENT TMB_LEVEL_SILENCE
#define NOTHING (-115.0)
/* Seconds that are best. */
#define SHORT_SECONDS 2.95
#define LONG_SECONDS 30.0
#define QUIET_LEVEL TMB_LEVEL_LOWEST
#define NOISY_RATIO 10.0
#define CLIPPED_SHARE 1e-4
#define FULL_SCALE 0.95f
/* Equal samples in a row that are a flat top. */
#define FLAT 4

typedef struct frame_list {
    float *decibel;
    size_t count;
} frame_list;

static tmb_status list_frames(const float *samples, size_t count, int rate, frame_list *out, tmb_error *error) {
    tmb_frames frames;
    const size_t room = count / ((size_t)rate / TMB_FRAME_RATE) + 1;
    out->count = 0;
    out->decibel = tmb_calloc(room, sizeof *out->decibel);
    if (out->decibel == NULL) {
        return tmb_fail_memory(error, "the levels of a reference", room * sizeof *out->decibel);
    }
    tmb_frames_start(&frames, rate, 1);
    for (size_t at = 0; at < count;) {
        bool complete = false;
        double power = 0;
        at += tmb_frames_take(&frames, samples + at, count - at, &complete, &power);
        if (complete && out->count < room) {
            out->decibel[out->count++] = (float)tmb_frames_decibel(power);
        }
    }
    return TMB_OK;
}

static int by_value(const void *a, const void *b) {
    const float x = *(const float *)a;
    const float y = *(const float *)b;
    return (x > y) - (x < y);
}

/* *low and *high: the 10th and 95th percentile of the frames that are not silent; -INFINITY if all are. */
static tmb_status spread(const frame_list *frames, double *low, double *high, tmb_error *error) {
    *low = *high = -(double)INFINITY;
    float *sorted = tmb_calloc(frames->count + 1, sizeof *sorted);
    if (sorted == NULL) {
        return tmb_fail_memory(error, "the levels of a reference", frames->count * sizeof *sorted);
    }
    size_t count = 0;
    for (size_t i = 0; i < frames->count; i++) {
        if ((double)frames->decibel[i] > NOTHING) {
            sorted[count++] = frames->decibel[i];
        }
    }
    qsort(sorted, count, sizeof *sorted, by_value);
    if (count > 0) {
        *low = (double)sorted[count / 10];
        *high = (double)sorted[count * 95 / 100];
    }
    free(sorted);
    return TMB_OK;
}

static double mean_decibel(double sum, size_t count) {
    return count > 0 && sum > 0 ? 10 * log10(sum / (double)count) : -(double)INFINITY;
}

/* Speech seconds, levels and ratios from the frames. */
static void measure_speech(const frame_list *raw, const frame_list *clean, double loud, tmb_reference_info *out) {
    double sums[2][2] = {{0, 0}, {0, 0}}; /* powers: [speech][clean] */
    size_t counts[2] = {0, 0};
    for (size_t i = 0; i < raw->count; i++) {
        const double before = (double)raw->decibel[i];
        const double after = i < clean->count ? (double)clean->decibel[i] : before;
        const bool speech = before > NOTHING && after > loud - SPEECH_RANGE && before - after < SPEECH_KEPT;
        sums[speech][0] += pow(10, before / 10);
        sums[speech][1] += pow(10, after / 10);
        counts[speech]++;
    }
    out->speech = (double)counts[1] / TMB_FRAME_RATE;
    out->level = mean_decibel(sums[1][0], counts[1]);
    out->level_clean = out->cleaned ? mean_decibel(sums[1][1], counts[1]) : (double)NAN;
    out->noise = mean_decibel(sums[0][0], counts[0]);
    out->noise_clean = out->cleaned ? mean_decibel(sums[0][1], counts[0]) : (double)NAN;
}

/* The largest sample, and those in flat tops at full scale. */
static void measure_peak(const tmb_reference_sound *sound, tmb_reference_info *out) {
    float peak = 0;
    size_t flat = 0;
    for (size_t i = 0; i < sound->count; i++) {
        const float height = fabsf(sound->samples[i]);
        peak = height > peak ? height : peak;
        const bool still = i > 0 && height >= FULL_SCALE && sound->samples[i] == sound->samples[i - 1];
        flat = still ? flat + 1 : 0;
        out->clipped += flat == FLAT - 1 ? FLAT : flat >= FLAT ? 1 : 0;
    }
    out->peak = peak > 0 ? 20 * log10((double)peak) : -(double)INFINITY;
}

static void warn(tmb_reference_info *out, const char *format, ...) TMB_PRINTF(2, 3);
static void warn(tmb_reference_info *out, const char *format, ...) {
    if (out->warning_count < sizeof out->warnings / sizeof out->warnings[0]) {
        va_list arguments;
        va_start(arguments, format);
        (void)vsnprintf(out->warnings[out->warning_count++], sizeof out->warnings[0], format, arguments);
        va_end(arguments);
    }
}

static void warn_of_transcript(const tmb_reference_sound *sound, tmb_reference_info *out) {
    /* The estimate begins with half a second for its pauses. */
    const double said = tmb_expected_seconds(sound->text) - 0.5;
    if (said > 2.5 * out->duration + 1) {
        warn(out,
             "the transcript is too long: it takes about %.0f s to say and the recording has %.1f s; give the words "
             "of this recording alone",
             said, out->duration);
    } else if (out->speech > 5 && said * 6 < out->speech) {
        warn(out,
             "the transcript is too short: it takes about %.1f s to say and the recording has %.1f s of speech; give "
             "every word",
             said, out->speech);
    }
}

static void warn_of_everything(const tmb_reference_sound *sound, tmb_reference_info *out) {
    for (size_t i = 0; i < sound->note_count; i++) {
        warn(out, "the file %s", sound->notes[i]);
    }
    if (sound->antiphase) {
        warn(out,
             "left and right are opposite and cancel each other: the first channel alone was used; a cable or plug is "
             "wired wrongly");
    }
    if (sound->cancelled > 0) {
        warn(out,
             "left and right are opposite in part: their mix is %.0f dB quieter than they are; a cable or plug may be "
             "wired wrongly, or give one channel alone",
             sound->cancelled);
    }
    if (out->duration < SHORT_SECONDS) {
        warn(out, "short: %.1f s; 3 to 30 s of speech are best", out->duration);
    } else if (out->duration > LONG_SECONDS) {
        warn(out, "long: %.0f s; 3 to 30 s of speech are best, more only takes time", out->duration);
    }
    if (out->level < QUIET_LEVEL) {
        warn(out,
             "quiet: the speech is at %.0f dB of full scale; raise the recording level or go closer to the microphone",
             out->level);
    }
    if ((double)out->clipped > CLIPPED_SHARE * (double)sound->count) {
        warn(out, "clipped: %llu samples stand still at full scale; lower the recording level",
             (unsigned long long)out->clipped);
    }
    if (out->level - out->noise < NOISY_RATIO) {
        warn(out, "noisy: the speech is only %.0f dB above the noise; record in a quieter place or closer",
             fmax(0, out->level - out->noise));
    }
    if (sound->text != NULL) {
        warn_of_transcript(sound, out);
    }
}

static tmb_status refuse(const tmb_reference_sound *sound, double low, double high, const tmb_reference_info *info,
                         tmb_error *error) {
    if (high <= SILENT) {
        return tmb_fail_field(error, TMB_ERROR_FORMAT, "ref_audio",
                              "there is no speech in the reference: its %.1f s are silence, an offset or clicks (peak "
                              "%.0f dB of full scale); record "
                              "3 to 30 s of somebody who speaks",
                              info->duration, fmax(info->peak, -200));
    }
    if (info->duration >= 1 && high - low < STEADY_RANGE) {
        return tmb_fail_field(
            error, TMB_ERROR_FORMAT, "ref_audio",
            "there is no speech in the reference: its %.1f s are a steady sound (%.0f dB of full scale, which "
            "varies by %.1f dB); record 3 to 30 s of somebody who speaks",
            info->duration, high, high - low);
    }
    if (info->speech < LEAST_SPEECH) {
        return tmb_fail_field(
            error, TMB_ERROR_FORMAT, "ref_audio",
            "there is too little speech in the reference: %.2f s of its %.1f s%s, and at least %.2f s are "
            "needed; record 3 to 30 s of somebody who speaks",
            info->speech, info->duration,
            sound->clean != NULL ? ", the rest is silence or noise that cleaning removes" : "", LEAST_SPEECH);
    }
    return TMB_OK;
}

tmb_status tmb_reference_judge(const tmb_reference_sound *sound, tmb_reference_info *out, tmb_error *error) {
    frame_list raw = {0};
    frame_list clean = {0};
    double low = 0;
    double high = 0;
    double loud = 0;
    memset(out, 0, sizeof *out);
    out->duration = (double)sound->count / sound->rate;
    out->cleaned = sound->clean != NULL;
    measure_peak(sound, out);
    tmb_status status = list_frames(sound->samples, sound->count, sound->rate, &raw, error);
    if (status == TMB_OK && out->cleaned) {
        status = list_frames(sound->clean, sound->clean_count, sound->clean_rate, &clean, error);
    }
    if (status == TMB_OK) {
        status = spread(&raw, &low, &high, error);
    }
    loud = high;
    if (status == TMB_OK && out->cleaned) {
        double soft = 0;
        status = spread(&clean, &soft, &loud, error);
    }
    if (status == TMB_OK) {
        measure_speech(&raw, &clean, loud, out);
        status = refuse(sound, low, high, out, error);
        out->usable = status == TMB_OK;
        if (out->usable) {
            warn_of_everything(sound, out);
        }
    }
    free(raw.decibel);
    free(clean.decibel);
    return status;
}
