#include "tts/qwen3/prompt/prompt.h"

#include "base/error.h"
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

/* Rows before what differs between the layouts: role, tags, x-vector, beginning of speech. */
#define HEAD_ROWS_MAX 9
#define ROLE_ROWS 3

/* Text embeddings, in this order: pad, bos, eos, role, reference text, text. */
enum { TEXT_PAD, TEXT_BOS, TEXT_EOS, TEXT_ROLE, TEXT_REFERENCE = TEXT_ROLE + ROLE_ROWS };

typedef struct builder {
    const tmb_lm *lm;
    const tmb_qwen3_talker_config *config;
    const tmb_lm_prompt_parts *parts;
    tmb_lm_prompt *out;
    size_t hidden;
    float *texts; /* [TEXT_REFERENCE + reference text + text, D] */
    float *codec; /* [D]: scratch */
} builder;

size_t tmb_lm_prompt_rows(size_t text_count, size_t reference_text_count, size_t reference_frames) {
    /* The non-streaming layouts have the most. */
    return HEAD_ROWS_MAX + text_count + reference_text_count + reference_frames + 2;
}

static const float *text_row(const builder *b, size_t index) { return b->texts + index * b->hidden; }

/* Row i of the in-context text: reference, text, end, then pads. */
static const float *context_text(const builder *b, size_t i) {
    size_t count = b->parts->reference_text_count + b->parts->text_count;
    return text_row(b, i < count ? TEXT_REFERENCE + i : i == count ? TEXT_EOS : TEXT_PAD);
}

/* Appends a row: text plus codec embedding (NULL: none). */
static void append(builder *b, const float *text, const float *codec) {
    float *row = b->out->rows + b->out->count++ * b->hidden;
    for (size_t k = 0; k < b->hidden; k++) {
        row[k] = codec == NULL ? text[k] : text[k] + codec[k];
    }
}

static void append_codec(builder *b, const float *text, int32_t codec_id) {
    tmb_lm_embed_codec(b->lm, codec_id, b->codec);
    append(b, text, b->codec);
}

/* Row i of the in-context codes: beginning of speech, then the reference's frames. */
static void append_context(builder *b, const float *text, size_t i) {
    if (i == 0) {
        append_codec(b, text, b->config->codec_bos_id);
    } else {
        tmb_lm_embed_frame(b->lm, b->parts->reference_codes + (i - 1) * b->config->code_groups, b->codec);
        append(b, text, b->codec);
    }
}

static void append_head(builder *b) {
    const float *pad = text_row(b, TEXT_PAD);
    for (size_t i = 0; i < ROLE_ROWS; i++) {
        append(b, text_row(b, TEXT_ROLE + i), NULL);
    }
    if (b->parts->language >= 0) {
        append_codec(b, pad, b->config->codec_think_id);
        append_codec(b, pad, b->config->codec_think_bos_id);
        append_codec(b, pad, b->parts->language);
    } else {
        append_codec(b, pad, b->config->codec_nothink_id);
        append_codec(b, pad, b->config->codec_think_bos_id);
    }
    append_codec(b, pad, b->config->codec_think_eos_id);
    append(b, pad, b->parts->speaker);
    append_codec(b, text_row(b, TEXT_BOS), b->config->codec_pad_id);
}

static void set_trailing(builder *b, const float *row) {
    memcpy(b->out->trailing + b->out->trailing_count++ * b->hidden, row, b->hidden * sizeof *row);
}

static void build_x_vector(builder *b) {
    size_t first = TEXT_REFERENCE;
    b->out->shared = b->out->count;
    if (b->parts->non_streaming) {
        for (size_t i = 0; i < b->parts->text_count; i++) {
            append_codec(b, text_row(b, first + i), b->config->codec_pad_id);
        }
        append_codec(b, text_row(b, TEXT_EOS), b->config->codec_pad_id);
        append_codec(b, text_row(b, TEXT_PAD), b->config->codec_bos_id);
        set_trailing(b, text_row(b, TEXT_PAD));
        return;
    }
    /* The first text token, or what follows the text in the template where there is none. */
    append_codec(b, text_row(b, first), b->config->codec_bos_id);
    for (size_t i = 1; i < b->parts->text_count; i++) {
        set_trailing(b, text_row(b, first + i));
    }
    set_trailing(b, text_row(b, TEXT_EOS));
}

static void build_in_context(builder *b) {
    const tmb_lm_prompt_parts *parts = b->parts;
    size_t texts = parts->reference_text_count + parts->text_count + 1;
    size_t codes = parts->reference_frames + 1;
    size_t head = b->out->count;
    if (parts->non_streaming) {
        for (size_t i = 0; i < texts; i++) {
            append_codec(b, context_text(b, i), b->config->codec_pad_id);
        }
        for (size_t i = 0; i < codes; i++) {
            append_context(b, text_row(b, TEXT_PAD), i);
        }
        b->out->shared = head + parts->reference_text_count;
        set_trailing(b, text_row(b, TEXT_PAD));
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
            set_trailing(b, context_text(b, i));
        }
    } else {
        set_trailing(b, text_row(b, TEXT_PAD));
    }
}

/* Every text token of the prompt through the projection. */
static tmb_status embed_texts(builder *b, const tmb_qwen3_config *config, tmb_team *team, size_t count,
                              tmb_error *error) {
    const tmb_lm_prompt_parts *parts = b->parts;
    int32_t *ids = tmb_calloc(count, sizeof *ids);
    if (ids == NULL) {
        return tmb_fail_memory(error, "a prompt", count * sizeof *ids);
    }
    ids[TEXT_PAD] = config->tts_pad_id;
    ids[TEXT_BOS] = config->tts_bos_id;
    ids[TEXT_EOS] = config->tts_eos_id;
    memcpy(ids + TEXT_ROLE, parts->role, ROLE_ROWS * sizeof *ids);
    if (parts->reference_text_count > 0) {
        memcpy(ids + TEXT_REFERENCE, parts->reference_text, parts->reference_text_count * sizeof *ids);
    }
    size_t text = TEXT_REFERENCE + parts->reference_text_count;
    if (parts->text_count > 0) {
        memcpy(ids + text, parts->text, parts->text_count * sizeof *ids);
    } else {
        ids[text] = config->im_end_id;
    }
    tmb_status status = tmb_lm_embed_text(b->lm, team, ids, count, b->texts, error);
    free(ids);
    return status;
}

tmb_status tmb_lm_prompt_build(const tmb_lm *lm, const tmb_qwen3_config *config, tmb_team *team,
                               const tmb_lm_prompt_parts *given, tmb_lm_prompt *out, tmb_error *error) {
    tmb_lm_prompt_parts parts = *given;
    if (parts.reference_frames == 0) {
        parts.reference_text_count = 0;
    }
    builder b = {.lm = lm, .config = &config->talker, .parts = &parts, .out = out, .hidden = tmb_lm_hidden_size(lm)};
    memset(out, 0, sizeof *out);
    size_t texts = TEXT_REFERENCE + parts.reference_text_count + (parts.text_count > 0 ? parts.text_count : 1);
    size_t rows = tmb_lm_prompt_rows(parts.text_count, parts.reference_text_count, parts.reference_frames);
    b.texts = tmb_calloc(texts, b.hidden * sizeof *b.texts);
    b.codec = tmb_calloc(b.hidden, sizeof *b.codec);
    out->rows = tmb_calloc(rows, b.hidden * sizeof *out->rows);
    out->trailing = tmb_calloc(texts + 1, b.hidden * sizeof *out->trailing);
    out->pad = tmb_calloc(b.hidden, sizeof *out->pad);
    tmb_status status = TMB_OK;
    if (b.texts == NULL || b.codec == NULL || out->rows == NULL || out->trailing == NULL || out->pad == NULL) {
        status = tmb_fail_memory(error, "a prompt", (rows + 2 * texts) * b.hidden * sizeof(float));
    } else {
        status = embed_texts(&b, config, team, texts, error);
    }
    if (status == TMB_OK) {
        append_head(&b);
        if (parts.reference_frames > 0) {
            build_in_context(&b);
        } else {
            build_x_vector(&b);
        }
        memcpy(out->pad, text_row(&b, TEXT_PAD), b.hidden * sizeof *out->pad);
    } else {
        tmb_lm_prompt_free(out);
    }
    free(b.texts);
    free(b.codec);
    return status;
}

void tmb_lm_prompt_free(tmb_lm_prompt *prompt) {
    free(prompt->rows);
    free(prompt->trailing);
    free(prompt->pad);
    memset(prompt, 0, sizeof *prompt);
}
