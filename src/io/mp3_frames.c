/* Frames as in ISO/IEC 11172-3 and 13818-3; the header "Xing" or "Info" in a first frame that holds no audio, with
 * LAME's delays behind it; Fraunhofer's "VBRI". */
#include "io/mp3_frames.h"

#include "base/error.h"
#include "base/memory.h"
#include "io/bytes.h"
#include "io/marks.h"

#include <stdlib.h>
#include <string.h>

/* Version, layer and rate. */
#define KIND_MASK UINT32_C(0xfffe0c00)
/* More runs than that are no recording. */
#define MAX_RUNS 4096
/* Free format: the largest frame that is looked for. */
#define MAX_FREE 8192
/* Each search for its size reads that much. Chance makes such a header every hundred kilobytes: a file in which so many
 * lead nowhere was made for the purpose. */
#define MAX_FREE_MISSES 1000
/* Samples by which every decoder is late, in addition to the encoder's delay. */
#define DECODER_DELAY 529
#define MAX_FRAME 3000

bool tmb_mp3_parse(const uint8_t *bytes, tmb_mp3_head *head) {
    static const int rates[3] = {44100, 48000, 32000};
    static const int kilobits[2][16] = {
        {0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0},
        {0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0},
    };
    const uint32_t word = (uint32_t)tmb_big(bytes, 4);
    const unsigned version = (word >> 19) & 3; /* 3: MPEG-1, 2: MPEG-2, 0: MPEG-2.5 */
    const unsigned rate_index = (word >> 10) & 3;
    const unsigned bit_rate = (word >> 12) & 15;
    if (word >> 21 != 0x7ff || version == 1 || ((word >> 17) & 3) != 1 || rate_index == 3 || bit_rate == 15 ||
        (word & 3) == 2) {
        return false;
    }
    const bool low = version != 3;
    const bool mono = ((word >> 6) & 3) == 3;
    head->rate = rates[rate_index] >> (version == 3 ? 0 : version == 2 ? 1 : 2);
    head->channels = mono ? 1 : 2;
    head->samples = low ? 576 : 1152;
    head->padding = (word >> 9) & 1;
    head->kind = word & KIND_MASK;
    head->side = low ? (mono ? 9 : 17) : (mono ? 17 : 32);
    const size_t bytes_per_second = (size_t)kilobits[low ? 1 : 0][bit_rate] * 125;
    head->size = bit_rate == 0 ? 0 : head->samples * bytes_per_second / (size_t)head->rate + head->padding;
    return true;
}

void tmb_mp3_begin(tmb_source *source, uint64_t start, uint64_t end, tmb_mp3_cursor *cursor) {
    *cursor = (tmb_mp3_cursor){.source = source, .place = start, .end = end};
}

/* `count` bytes at `place`, NULL when they reach beyond the end. */
static const uint8_t *look(tmb_mp3_cursor *cursor, uint64_t place, size_t count) {
    if (place > cursor->end || count > cursor->end - place) {
        return NULL;
    }
    if (place < cursor->held_place || place + count > cursor->held_place + cursor->held_size) {
        const uint64_t left = cursor->end - place;
        const size_t size = left < sizeof cursor->held ? (size_t)left : sizeof cursor->held;
        cursor->held_place = place;
        cursor->held_size = tmb_source_read_at(cursor->source, place, cursor->held, size);
        if (cursor->held_size < count) {
            return NULL;
        }
    }
    return cursor->held + (place - cursor->held_place);
}

static bool head_at(tmb_mp3_cursor *cursor, uint64_t place, uint32_t kind, tmb_mp3_head *head) {
    const uint8_t *bytes = look(cursor, place, 4);
    return bytes != NULL && tmb_mp3_parse(bytes, head) && (kind == 0 || head->kind == kind);
}

/* The next byte from `size` behind `place` on with which a header could begin; MAX_FREE: there is none so near. */
static size_t next_sync(tmb_mp3_cursor *cursor, uint64_t place, size_t size) {
    const uint64_t left = cursor->end - place;
    const size_t end = left < MAX_FREE ? (size_t)left : MAX_FREE;
    const uint8_t *bytes = size < end ? look(cursor, place + size, end - size) : NULL;
    const uint8_t *found = bytes != NULL ? memchr(bytes, 0xff, end - size) : NULL;
    return found != NULL ? size + (size_t)(found - bytes) : MAX_FREE;
}

/* Bytes of a frame in free format without padding: the distance to the next header of its kind; 0: not found. */
static size_t find_free_size(tmb_mp3_cursor *cursor, uint64_t place, const tmb_mp3_head *head) {
    for (size_t size = next_sync(cursor, place, 4 + head->side); size < MAX_FREE;
         size = next_sync(cursor, place, size + 1)) {
        tmb_mp3_head next;
        if (head_at(cursor, place + size, head->kind, &next) && next.size == 0 && next.channels == head->channels) {
            /* A third frame at the same distance, or the end, makes sure. */
            const size_t plain = size - head->padding;
            const uint64_t third = place + size + plain + next.padding;
            tmb_mp3_head last;
            if (third + 4 > cursor->end || (head_at(cursor, third, head->kind, &last) && last.size == 0)) {
                return plain;
            }
        }
    }
    return 0;
}

/* Bytes of the frame at `place`; 0: not known. */
static size_t frame_size(tmb_mp3_cursor *cursor, uint64_t place, const tmb_mp3_head *head) {
    if (head->size != 0) {
        return head->size;
    }
    if (cursor->free_size == 0 && cursor->free_misses < MAX_FREE_MISSES) {
        cursor->free_size = find_free_size(cursor, place, head);
        cursor->free_misses += cursor->free_size == 0;
    }
    return cursor->free_size != 0 ? cursor->free_size + head->padding : 0;
}

/* A frame and behind it another, a tag or the end: chance makes a header every few kilobytes, but hardly two. */
static bool is_certain(tmb_mp3_cursor *cursor, uint64_t place, const tmb_mp3_head *head) {
    const size_t size = frame_size(cursor, place, head);
    if (size == 0 || place + size > cursor->end) {
        return false;
    }
    tmb_mp3_head next;
    return place + size == cursor->end || head_at(cursor, place + size, head->kind, &next) ||
           tmb_mark_at(cursor->source, place + size, cursor->end) > 0;
}

/* The next place from `place` on at which a frame certainly begins, or a tag; the end when there is none. */
static uint64_t resynchronize(tmb_mp3_cursor *cursor, uint64_t place) {
    for (; place + 4 <= cursor->end; place++) {
        const uint8_t *bytes = look(cursor, place, 4);
        if (bytes == NULL) {
            break;
        }
        tmb_mp3_head head;
        if (bytes[0] == 0xff && head_at(cursor, place, cursor->kind, &head) && is_certain(cursor, place, &head)) {
            return place;
        }
        const bool may_be_tag = bytes[0] == 'I' || bytes[0] == 'T' || bytes[0] == 'A';
        if (may_be_tag &&
            (memcmp(bytes, "ID3", 3) == 0 || memcmp(bytes, "TAG", 3) == 0 || memcmp(bytes, "APET", 4) == 0) &&
            tmb_mark_at(cursor->source, place, cursor->end) > 0) {
            return place;
        }
    }
    return cursor->end;
}

static bool is_zero(tmb_mp3_cursor *cursor, uint64_t place, uint64_t end) {
    for (; place < end; place++) {
        const uint8_t *byte = look(cursor, place, 1);
        if (byte == NULL || *byte != 0) {
            return false;
        }
    }
    return true;
}

tmb_mp3_step tmb_mp3_next(tmb_mp3_cursor *cursor, tmb_mp3_head *head, uint64_t *place, uint64_t *size) {
    while (cursor->place < cursor->end) {
        const uint8_t *first = look(cursor, cursor->place, 1);
        const uint64_t tag = first != NULL && strchr("IATL", *first) != NULL && *first != 0
                                 ? tmb_mark_at(cursor->source, cursor->place, cursor->end)
                                 : 0;
        if (tag > 0) {
            cursor->place += tag;
            cursor->kind = 0;
            cursor->free_size = 0;
            return TMB_MP3_TAG;
        }
        *place = cursor->place;
        /* In step with the frames before, a header is enough; the first of a run is looked at more closely. */
        if (head_at(cursor, *place, cursor->kind, head) &&
            (cursor->kind != 0 || is_certain(cursor, *place, head) || *place + head->size > cursor->end)) {
            const size_t whole = frame_size(cursor, *place, head);
            if (whole != 0 && *place + whole <= cursor->end) {
                cursor->kind = head->kind;
                cursor->place += whole;
                *size = whole;
                return TMB_MP3_FRAME;
            }
            if (whole != 0) {
                *size = cursor->end - *place;
                cursor->place = cursor->end;
                return TMB_MP3_CUT;
            }
        }
        uint64_t next = resynchronize(cursor, *place + 1);
        if (next == cursor->end && cursor->kind != 0) { /* none of this kind: perhaps another recording */
            const uint32_t kind = cursor->kind;
            cursor->kind = 0;
            next = resynchronize(cursor, *place);
            cursor->kind = next == cursor->end ? kind : 0;
        }
        cursor->place = next;
        *size = next - *place;
        if (*size > 0 && !is_zero(cursor, *place, next)) {
            return TMB_MP3_JUNK;
        }
    }
    return TMB_MP3_END;
}

/* What a first frame without audio says. */
typedef struct encoder_note {
    bool found;
    uint64_t frames, bytes; /* 0: not said */
    bool delays;
    unsigned delay, padding;
} encoder_note;

static encoder_note read_note(const uint8_t *frame, size_t size, const tmb_mp3_head *head) {
    encoder_note note = {0};
    const size_t place = 4 + head->side;
    if (size >= place + 8 && (memcmp(frame + place, "Xing", 4) == 0 || memcmp(frame + place, "Info", 4) == 0)) {
        const uint64_t flags = tmb_big(frame + place + 4, 4);
        size_t at = place + 8;
        note.found = true;
        if ((flags & 1) != 0 && size >= at + 4) {
            note.frames = tmb_big(frame + at, 4);
        }
        at += (flags & 1) != 0 ? 4 : 0;
        if ((flags & 2) != 0 && size >= at + 4) {
            note.bytes = tmb_big(frame + at, 4);
        }
        at += ((flags & 2) != 0 ? 4u : 0u) + ((flags & 4) != 0 ? 100u : 0u) + ((flags & 8) != 0 ? 4u : 0u);
        if (size >= at + 24 && frame[at] != 0) { /* the encoder's name, and behind it twice twelve bits */
            note.delays = true;
            note.delay = (unsigned)frame[at + 21] << 4 | frame[at + 22] >> 4;
            note.padding = (unsigned)(frame[at + 22] & 15) << 8 | frame[at + 23];
        }
    } else if (size >= 4 + 32 + 18 && memcmp(frame + 4 + 32, "VBRI", 4) == 0) {
        note.found = true;
        note.bytes = tmb_big(frame + 4 + 32 + 10, 4);
        note.frames = tmb_big(frame + 4 + 32 + 14, 4);
    }
    return note;
}

/* One run while it is counted. */
typedef struct counting {
    bool open;
    bool cut; /* its last frame is not whole */
    tmb_mp3_run run;
    encoder_note note;
    uint64_t note_place;
    unsigned frame_samples;
} counting;

static tmb_status add_run(tmb_mp3_plan *plan, const tmb_mp3_run *run, tmb_error *error) {
    if (plan->count == MAX_RUNS) {
        return tmb_fail(error, TMB_ERROR_LIMIT, "is a chain of more than %d recordings", MAX_RUNS);
    }
    if ((plan->count & (plan->count - 1)) == 0) { /* room doubles */
        tmb_mp3_run *runs = tmb_realloc(plan->runs, plan->count == 0 ? 1 : 2 * plan->count, sizeof *runs);
        if (runs == NULL) {
            return tmb_fail_memory(error, "an audio reader", plan->count * sizeof *runs);
        }
        plan->runs = runs;
    }
    plan->runs[plan->count++] = *run;
    plan->samples += run->samples;
    return TMB_OK;
}

/* A run is complete: what it promised is compared with what it has. */
static tmb_status end_run(counting *c, uint64_t end, tmb_notes *notes, tmb_mp3_plan *plan, tmb_error *error) {
    if (!c->open) {
        return TMB_OK;
    }
    tmb_mp3_run *run = &c->run;
    const encoder_note *note = &c->note;
    tmb_status status = TMB_OK;
    c->open = false;
    run->end = end;
    run->samples = run->frames * c->frame_samples;
    /* Some encoders count the frame that says so, and then they say the right number of bytes. */
    const uint64_t there = end - c->note_place;
    const bool complete =
        note->frames <= run->frames || (note->frames == run->frames + 1 && !c->cut && note->bytes <= there);
    if (!complete) {
        status = tmb_lost(notes, error, "is cut short: it promises %llu MP3 frames of audio and has %llu",
                          (unsigned long long)note->frames, (unsigned long long)run->frames);
    } else if (note->frames == 0 && note->bytes > there) {
        status = tmb_lost(notes, error, "is cut short: it promises %llu bytes of audio and has %llu",
                          (unsigned long long)note->bytes, (unsigned long long)there);
    }
    if (note->delays && note->delay + DECODER_DELAY < run->samples) {
        run->skip = note->delay + DECODER_DELAY;
        const unsigned behind = note->padding > DECODER_DELAY ? note->padding - DECODER_DELAY : 0;
        run->samples -= run->skip;
        run->samples -= complete && note->frames >= run->frames && behind < run->samples ? behind : 0;
    }
    if (status == TMB_OK && run->frames > 0) {
        status = add_run(plan, run, error);
    }
    return status;
}

static tmb_status count_frame(counting *c, tmb_mp3_cursor *cursor, const tmb_mp3_head *head, uint64_t place,
                              size_t size, tmb_notes *notes, tmb_mp3_plan *plan, tmb_error *error) {
    if (plan->rate == 0) {
        plan->rate = head->rate;
        plan->channels = head->channels;
    }
    if (head->rate != plan->rate || head->channels != plan->channels) {
        return tmb_fail(error, TMB_ERROR_FORMAT, "changes from %d Hz, %d channels to %d Hz, %d channels in its middle",
                        plan->rate, plan->channels, head->rate, head->channels);
    }
    const uint8_t *frame = look(cursor, place, size < MAX_FRAME ? size : MAX_FRAME);
    const encoder_note note =
        frame != NULL ? read_note(frame, size < MAX_FRAME ? size : MAX_FRAME, head) : (encoder_note){0};
    if (note.found || !c->open) {
        tmb_status status = end_run(c, place, notes, plan, error);
        if (status != TMB_OK) {
            return status;
        }
        *c = (counting){.open = true,
                        .run.start = note.found ? place + size : place,
                        .note = note,
                        .note_place = place,
                        .frame_samples = head->samples};
    }
    c->run.frames += note.found ? 0 : 1;
    return TMB_OK;
}

tmb_status tmb_mp3_walk(tmb_source *source, uint64_t start, uint64_t end, tmb_notes *notes, tmb_mp3_plan *plan,
                        tmb_error *error) {
    tmb_mp3_cursor cursor;
    tmb_mp3_begin(source, start, end, &cursor);
    counting c = {0};
    tmb_status status = TMB_OK;
    uint64_t junk = 0; /* bytes that are no frame since the last one, and where they begin */
    uint64_t junk_place = 0;
    uint64_t cut = 0;
    for (bool ended = false; status == TMB_OK && !ended;) {
        tmb_mp3_head head = {0};
        uint64_t place = 0;
        uint64_t size = 0;
        switch (tmb_mp3_next(&cursor, &head, &place, &size)) {
        case TMB_MP3_FRAME:
            if (junk > 0 && plan->rate == 0) {
                tmb_note(notes, "has %llu bytes before its audio, which are left out", (unsigned long long)junk);
            } else if (junk > 0) {
                status = tmb_lost(notes, error, "is damaged: %llu bytes at byte %llu are no MP3 frames",
                                  (unsigned long long)junk, (unsigned long long)junk_place);
            }
            junk = 0;
            if (status == TMB_OK) {
                status = count_frame(&c, &cursor, &head, place, (size_t)size, notes, plan, error);
            }
            break;
        case TMB_MP3_TAG: status = end_run(&c, cursor.place, notes, plan, error); break;
        case TMB_MP3_JUNK:
            junk_place = junk == 0 ? place : junk_place;
            junk += size;
            break;
        case TMB_MP3_CUT:
            cut = size;
            c.cut = true;
            break;
        case TMB_MP3_END: ended = true; break;
        }
    }
    if (status == TMB_OK) {
        status = end_run(&c, end, notes, plan, error);
    }
    if (status == TMB_OK && plan->count == 0) {
        status = cut > 0 ? tmb_fail(error, TMB_ERROR_FORMAT, "is cut short: it ends inside its first MP3 frame")
                         : tmb_fail(error, TMB_ERROR_FORMAT,
                                    "has no audio, or is damaged: no MP3 frame behind its ID3 tag or header");
    }
    if (status == TMB_OK && cut > 0) {
        tmb_note(notes, "ends inside an MP3 frame: its last %llu bytes are left out", (unsigned long long)cut);
    }
    if (status == TMB_OK && junk > 0) {
        tmb_note(notes, "has %llu bytes behind its audio, which are left out", (unsigned long long)junk);
    }
    return status;
}

void tmb_mp3_plan_free(tmb_mp3_plan *plan) {
    free(plan->runs);
    *plan = (tmb_mp3_plan){0};
}
