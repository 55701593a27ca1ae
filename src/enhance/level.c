#include "enhance/level.h"

#include "base/error.h"
#include "base/memory.h"
#include "enhance/frames.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The floor is the quietest frame of this block of frames and the one before. */
#define FLOOR_BLOCK 100
/* A whole recording of no more frames, with nothing that stands out, is taken for speech. */
#define SHORT 60
/* A frame this many dB above the floor is active. */
#define ABOVE_FLOOR 4.0
/* Active frames without which there is no level yet, out of the last RECENT. */
#define ENOUGH 25
#define RECENT 100
/* Active frames that the mean looks back on. */
#define MEMORY 200
/* Active frames further below the level than this belong to something else. */
#define BELOW_LEVEL 20.0
/* ... and become the level when there was nothing else for so many frames, so many of them active. */
#define QUIET_FRAMES 400
#define QUIET_ENOUGH 100
/* Frames further above the level than this, so many of them within about three tenths of a second, become the level. */
#define ABOVE_LEVEL 8.0
#define LOUD_ENOUGH 12
/* dB; what is below has no floor: the noise of a room does not stand out of it. */
#define DIGITAL_SILENCE (-120.0)

/* A level from a frame on: when it was noticed, and since when it had been there. */
typedef struct level_change {
    uint64_t noticed, since;
    double sum; /* of the active frames' powers since */
    uint64_t count;
    double level;
} level_change;

/* A mean of powers over the last frames of some kind. */
typedef struct recent_mean {
    double value, weight; /* frames lately: decays as time goes by */
    uint64_t first;       /* the frame that it began with */
} recent_mean;

struct tmb_level {
    bool whole;
    tmb_frames frames;
    uint64_t frame;
    double floor_block, floor_before; /* quietest frames */
    double value;                     /* mean power of the active frames */
    double recent[RECENT];            /* powers of the last frames */
    uint64_t active_total;
    uint64_t last_near; /* last frame that belongs to the level */
    recent_mean loud, quiet;
    level_change *changes;
    size_t count, capacity;
};

static void start(tmb_level *level, int rate, int channels) {
    tmb_frames_start(&level->frames, rate, channels);
    level->frame = 0;
    level->floor_block = level->floor_before = INFINITY;
    level->value = 0;
    memset(level->recent, 0, sizeof level->recent);
    level->active_total = 0;
    level->last_near = 0;
    level->loud = level->quiet = (recent_mean){0};
    level->count = 0;
}

static tmb_status create(int rate, int channels, bool whole, tmb_level **out, tmb_error *error) {
    *out = NULL;
    if (rate < 4000 || rate > 192000 || channels < 1 || channels > 64) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT,
                        "a level of %d channels at %d Hz; 1 to 64 at 4000 to 192000 are legal", channels, rate);
    }
    tmb_level *level = tmb_calloc(1, sizeof *level);
    level_change *changes = tmb_calloc(TMB_LEVEL_MEMORY, sizeof *changes);
    if (level == NULL || changes == NULL) {
        free(level);
        free(changes);
        return tmb_fail_memory(error, "a level", TMB_LEVEL_MEMORY * sizeof *changes);
    }
    level->whole = whole;
    level->changes = changes;
    level->capacity = TMB_LEVEL_MEMORY;
    start(level, rate, channels);
    *out = level;
    return TMB_OK;
}

tmb_status tmb_level_create(int rate, int channels, tmb_level **out, tmb_error *error) {
    return create(rate, channels, true, out, error);
}

tmb_status tmb_level_create_live(int rate, int channels, tmb_level **out, tmb_error *error) {
    return create(rate, channels, false, out, error);
}

void tmb_level_destroy(tmb_level **level) {
    if (*level != NULL) {
        free((*level)->changes);
        free(*level);
        *level = NULL;
    }
}

void tmb_level_reset(tmb_level *level) { start(level, level->frames.rate, level->frames.channels); }

/* ---- What a frame does to the level ---- */

static const level_change *last_change(const tmb_level *level) {
    return level->count > 0 ? &level->changes[level->count - 1] : NULL;
}

/* Room for one more. A stream forgets its older half. */
static bool make_room(tmb_level *level) {
    if (level->count < level->capacity) {
        return true;
    }
    if (!level->whole) {
        level->count = level->capacity / 2;
        memmove(level->changes, level->changes + level->capacity - level->count, level->count * sizeof(level_change));
        return true;
    }
    level_change *grown = tmb_realloc(level->changes, level->capacity * 2, sizeof *grown);
    if (grown == NULL) {
        return false;
    }
    level->changes = grown;
    level->capacity *= 2;
    return true;
}

/* The speech has the mean power `value` from here on, and had it since frame `since`. */
static bool move_to(tmb_level *level, double value, uint64_t since) {
    if (!make_room(level)) {
        return false;
    }
    const level_change *last = last_change(level);
    since = last != NULL && since < last->since ? last->since : since;
    level->changes[level->count++] =
        (level_change){.noticed = level->frame, .since = since, .level = tmb_frames_decibel(value)};
    level->value = value;
    level->last_near = level->frame;
    level->loud = level->quiet = (recent_mean){0};
    return true;
}

static void add(recent_mean *mean, double power, uint64_t frame) {
    if (mean->weight < 0.5) {
        *mean = (recent_mean){.first = frame};
    }
    mean->weight += 1;
    mean->value += (power - mean->value) / mean->weight;
}

/* A frame that stands out of the noise, once there is a level. */
static bool follow(tmb_level *level, double power) {
    level_change *now = &level->changes[level->count - 1];
    const double distance = tmb_frames_decibel(power) - tmb_frames_decibel(level->value);
    if (distance < -BELOW_LEVEL) {
        add(&level->quiet, power, level->frame);
        if (level->frame - level->last_near > QUIET_FRAMES && level->quiet.weight >= QUIET_ENOUGH) {
            return move_to(level, level->quiet.value, level->last_near + 1);
        }
        return true;
    }
    level->last_near = level->frame;
    level->quiet = (recent_mean){0};
    if (distance > ABOVE_LEVEL) {
        add(&level->loud, power, level->frame);
        if (level->loud.weight >= LOUD_ENOUGH) {
            return move_to(level, level->loud.value, level->loud.first);
        }
        power = level->value * pow(10, ABOVE_LEVEL / 10); /* a click */
    }
    now->sum += power;
    now->count++;
    level->active_total++;
    level->value += (power - level->value) / (double)(level->active_total < MEMORY ? level->active_total : MEMORY);
    if (fabs(tmb_frames_decibel(level->value) - now->level) > TMB_LEVEL_STEP) {
        return move_to(level, level->value, level->frame);
    }
    return true;
}

/* The same before there is one: once enough of the last frames stand out of the floor as it is now, which may be the
 * first pause after speech that the recording began with. A first word begins softly, so its loudest frame counts too.
 */
static bool begin(tmb_level *level, double floor) {
    const size_t known = level->frame + 1 < RECENT ? (size_t)level->frame + 1 : RECENT;
    double sum = 0;
    double loudest = 0;
    size_t count = 0;
    for (size_t i = 0; i < known; i++) {
        const double power = level->recent[i];
        if (tmb_frames_decibel(power) > fmax(floor + ABOVE_FLOOR, TMB_LEVEL_SILENCE)) {
            sum += power;
            loudest = fmax(loudest, power);
            count++;
        }
    }
    level->active_total = count;
    return count < ENOUGH || move_to(level, fmax(sum / (double)count, loudest / 4), 0);
}

static bool end_frame(tmb_level *level, double power) {
    const double height = tmb_frames_decibel(power);
    bool good = true;
    level->loud.weight *= 0.97;
    level->recent[level->frame % RECENT] = power;
    if (height > DIGITAL_SILENCE) {
        level->floor_block = fmin(level->floor_block, fmax(height, TMB_LEVEL_SILENCE));
        const double floor = fmin(level->floor_block, level->floor_before);
        if (level->count == 0) {
            good = begin(level, floor);
        } else if (height > floor + ABOVE_FLOOR) {
            good = follow(level, power);
        }
    }
    level->frame++;
    if (level->frame % FLOOR_BLOCK == 0) {
        level->floor_before = level->floor_block;
        level->floor_block = INFINITY;
    }
    return good;
}

tmb_status tmb_level_push(tmb_level *level, const float *samples, size_t count, tmb_error *error) {
    while (count > 0) {
        bool complete = false;
        double power = 0;
        const size_t taken = tmb_frames_take(&level->frames, samples, count, &complete, &power);
        samples += taken * (size_t)level->frames.channels;
        count -= taken;
        if (complete && !end_frame(level, power)) {
            return tmb_fail_memory(error, "a recording's level", level->capacity * 2 * sizeof(level_change));
        }
    }
    return TMB_OK;
}

/* ---- What is asked ---- */

static double decibel_of(const tmb_level *level, const level_change *change) {
    return level->whole && change->count > 0 ? tmb_frames_decibel(change->sum / (double)change->count) : change->level;
}

static float gain_for(double speech) {
    if (speech >= TMB_LEVEL_LOWEST && speech <= TMB_LEVEL_HIGHEST) {
        return 1;
    }
    const double gain = TMB_LEVEL_USUAL - speech;
    return (float)pow(10, (gain < TMB_LEVEL_MOST ? gain : TMB_LEVEL_MOST) / 20);
}

/* Frames that are complete by then; a hair more, because a product of whole numbers may come out below one. */
static uint64_t frames_by(double seconds) { return (uint64_t)(seconds * TMB_FRAME_RATE + 1e-6); }

/* The level of a recording that is over before anything could stand out; NAN when it is not. */
static double short_level(const tmb_level *level) {
    double sum = 0;
    for (size_t i = 0; i < level->frame && i < RECENT; i++) {
        sum += level->recent[i];
    }
    const double mean = level->frame > 0 ? tmb_frames_decibel(sum / (double)level->frame) : -INFINITY;
    return level->whole && level->frame <= SHORT && mean > TMB_LEVEL_SILENCE ? mean : (double)NAN;
}

float tmb_level_gain(const tmb_level *level, double seconds, double known) {
    const uint64_t frames = frames_by(seconds);
    const uint64_t noticed = level->whole ? UINT64_MAX : frames_by(known);
    size_t low = 0;
    size_t high = level->count; /* changes before it count */
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (level->changes[middle].since < frames && level->changes[middle].noticed < noticed) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (level->count == 0) {
        const double speech = short_level(level);
        return isnan(speech) ? 1 : gain_for(speech);
    }
    return low == 0 ? 1 : gain_for(decibel_of(level, &level->changes[low - 1]));
}

double tmb_level_decibel(const tmb_level *level) {
    if (!level->whole || level->count == 0) {
        return level->count > 0 ? last_change(level)->level : short_level(level);
    }
    double sum = 0;
    uint64_t count = 0;
    for (size_t i = 0; i < level->count; i++) {
        sum += level->changes[i].sum;
        count += level->changes[i].count;
    }
    return count > 0 ? tmb_frames_decibel(sum / (double)count) : last_change(level)->level;
}
