#include "tts/qwen3/text/template.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>

#define HEAD "<|im_start|>assistant\n"
#define INSTRUCT_HEAD "<|im_start|>user\n"
#define TARGET_TAIL "<|im_end|>\n<|im_start|>assistant\n"
#define REFERENCE_TAIL "<|im_end|>\n"

/* Bytes of leading white space up to its last line break. */
static size_t leading_lines(const char *text, size_t bytes) {
    size_t drop = 0;
    size_t position = 0;
    uint32_t code;
    size_t length;
    while ((length = tmb_utf8_decode(text + position, bytes - position, &code)) != 0 && tmb_utf8_is_space(code)) {
        position += length;
        if (code == '\n' || code == '\r') {
            drop = position;
        }
    }
    return drop;
}

static tmb_status encode_templated(const tmb_tokenizer *tokenizer, const char *head, const char *text, size_t bytes,
                                   const char *tail, tmb_template_ids *out, tmb_error *error) {
    memset(out, 0, sizeof *out);
    if (bytes > TMB_TOKENIZER_TEXT_MAX) {
        return tmb_fail(error, TMB_ERROR_LIMIT, "a text of %zu bytes, over the limit of %zu", bytes,
                        TMB_TOKENIZER_TEXT_MAX);
    }
    size_t head_bytes = strlen(head);
    size_t tail_bytes = strlen(tail);
    size_t total = head_bytes + bytes + tail_bytes;
    char *templated = tmb_calloc(total + 1, 1);
    if (templated == NULL) {
        return tmb_fail_memory(error, "a prompt", total);
    }
    memcpy(templated, head, head_bytes);
    memcpy(templated + head_bytes, text, bytes);
    memcpy(templated + head_bytes + bytes, tail, tail_bytes);
    tmb_status status = tmb_tokenizer_encode(tokenizer, templated, total, &out->ids, &out->count, error);
    free(templated);
    return status;
}

/* What the assistant says; `tail_ids` of the ids are the tail's. */
static tmb_status encode_spoken(const tmb_tokenizer *tokenizer, const char *text, size_t bytes, const char *tail,
                                size_t tail_ids, tmb_template_ids *out, tmb_error *error) {
    size_t drop = leading_lines(text, bytes);
    tmb_status status = encode_templated(tokenizer, HEAD, text + drop, bytes - drop, tail, out, error);
    if (status != TMB_OK) {
        return status;
    }
    if (out->count < TMB_TEMPLATE_ROLE_IDS + tail_ids) {
        tmb_template_ids_free(out);
        return tmb_fail(error, TMB_ERROR_MODEL, "the tokenizer does not know the prompt's special tokens");
    }
    out->role = out->ids;
    out->text = out->ids + TMB_TEMPLATE_ROLE_IDS;
    out->text_count = out->count - TMB_TEMPLATE_ROLE_IDS - tail_ids;
    return TMB_OK;
}

tmb_status tmb_template_target(const tmb_tokenizer *tokenizer, const char *text, size_t bytes, tmb_template_ids *out,
                               tmb_error *error) {
    return encode_spoken(tokenizer, text, bytes, TARGET_TAIL, 5, out, error);
}

tmb_status tmb_template_reference(const tmb_tokenizer *tokenizer, const char *text, size_t bytes, tmb_template_ids *out,
                                  tmb_error *error) {
    return encode_spoken(tokenizer, text, bytes, REFERENCE_TAIL, 2, out, error);
}

tmb_status tmb_template_instruct(const tmb_tokenizer *tokenizer, const char *text, size_t bytes, tmb_template_ids *out,
                                 tmb_error *error) {
    return encode_templated(tokenizer, INSTRUCT_HEAD, text, bytes, REFERENCE_TAIL, out, error);
}

void tmb_template_ids_free(tmb_template_ids *prompt) {
    free(prompt->ids);
    memset(prompt, 0, sizeof *prompt);
}

tmb_status tmb_template_check(const tmb_tokenizer *tokenizer, const tmb_qwen3_config *config, tmb_error *error) {
    const struct {
        const char *content;
        int32_t id;
    } tokens[] = {{"<|im_start|>", config->im_start_id}, {"<|im_end|>", config->im_end_id}};
    for (size_t i = 0; i < sizeof tokens / sizeof tokens[0]; i++) {
        int32_t id = tmb_tokenizer_added_token(tokenizer, tokens[i].content);
        if (id != tokens[i].id) {
            return tmb_fail(error, TMB_ERROR_MODEL,
                            "contradiction: the token %s has the id %d in config.json, but %d in the tokenizer's files",
                            tokens[i].content, tokens[i].id, id);
        }
    }
    if (tmb_tokenizer_id_limit(tokenizer) > config->talker.text_vocab_size) {
        return tmb_fail(error, TMB_ERROR_MODEL,
                        "contradiction: the tokenizer's ids go up to %zu, but text_vocab_size is %zu",
                        tmb_tokenizer_id_limit(tokenizer) - 1, config->talker.text_vocab_size);
    }
    tmb_template_ids prompt;
    tmb_status status = tmb_template_target(tokenizer, "", 0, &prompt, error);
    if (status == TMB_OK && (prompt.text_count != 0 || prompt.role[1] != config->assistant_id)) {
        status = tmb_fail(error, TMB_ERROR_MODEL, "contradiction: the tokenizer does not make assistant_token_id %d",
                          config->assistant_id);
    }
    tmb_template_ids_free(&prompt);
    return status;
}
