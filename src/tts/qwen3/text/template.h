/* The chat templates around a text, as token ids. */
#ifndef TMB_TTS_QWEN3_TEXT_TEMPLATE_H
#define TMB_TTS_QWEN3_TEXT_TEMPLATE_H

#include "tts/qwen3/config.h"
#include "tts/qwen3/text/tokenizer.h"

enum { TMB_TEMPLATE_ROLE_IDS = 3 };

/* A templated text and its parts; the slices are by count, as the official implementation's. */
typedef struct tmb_template_ids {
    int32_t *ids; /* the whole, count of them; tmb_template_ids_free */
    size_t count;
    const int32_t *role; /* ids[0 .. 3): <|im_start|>assistant\n */
    const int32_t *text; /* what is spoken, text_count of them (may be 0) */
    size_t text_count;
} tmb_template_ids;

/* What is to be said: <|im_start|>assistant\n{text}<|im_end|>\n<|im_start|>assistant\n, text = ids[3:-5].
 *
 * White space up to a line break at the start of the text is dropped: it would merge with the template's line break
 * into a token that the model has not seen there. The rest stays as it is. Errors as tmb_tokenizer_encode. */
tmb_status tmb_template_target(const tmb_tokenizer *tokenizer, const char *text, size_t bytes, tmb_template_ids *out,
                               tmb_error *error);

/* The transcript of a reference: <|im_start|>assistant\n{text}<|im_end|>\n, text = ids[3:-2]. */
tmb_status tmb_template_reference(const tmb_tokenizer *tokenizer, const char *text, size_t bytes, tmb_template_ids *out,
                                  tmb_error *error);

/* An instruction or a description: <|im_start|>user\n{text}<|im_end|>\n. All ids count (out->ids, out->count), and
 * nothing of the text is dropped. */
tmb_status tmb_template_instruct(const tmb_tokenizer *tokenizer, const char *text, size_t bytes, tmb_template_ids *out,
                                 tmb_error *error);

void tmb_template_ids_free(tmb_template_ids *prompt);

/* Whether tokenizer and configuration belong together: TMB_ERROR_MODEL if the special tokens have other ids than
 * config.json says, or an id is beyond text_vocab_size. */
tmb_status tmb_template_check(const tmb_tokenizer *tokenizer, const tmb_qwen3_config *config, tmb_error *error);

#endif
