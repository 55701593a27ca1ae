/* The checkpoints' tokenizer: Qwen2's byte-level BPE.
 *
 * Added tokens are cut out first, what lies between them is normalized to NFC and split into pre-tokens,
 * and the bytes of each merge into tokens. Nothing is put before or after the text.
 */
#ifndef TMB_TTS_QWEN3_TEXT_TOKENIZER_H
#define TMB_TTS_QWEN3_TEXT_TOKENIZER_H

#include "tts/qwen3/text/pretokenize.h"

/* Longest text that is tokenized at once. */
#define TMB_TOKENIZER_TEXT_MAX ((size_t)16 << 20)

/* Immutable, shared between threads. */
typedef struct tmb_tokenizer tmb_tokenizer;

/* Reads a checkpoint's vocab.json and merges.txt, or tokenizer.json if there is no vocab.json; added tokens
 * from tokenizer_config.json and added_tokens.json if they are there. TMB_ERROR_MODEL if files are missing or
 * damaged (named in the message), TMB_ERROR_UNSUPPORTED for a tokenizer of another kind, TMB_ERROR_MEMORY. */
tmb_status tmb_tokenizer_load(const char *folder, tmb_text_pattern pattern, tmb_tokenizer **out, tmb_error *error);

/* The same from the files' texts; NULL: not there. */
typedef struct tmb_tokenizer_texts {
    const char *vocab, *merges, *tokenizer, *tokenizer_config, *added_tokens;
    size_t vocab_bytes, merges_bytes, tokenizer_bytes, tokenizer_config_bytes, added_tokens_bytes;
} tmb_tokenizer_texts;
tmb_status tmb_tokenizer_parse(const tmb_tokenizer_texts *texts, tmb_text_pattern pattern, tmb_tokenizer **out,
                               tmb_error *error);

void tmb_tokenizer_destroy(tmb_tokenizer **tokenizer);

/* The ids of text[0 .. bytes), allocated (free(); also for no ids). Invalid UTF-8: TMB_ERROR_ARGUMENT with the byte's
 * place. Over TMB_TOKENIZER_TEXT_MAX: TMB_ERROR_LIMIT. Thread-safe. */
tmb_status tmb_tokenizer_encode(const tmb_tokenizer *tokenizer, const char *text, size_t bytes, int32_t **ids,
                                size_t *count, tmb_error *error);

/* One more than the highest id that encode can give: must not be above the model's text_vocab_size. */
size_t tmb_tokenizer_id_limit(const tmb_tokenizer *tokenizer);

/* The id of an added token ("<|im_start|>"), or -1. */
int32_t tmb_tokenizer_added_token(const tmb_tokenizer *tokenizer, const char *content);

#endif
