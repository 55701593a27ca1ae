#include "tts/qwen3/prompt/prompt.h"

#include "base/checked.h"
#include "base/error.h"
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

/* Rows before what differs between the layouts: role, tags, speaker, beginning of speech. */
#define HEAD_ROWS_MAX 9
#define ROLE_ROWS 3

typedef struct builder {
    const tmb_qwen3_config *config;
    const tmb_prompt_parts *parts;
    tmb_prompt *out;
} builder;

size_t tmb_prompt_rows_max(size_t instruct_count, size_t text_count, size_t reference_text_count,
                           size_t reference_frames) {
    /* The non-streaming layouts have the most. */
    size_t sum = HEAD_ROWS_MAX + 2;
    const size_t more[] = {instruct_count, text_count, reference_text_count, reference_frames};
    for (size_t i = 0; i < sizeof more / sizeof more[0]; i++) {
        if (!tmb_add_size(sum, more[i], &sum)) {
            return SIZE_MAX;
        }
    }
    return sum;
}

static void append(builder *b, int32_t text, int32_t codec) {
    b->out->rows[b->out->count++] = (tmb_prompt_row){.text = text, .codec = codec};
}

static void append_frame(builder *b, int32_t text, size_t frame) {
    b->out->rows[b->out->count++] = (tmb_prompt_row){.text = text, .codec = TMB_PROMPT_FRAME, .frame = (uint32_t)frame};
}

static void append_later(builder *b, int32_t text) { b->out->later[b->out->later_count++] = text; }

/* Row i of the in-context text: reference, text, end, then pads. */
static int32_t context_text(const builder *b, size_t i) {
    const tmb_prompt_parts *parts = b->parts;
    if (i < parts->reference_text_count) {
        return parts->reference_text[i];
    }
    i -= parts->reference_text_count;
    return i < parts->text_count    ? parts->text[i]
           : i == parts->text_count ? b->config->tts_eos_id
                                    : b->config->tts_pad_id;
}

/* Row i of the in-context codes: beginning of speech, then the reference's frames. */
static void append_context(builder *b, int32_t text, size_t i) {
    if (i == 0) {
        append(b, text, b->config->talker.codec_bos_id);
    } else {
        append_frame(b, text, i - 1);
    }
}

static void append_head(builder *b) {
    const tmb_qwen3_talker_config *talker = &b->config->talker;
    const tmb_prompt_parts *parts = b->parts;
    int32_t pad = b->config->tts_pad_id;
    for (size_t i = 0; i < parts->instruct_count; i++) {
        append(b, parts->instruct[i], TMB_PROMPT_NONE);
    }
    for (size_t i = 0; i < ROLE_ROWS; i++) {
        append(b, parts->role[i], TMB_PROMPT_NONE);
    }
    if (parts->language >= 0) {
        append(b, pad, talker->codec_think_id);
        append(b, pad, talker->codec_think_bos_id);
        append(b, pad, parts->language);
    } else {
        append(b, pad, talker->codec_nothink_id);
        append(b, pad, talker->codec_think_bos_id);
    }
    append(b, pad, talker->codec_think_eos_id);
    if (parts->vector != NULL) {
        append(b, pad, TMB_PROMPT_VECTOR);
    } else if (parts->speaker >= 0) {
        append(b, pad, parts->speaker);
    }
    append(b, b->config->tts_bos_id, talker->codec_pad_id);
}

static void build_by_speaker(builder *b) {
    const tmb_prompt_parts *parts = b->parts;
    const tmb_qwen3_talker_config *talker = &b->config->talker;
    b->out->shared = b->out->count;
    if (parts->non_streaming) {
        for (size_t i = 0; i < parts->text_count; i++) {
            append(b, parts->text[i], talker->codec_pad_id);
        }
        append(b, b->config->tts_eos_id, talker->codec_pad_id);
        append(b, b->config->tts_pad_id, talker->codec_bos_id);
        append_later(b, b->config->tts_pad_id);
        return;
    }
    /* The first text token, or what follows the text in the template if there is none. */
    append(b, parts->text_count > 0 ? parts->text[0] : b->config->im_end_id, talker->codec_bos_id);
    for (size_t i = 1; i < parts->text_count; i++) {
        append_later(b, parts->text[i]);
    }
    append_later(b, b->config->tts_eos_id);
}

static void build_in_context(builder *b) {
    const tmb_prompt_parts *parts = b->parts;
    size_t texts = parts->reference_text_count + parts->text_count + 1;
    size_t codes = parts->reference_frames + 1;
    size_t head = b->out->count;
    if (parts->non_streaming) {
        for (size_t i = 0; i < texts; i++) {
            append(b, context_text(b, i), b->config->talker.codec_pad_id);
        }
        for (size_t i = 0; i < codes; i++) {
            append_context(b, b->config->tts_pad_id, i);
        }
        b->out->shared = head + parts->reference_text_count;
        append_later(b, b->config->tts_pad_id);
        return;
    }
    for (size_t i = 0; i < codes; i++) {
        append_context(b, context_text(b, i), i);
    }
    b->out->shared = head + (parts->reference_text_count < codes ? parts->reference_text_count : codes);
    /* A transcript longer than its recording leaves no row of its own to the text: the last is computed anew all the
     * same, since what comes out there begins the speech. */
    if (b->out->shared == b->out->count) {
        b->out->shared--;
    }
    if (texts > codes) {
        for (size_t i = codes; i < texts; i++) {
            append_later(b, context_text(b, i));
        }
    } else {
        append_later(b, b->config->tts_pad_id);
    }
}

/* Ids come from the tokenizer and the configuration, which were checked against each other; a backend that looks rows
 * up without a check of its own must be able to rely on that. */
static tmb_status check_ids(const builder *b, tmb_error *error) {
    const tmb_qwen3_talker_config *talker = &b->config->talker;
    for (size_t i = 0; i < b->out->count + b->out->later_count; i++) {
        int32_t id = i < b->out->count ? b->out->rows[i].text : b->out->later[i - b->out->count];
        if (id < 0 || (size_t)id >= talker->text_vocab_size) {
            return tmb_fail(error, TMB_ERROR_ARGUMENT, "the model has no text token %d", (int)id);
        }
        if (i < b->out->count && b->out->rows[i].codec >= 0 && (size_t)b->out->rows[i].codec >= talker->vocab_size) {
            return tmb_fail(error, TMB_ERROR_ARGUMENT, "the model has no codec token %d", (int)b->out->rows[i].codec);
        }
    }
    return TMB_OK;
}

tmb_status tmb_prompt_build(const tmb_qwen3_config *config, const tmb_prompt_parts *given, tmb_prompt *out,
                            tmb_error *error) {
    tmb_prompt_parts parts = *given;
    if (parts.reference_frames == 0) {
        parts.reference_text_count = 0;
    }
    builder b = {.config = config, .parts = &parts, .out = out};
    memset(out, 0, sizeof *out);
    size_t rows =
        tmb_prompt_rows_max(parts.instruct_count, parts.text_count, parts.reference_text_count, parts.reference_frames);
    size_t later = parts.text_count + parts.reference_text_count + 2;
    out->rows = tmb_calloc(rows, sizeof *out->rows);
    out->later = tmb_calloc(later, sizeof *out->later);
    out->pad = config->tts_pad_id;
    out->frames = parts.reference_codes;
    out->vector = parts.vector;
    if (out->rows == NULL || out->later == NULL) {
        tmb_prompt_free(out);
        return tmb_fail_memory(error, "a prompt", rows * sizeof *out->rows);
    }
    append_head(&b);
    if (parts.reference_frames > 0) {
        build_in_context(&b);
    } else {
        build_by_speaker(&b);
    }
    tmb_status status = check_ids(&b, error);
    if (status != TMB_OK) {
        tmb_prompt_free(out);
    }
    return status;
}

void tmb_prompt_free(tmb_prompt *prompt) {
    free(prompt->rows);
    free(prompt->later);
    memset(prompt, 0, sizeof *prompt);
}
